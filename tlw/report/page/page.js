"use strict";
// Sorting, the images behind a number, and the viewer. The page is readable without any of it.
const DATA = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const make = (tag, content = "", properties = {}) =>
  Object.assign(document.createElement(tag), { textContent: content }, properties);
const rowName = (key) => { const [scale, network, loss] = key.split("|"); return `${network} ×${scale}${loss ? " " + loss : ""}`; };
const view = () => document.body.dataset.view || "ours";

// --- tables ---
for (const radio of document.querySelectorAll("input[name=view]"))
  radio.addEventListener("change", () => { document.body.dataset.view = radio.value; });

function sortBy(head) {
  const table = head.closest("table"), place = [...head.parentNode.children].indexOf(head);
  const order = head.getAttribute("aria-sort") === "descending" ? "ascending" : "descending";
  const isText = head.querySelector("button").hasAttribute("data-text");
  const value = (row) => isText ? row.children[place].textContent.trim()
    : parseFloat(row.children[place].dataset[view()]);
  const rows = [...table.tBodies[0].rows].sort((one, other) => {
    const [a, b] = [value(one), value(other)];
    if (isText) return order === "ascending" ? b.localeCompare(a) : a.localeCompare(b);
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);  // none, last
    return order === "ascending" ? a - b : b - a;
  });
  for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", order);
  table.tBodies[0].append(...rows);
}
for (const button of document.querySelectorAll(".numbers thead button"))
  button.addEventListener("click", () => sortBy(button.closest("th")));

// --- the images behind a number ---
function showImages(row, benchmark, metric) {
  const { head, more, places } = DATA.metrics[metric];
  const against = DATA.against[row], ours = DATA.images[row][benchmark];
  const theirs = against && DATA.images[against.row] && DATA.images[against.row][benchmark];
  const scale = Number(row.split("|")[0]);
  const lines = Object.entries(ours).map(([image, scores]) => {
    const value = scores[metric], other = theirs && theirs[image] ? theirs[image][metric] : null;
    const change = value === null || other === null ? null : value - other;
    return { image, value, change, picture: pictureOf(benchmark, image, scale) };
  });
  const gain = (line) => line.change === null ? -Infinity : (more ? 1 : -1) * line.change;
  lines.sort((a, b) => gain(b) - gain(a) || a.image.localeCompare(b.image));
  $("images-title").textContent = `${rowName(row)}: ${head} on ${benchmark}`;
  $("images-told").textContent = theirs
    ? `Means over seeds; the difference is to ${against.name}, the largest gain first. Images with a picture open it.`
    : "Means over seeds; there is no baseline to compare with.";
  $("images-head").replaceChildren(make("tr"));
  for (const word of ["Image", head, ...(theirs ? ["Difference"] : [])])
    $("images-head").firstChild.append(make("th", word, { scope: "col" }));
  $("images-body").replaceChildren(...lines.map((line) => {
    const tr = make("tr"), name = make("th", "", { scope: "row" });
    if (line.picture) {
      const button = make("button", line.image, { type: "button", className: "number best" });
      button.addEventListener("click", () => openViewer(line.picture, against ? against.row : null, row));
      name.append(button);
    } else name.textContent = line.image;
    tr.append(name, make("td", line.value === null ? "∞" : line.value.toFixed(places)));
    if (theirs) {
      const word = line.change === null ? "–" : (line.change >= 0 ? "+" : "") + line.change.toFixed(places);
      tr.append(make("td", word, { className: gain(line) > 0 ? "better" : gain(line) < 0 ? "worse" : "" }));
    }
    return tr;
  }));
  $("images").showModal();
}
const pictureOf = (benchmark, image, scale) => DATA.pictures.find(
  (p) => p.benchmark === benchmark && p.image === image && p.scale === scale);
for (const button of document.querySelectorAll("td .number"))
  button.addEventListener("click", () => showImages(button.dataset.row, button.dataset.benchmark, button.dataset.metric));

