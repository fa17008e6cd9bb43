"""A run's page: its numbers are the scores', and in a real browser one gets to the pixels."""

import base64
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import BROWSER, visited
from PIL import Image
from png_files import write_image
from scored_cells import scored
from toys import photograph, toy_cell, toy_pairs, write_cell
from typer.testing import CliRunner

from tlw.cli import app
from tlw.report.page import page
from tlw.report.page.background import image_sets
from tlw.report.page.page import Shown, claims, render
from tlw.report.statistics import differences
from tlw.report.tables import all_scores

ODD = '</script><img src=x onerror="alert(1)">.png'
IMAGES = ["a.png", "b.png", "c.png", "d.png", "e.png", ODD]


def value(image: int, loss: str, seed: int) -> tuple[float, float]:
    gain = {"l1": 0.0, "l1-tlw": 0.5}[loss] * (1 if image != 2 else -0.2)
    return 30 + image + gain + 0.01 * seed * (image % 2), 0.3 - 0.01 * image - gain / 50


@pytest.fixture
def run(tmp_path) -> Path:
    """Two losses with three seeds each, a cell that is not finished, and a picture."""
    grid = tmp_path / "grid"
    for loss in ("l1", "l1-tlw"):
        for seed in range(3):
            images = {("Set5", name): value(i, loss, seed) for i, name in enumerate(IMAGES)}
            folder = scored(grid, images, row=("toy", 2, loss), seed=seed, record={})
            write_cell(toy_cell(loss).model_copy(update={"seed": seed}), folder)
    (grid / "toy_x2_l1_seed9").mkdir()
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    files = {}
    for name in ("hr", "lr", "bicubic", "toy/l1", "toy/l1-tlw"):
        side = 8 if name == "lr" else 16
        files[name] = f"{name.replace('/', '_')}.png"
        write_image(pictures / files[name], rng.integers(0, 256, (side, side, 3), np.uint8))
    picture = {"benchmark": "Set5", "image": "b.png", "scale": 2, "why": "losses differ most"}
    content = {"rule": "By a rule.", "pictures": [{**picture, "top": 0, "left": 0, "files": files}]}
    (pictures / "index.json").write_text(json.dumps(content))
    return tmp_path


def shown(run: Path, **changes) -> Shown:
    cells = sorted((run / "grid").iterdir())
    return Shown(cells, "A <run>", [run / "pictures" / "index.json"], **changes)


def data_of(text: str) -> dict:
    [found] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    return json.loads(found)


def test_the_page_has_the_means_and_every_image_s_score(run):
    text = render(shown(run))
    scores = all_scores(sorted((run / "grid").glob("*seed[012]")))
    mean = scores[scores["loss"] == "l1-tlw"].groupby("seed")["psnr_y"].mean().mean()
    assert f'<span class="ours">{mean:.3f}' in text
    data = data_of(text)
    of_b = scores[(scores["loss"] == "l1-tlw") & (scores["image"] == "b.png")]["psnr_y"].mean()
    assert data["images"]["2|toy|l1-tlw"]["Set5"]["b.png"]["psnr_y"] == pytest.approx(of_b)
    assert data["against"]["2|toy|l1-tlw"] == {"row": "2|toy|l1", "name": "l1"}
    assert "Not finished:</strong> toy_x2_l1_seed9." in text
    log = run / "grid" / "toy_x2_l1_seed9" / "logs" / "train.log"
    log.parent.mkdir()
    log.write_text("starts\ntlw: error: the loss of step 7 is nan\n")
    again = render(shown(run))
    assert "toy_x2_l1_seed9 (the loss of step 7 is nan). They are left out" in again
    assert "We trained toy at scale 2 with the losses l1-tlw, l1" in text


def test_a_claim_counts_what_the_differences_say(run):
    scores = all_scores(sorted((run / "grid").glob("*seed[012]")))
    [told] = claims(scores)
    assert told.startswith("l1-tlw against l1 on toy ×2: PSNR (dB) better on 1 of 1 benchmarks")
    from tlw.report.statistics import Against

    row, other = (2, "toy", "l1-tlw"), (2, "toy", "l1")
    found = differences(scores, {row: Against(other, "l1")}).set_index("metric")
    is_better = found.loc["psnr_y", "significant"] == "better"
    assert ("significantly better on 1" in told.split(";")[0]) == is_better
    swapped = scores.assign(loss=scores["loss"].map({"l1": "l1-tlw", "l1-tlw": "l1"}))
    assert "PSNR (dB) better on 0 of 1" in claims(swapped)[0]


def test_image_sets_are_told_with_terms_doubles_and_how_they_are_known(run, tmp_path):
    one, other = photograph(), photograph("coffee")
    train = toy_pairs(tmp_path, [one, other, one], name="T91", sources="files of example.org")
    test = toy_pairs(tmp_path, [other], name="mine", use="test")
    text = render(shown(run, pairs=[train, test]))
    assert '<th scope="row">T91</th><td>train</td><td>3</td><td>files of example.org</td>' in text
    assert "example.org</td><td>the pixels of each" in text and "<td>not on record</td>" in text
    assert "Research images (Yang et al., 2010)" in text and "not in the registry" in text
    doubles = image_sets([train, test])["doubles"]
    assert doubles == [
        "0.png and 2.png of T91 are the same image",
        "1.png of T91 and 0.png of mine are the same file",
    ]
    assert all(double in text for double in doubles)
    assert "No image is there twice" in render(shown(run, pairs=[test]))


def test_the_settings_of_the_cells_are_there_and_what_is_the_same_once(run):
    text = render(shown(run))
    assert text.count("<summary>Recipe</summary>") == 1
    for loss in ("l1", "l1-tlw"):
        assert text.count(f"<summary>Loss {loss}</summary>") == 1
    assert "&#34;learning_rate&#34;: 0.001" in text and "&#34;temperature&#34;: 0.1" in text


def test_names_are_text_and_nothing_else(run):
    text = render(shown(run, note="<i>note</i>"))
    assert ODD not in text and "<i>note" not in text and "A &lt;run&gt;" in text
    assert ODD in data_of(text)["images"]["2|toy|l1"]["Set5"]


def test_a_picture_is_in_the_page_byte_by_byte_and_nothing_is_loaded_from_elsewhere(run):
    text = render(shown(run))
    embedded = data_of(text)["pictures"][0]["files"]["toy/l1"].partition("base64,")[2]
    assert base64.b64decode(embedded) == (run / "pictures" / "toy_l1.png").read_bytes()
    assert "default-src 'none'" in text
    assert not re.search(r"(src|href)=\"(?!data:|#)", text)


def test_a_figure_is_in_the_page_as_it_is_drawn_for_pages_with_its_caption(run):
    figures = run / "figures"
    figures.mkdir()
    Image.new("RGB", (40, 20), (200, 200, 200)).save(figures / "forest.webp")
    (figures / "captions.json").write_text('{"forest": "All < losses."}')
    text = render(shown(run, figures=[figures]))
    [image] = re.findall(r'<img src="data:image/webp;base64,(.*?)" alt="forest"', text)
    assert base64.b64decode(image) == (figures / "forest.webp").read_bytes()
    assert "<figcaption>All &lt; losses.</figcaption>" in text


def test_what_is_no_run_is_refused_and_nothing_is_written(run, monkeypatch):
    unfinished = run / "grid" / "toy_x2_l1_seed9"
    asked = ["report", "--title", "t", "-o", str(run / "page.html")]
    for words, told in (
        ([str(unfinished)], "expected scored cells, found none among 1 folders"),
        ([str(run / "grid" / "toy_x2_l1_seed0"), "--figures", str(run)], "no folder of `tlw fig"),
        ([str(run / "grid" / "toy_x2_l1_seed0"), "--pictures", str(run / "x")], "no index of `tlw"),
    ):
        done = CliRunner().invoke(app, [*asked, *words])
        assert isinstance(done.exception, ValueError) and told in str(done.exception)
    monkeypatch.setattr(page, "LARGEST", 2**14)
    with pytest.raises(ValueError, match=r"the page would have .* fewer --pictures"):
        page.write_report(shown(run), run / "page.html")
    assert not (run / "page.html").exists()