// --- the viewer ---
let loaded = {}, blinking = null;
const pixels = (source, side) => new Promise((resolve, reject) => {
  const image = new Image();
  image.onload = () => {
    const canvas = make("canvas", "", side || { width: image.width, height: image.height });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingEnabled = false;  // lr is shown as its pixels are
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    resolve(context.getImageData(0, 0, canvas.width, canvas.height));
  };
  image.onerror = () => reject(new Error("a picture of this page cannot be read"));
  image.src = source;
});
function draw(canvas, name) {
  const image = loaded[name], hr = loaded.hr, zoom = Number($("viewer-zoom").value);
  let shown = image;
  if ($("viewer-error").checked) {
    shown = new ImageData(image.width, image.height);
    for (let i = 0; i < image.data.length; i += 4) {  // the largest channel's error, five times
      let most = 0;
      for (let c = 0; c < 3; c++) most = Math.max(most, Math.abs(image.data[i + c] - hr.data[i + c]));
      shown.data.fill(Math.min(255, 5 * most), i, i + 3);
      shown.data[i + 3] = 255;
    }
  }
  Object.assign(canvas, { width: shown.width, height: shown.height });
  canvas.style.width = `${shown.width * zoom}px`;
  canvas.getContext("2d").putImageData(shown, 0, 0);
  $("viewer-slider").style.width = canvas.style.width;  // its handle stands where left ends
}
function update() {
  const [a, b] = [$("viewer-a").value, $("viewer-b").value];
  draw($("viewer-left"), a);
  draw($("viewer-right"), b);
  const place = blinking === null ? Number($("viewer-slider").value) : blinking ? 100 : 0;
  $("viewer-left").style.clipPath = `inset(0 ${100 - place}% 0 0)`;
  const seen = place === 100 ? a : place === 0 ? b : `left ${a}, right ${b}`;
  $("viewer-told").textContent = `Seen: ${seen}.${$("viewer-error").checked ? " Errors against hr, five times as bright." : ""}`;
}
async function openViewer(picture, left, right) {
  const hr = await pixels(picture.files.hr), side = { width: hr.width, height: hr.height };
  loaded = { hr };
  for (const [name, source] of Object.entries(picture.files)) if (name !== "hr") loaded[name] = await pixels(source, side);
  const names = Object.keys(loaded);
  for (const id of ["viewer-a", "viewer-b"])
    $(id).replaceChildren(...names.map((name) => make("option", name, { value: name })));
  const of = (key) => key ? key.split("|").slice(1).join("/") : "";
  $("viewer-a").value = names.includes(of(left)) ? of(left) : "bicubic";
  $("viewer-b").value = names.includes(of(right)) ? of(right) : "hr";
  $("viewer-title").textContent = `${picture.image} of ${picture.benchmark} ×${picture.scale}, ${picture.why}`;
  stopBlinking();
  $("viewer-slider").value = 50;
  update();
  $("viewer").showModal();
}
function stopBlinking() {
  clearInterval(stopBlinking.timer);
  blinking = null;
  $("viewer-blink").setAttribute("aria-pressed", "false");
}
$("viewer-blink").addEventListener("click", () => {
  if (blinking !== null) { stopBlinking(); update(); return; }
  blinking = true;
  $("viewer-blink").setAttribute("aria-pressed", "true");
  stopBlinking.timer = setInterval(() => { blinking = !blinking; update(); }, 700);
  update();
});
$("viewer").addEventListener("close", stopBlinking);
$("viewer-slider").addEventListener("input", () => { stopBlinking(); update(); });
for (const id of ["viewer-a", "viewer-b", "viewer-zoom", "viewer-error"]) $(id).addEventListener("change", update);

for (const picture of DATA.pictures) {
  const button = make("button", "", { type: "button" });
  button.append(make("img", "", { src: picture.files.hr, alt: "" }), make("span", `${picture.image} `),
    make("small", `${picture.benchmark} ×${picture.scale}, ${picture.why}`));
  button.addEventListener("click", () => openViewer(picture, null, null));
  $("gallery").append(button);
}