def test_an_image_without_an_error_has_no_number_in_json(run):
    path = run / "grid" / "toy_x2_l1_seed0" / "scores.csv"
    table = pd.read_csv(path)
    table.loc[0, "psnr_y"] = np.inf
    table.to_csv(path, index=False)
    assert data_of(render(shown(run)))["images"]["2|toy|l1"]["Set5"]["a.png"]["psnr_y"] is None


# --- in a browser -----------------------------------------------------------------------------

VISIT = """
  told.values = column(2);
  click(".numbers thead button", 2); told.sorted = column(2);
  click(".numbers thead button", 2); told.again = column(2);
  click("input[name=view]", 1); told.changes = column(2);
  click("td .number[data-row='2|toy|l1-tlw']");
  told.open = $("images").open;
  const words = (row) => [...row.children].map((cell) => cell.innerText.trim());
  told.images = [...$("images-body").rows].map(words);
  click("#images-body button"); await wait(300);
  told.viewer = $("viewer").open; told.chosen = [$("viewer-a").value, $("viewer-b").value];
  const pixel = (id) => {
    const copy = make("canvas", "", {width: 1, height: 1}).getContext("2d");
    copy.drawImage($(id), 3, 5, 1, 1, 0, 0, 1, 1);
    return [...copy.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  told.left = pixel("viewer-left"); told.right = pixel("viewer-right");
  $("viewer-slider").value = 25; $("viewer-slider").dispatchEvent(new Event("input"));
  told.clip = $("viewer-left").style.clipPath;
  click("#viewer-error"); told.error = pixel("viewer-left")[0]; click("#viewer-error");
  click("#viewer-blink"); const seen = new Set();
  for (let i = 0; i < 12; i++) { seen.add($("viewer-told").textContent); await wait(200); }
  told.blink = [...seen].sort(); click("#viewer-blink");
  $("viewer-a").value = "lr"; $("viewer-a").dispatchEvent(new Event("change"));
  told.lr = [$("viewer-left").width, pixel("viewer-left")];
  told.gallery = document.querySelectorAll(".gallery button").length;
"""


@pytest.mark.skipif(not BROWSER, reason="no Chromium is installed")
@pytest.mark.parametrize("width", [1200, 500])
def test_a_browser_gets_from_a_number_to_its_pixels(run, width):
    output = run / "page.html"
    done = CliRunner().invoke(app, [
        "report", *map(str, shown(run).cells), "--title", "t", "-o", str(output), "--pictures",
        str(run / "pictures" / "index.json"),
    ])  # fmt: skip
    assert done.exit_code == 0, done.output
    told = visited(output, VISIT, width=width)
    assert told["errors"] == [] and set(told["loaded"]) <= {"data:"}

    assert sorted(told["sorted"], reverse=True) == told["sorted"] == told["again"][::-1]
    assert sorted(told["values"]) == sorted(told["sorted"])
    scores = all_scores(sorted((run / "grid").glob("*seed[012]")))
    mean = scores.groupby(["loss", "image"])["psnr_y"].mean()
    change = (mean["l1-tlw"] - mean["l1"]).sort_values(ascending=False, kind="stable")
    assert f"{change.mean():+.3f}" in told["changes"][0] + told["changes"][1]
    assert told["open"] and [line[2] for line in told["images"]] == [f"{x:+.3f}" for x in change]
    assert {line[0] for line in told["images"]} == set(IMAGES)

    def pixel(name: str, x: int = 3, y: int = 5) -> list[int]:
        return np.asarray(Image.open(run / "pictures" / f"{name}.png"))[y, x].tolist()

    assert told["viewer"] and told["chosen"] == ["toy/l1", "toy/l1-tlw"]
    assert (told["left"], told["right"]) == (pixel("toy_l1"), pixel("toy_l1-tlw"))
    assert told["clip"] == "inset(0px 75% 0px 0px)"
    error = max(abs(a - b) for a, b in zip(pixel("toy_l1"), pixel("hr"), strict=True))
    assert told["error"] == min(255, 5 * error)
    assert told["blink"] == ["Seen: toy/l1-tlw.", "Seen: toy/l1."]
    assert told["lr"] == [16, pixel("lr", 3 // 2, 5 // 2)]
    assert told["gallery"] == 1 and told["wide"]
