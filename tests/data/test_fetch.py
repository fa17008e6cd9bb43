"""Image sets: from the installed package, from folders, over a real server, and refusals."""

import csv
import io
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import yaml
from loopback import Page, serving
from PIL import Image

from tlw.data.download import DownloadError
from tlw.data.fetch import ManualSet, fetch, images_of, load_registry, sources_of
from tlw.data.registry import KNOWN

REGISTRY = KNOWN


@pytest.fixture(scope="module")
def sets():
    return load_registry(REGISTRY)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as server:
        yield server


def _pictures(count: int) -> dict[str, bytes]:
    """Small images as PNG files, by name."""
    random, files = np.random.default_rng(0), {}
    for number in range(count):
        file = io.BytesIO()
        Image.fromarray(random.integers(0, 256, (64, 48, 3), np.uint8)).save(file, "PNG")
        files[f"{number:02}.png"] = file.getvalue()
    return files


def _registry(folder: Path, files: dict[str, bytes], **entry: object) -> Path:
    """A registry with the one set `Tiny` of these files; a key whose value is None is left out."""
    with open(folder / "Tiny.tsv", "w", newline="") as file:
        table = csv.writer(file, delimiter="\t")
        table.writerow(["file", "bytes", "sha256", "sha256_rgb_pixels"])
        for name, content in files.items():
            pixels = Image.open(io.BytesIO(content)).convert("RGB").tobytes()
            digests = [sha256(data).hexdigest() for data in (content, pixels)]
            table.writerow([name, len(content), *digests])
    fixed = {"use": "test", "images": len(files), "manifest": "Tiny.tsv", "terms": "free"}
    content = {k: v for k, v in (fixed | entry).items() if v is not None}
    path = folder / "datasets.yaml"
    path.write_text(yaml.safe_dump({"Tiny": content}), encoding="utf-8")
    return path


def _tiny(folder: Path, files: dict[str, bytes], *sources: dict, **entry: object):
    return load_registry(_registry(folder, files, sources=list(sources), **entry))["Tiny"]


MANUAL = {"kind": "manual", "instructions": "Sign the form."}


# --- the registry -----------------------------------------------------------------------------


def test_the_registry_has_the_sets_of_paper_and_field_and_three_toys(sets):
    numbers = {name: entry.images for name, entry in sets.items()}
    assert numbers == {
        **{"toy-train": 6, "toy-test": 2, "toy-valid": 1},
        **{"T91": 91, "BSDS200": 200, "General100": 100},
        **{"DIV2K": 800, "DIV2K-valid": 100, "Flickr2K": 2650},
        **{"Set5": 5, "Set14": 14, "BSDS100": 100, "Urban100": 100},
        "Manga109": 109,
    }


def test_the_manifests_are_those_of_the_recorded_sets(sets, shared):
    with open(shared / "datasets" / "MANIFEST.tsv", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    for name in {row["dataset"] for row in rows}:
        recorded = {
            (r["file"], int(r["bytes"]), r["sha256_file"], r["sha256_rgb_pixels"])
            for r in rows
            if r["dataset"] == name
        }
        ours = {(f.file, f.bytes, f.sha256, f.sha256_rgb_pixels) for f in sets[name].files}
        assert ours == recorded


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"licence": "MIT"}, "licence"),
        ({"images": 3}, "images is 3, but the manifest has 2"),
        ({"use": "both"}, "use"),
        ({"manifest": "absent.tsv"}, "absent.tsv"),
        ({"manifest": None, "sources": [{"kind": "files", "urls": ["x"]}]}, "need a manifest"),
        ({"sources": []}, "sources"),
        ({"sources": [{"kind": "torrent"}]}, "torrent"),
        ({"sources": [{"kind": "files", "urls": ["http://x/{file}"]}]}, "{name} and {stem}"),
        ({"sources": [{"kind": "files", "urls": ["x{name:>999999999}"]}]}, "{name} and {stem}"),
        ({"sources": [{"kind": "files", "urls": ["x{name!r}"]}]}, "{name} and {stem}"),
        ({"sources": [{"kind": "files", "urls": ["x{name.__class__}"]}]}, "{name} and {stem}"),
        ({"sources": [{"kind": "package", "package": "os", "folder": "x"}]}, "expected 'skimage'"),
        (
            {"sources": [{"kind": "package", "package": "skimage", "folder": "../x"}]},
            "folder",
        ),
        (
            {"sources": [{"kind": "archive", "urls": ["x"], "sha256": "12", "members": "*"}]},
            "sha256",
        ),
    ],
)
def test_a_mistake_in_the_registry_is_told_with_file_and_key(tmp_path, change, words):
    path = _registry(tmp_path, _pictures(2), **{"sources": [MANUAL], **change})
    with pytest.raises(ValueError) as error:
        load_registry(path)
    assert words in str(error.value)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize("text", ["a: [", "- a\n- b\n", "Set5: 3\n"])
def test_a_registry_of_another_form_is_refused(tmp_path, text):
    (tmp_path / "sets.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"sets\.yaml"):
        load_registry(tmp_path / "sets.yaml")


# --- from the installed package ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["toy-train", "toy-test", "toy-valid"])
def test_the_toy_sets_come_from_the_installed_package(sets, tmp_path, name):
    images = fetch(sets[name], tmp_path)
    assert images == images_of(tmp_path / name) == sorted(images)
    assert len(images) == sets[name].images
    assert sources_of(tmp_path / name) == "the Python package skimage"
    assert os.listdir(tmp_path) == [name]
    before = [path.stat().st_mtime_ns for path in images]
    assert fetch(sets[name], tmp_path) == images
    assert [path.stat().st_mtime_ns for path in images] == before


def test_the_toy_sets_share_no_photograph(sets):
    names = [f.file for name in ("toy-train", "toy-test", "toy-valid") for f in sets[name].files]
    assert len(names) == len(set(names)) == 9


def test_no_package_is_imported_and_skimage_found_without_running_it(tmp_path):
    """Packages on the path that would write a file."""
    for name in ("skimage", "tlw_evil"):
        package = tmp_path / "path" / name
        (package / "data").mkdir(parents=True)
        (package / "__init__.py").write_text(f"open({str(tmp_path / 'written')!r}, 'w')\n")
    files = _pictures(2)
    _by_hand(tmp_path / "path" / "skimage" / "data" / "own", files)
    source = {"kind": "package", "package": "skimage", "folder": "data/own"}
    registry = _registry(tmp_path, files, sources=[source])
    path = os.pathsep.join([str(tmp_path / "path"), os.environ.get("PYTHONPATH", "")])
    for package, code in (("skimage", 0), ("tlw_evil", 1)):
        registry.write_text(registry.read_text().replace("package: skimage", f"package: {package}"))
        process = _fetching(registry, tmp_path / "out", PYTHONPATH=path)
        assert process.wait() == code
    assert len(images_of(tmp_path / "out" / "Tiny")) == 2
    assert not (tmp_path / "written").exists()


def test_a_registry_may_name_no_package_but_scikit_image_and_none_is_imported(
    tmp_path, monkeypatch
):
    files, package = _pictures(2), tmp_path / "on_the_path" / "spying"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text(f"open({str(tmp_path / 'it ran')!r}, 'w')")
    for name, content in files.items():
        (package / "data" / name).write_bytes(content)
    monkeypatch.syspath_prepend(str(package.parent))
    source = {"kind": "package", "package": "spying", "folder": "data"}
    with pytest.raises(ValueError, match=r"sources\.0\.package\.package: expected 'skimage'"):
        _tiny(tmp_path, files, source)
    assert not (tmp_path / "it ran").exists()


# --- from a folder of the user ----------------------------------------------------------------


@pytest.mark.parametrize(("name", "inner"), [("Set5", "Set5"), ("T91", ""), ("Set14", "Set14")])
def test_a_folder_of_the_user_serves_itself_or_by_its_subfolder(
    sets, shared, tmp_path, name, inner
):
    source = shared / "datasets" / ("" if inner else name)
    images = fetch(sets[name], tmp_path, source=source, progress=False)
    assert [p.name for p in images] == sorted(os.listdir(shared / "datasets" / name))
    assert all(p.read_bytes() == (shared / "datasets" / name / p.name).read_bytes() for p in images)


@pytest.fixture
def as_png(shared, tmp_path) -> Path:
    """Set5 in another container, with its pixels."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for path in (shared / "datasets" / "Set5").iterdir():
        Image.open(path).save(folder / f"{path.stem}.png")
    return folder


def test_the_same_pixels_in_another_container_are_the_same_set(sets, as_png, tmp_path):
    images = fetch(sets["Set5"], tmp_path / "out", source=as_png)
    assert [p.name for p in images] == [
        f"{stem}.png" for stem in ("baby", "bird", "butterfly", "head", "woman")
    ]


def test_one_other_pixel_is_found_and_nothing_is_left(sets, as_png, tmp_path):
    image = Image.open(as_png / "bird.png")
    image.load()
    image.putpixel((0, 0), tuple(255 - value for value in image.getpixel((0, 0))))
    image.save(as_png / "bird.png")
    with pytest.raises(ValueError, match=r"mine is not .* Set5: bird\.png is another image"):
        fetch(sets["Set5"], tmp_path / "out", source=as_png)
    assert os.listdir(tmp_path / "out") == []


def test_missing_images_are_named(sets, as_png, tmp_path):
    (as_png / "head.png").unlink()
    with pytest.raises(ValueError, match=r"head\.bmp is missing"):
        fetch(sets["Set5"], tmp_path / "out", source=as_png)
    with pytest.raises(ValueError, match="nowhere: expected a folder of images"):
        fetch(sets["Set5"], tmp_path / "out", source=tmp_path / "nowhere")


def test_urban100_is_known_by_its_pixels_as_its_public_source_names_it(sets, tmp_path):
    """`img_001_SRF_4_HR.png`, and beside it the lr images of that source."""
    files = _pictures(4)
    source = _by_hand(tmp_path / "mine", {})
    for number, content in enumerate(files.values(), 1):
        (source / f"img_{number:03}_SRF_4_HR.png").write_bytes(content)
        (source / f"img_{number:03}_SRF_4_LR.png").write_bytes(_halved(content))
    named = {f"img_{number:03}.png": content for number, content in enumerate(files.values(), 1)}
    tiny = _tiny(tmp_path, named, MANUAL)
    images = fetch(tiny, tmp_path / "out", source=source)
    assert {path.name: path.read_bytes() for path in images} == named


def _halved(content: bytes) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(content)).reduce(2).save(file, "PNG")
    return file.getvalue()


def test_images_of_other_names_put_into_place_get_those_of_the_set(tmp_path):
    files = _pictures(3)
    tiny = _tiny(tmp_path, files, MANUAL)
    home = _by_hand(tmp_path / "out" / "Tiny", {f"x{name}": c for name, c in files.items()})
    images = fetch(tiny, tmp_path / "out")
    assert {path.name: path.read_bytes() for path in images} == files
    shutil.rmtree(home)
    _by_hand(home, {"00.png": files["01.png"], "x.png": files["00.png"], "02.png": files["02.png"]})
    with pytest.raises(ValueError, match=r"is 0\d\.png of this set, but there is one"):
        fetch(tiny, tmp_path / "out")


HIDDEN = {"._00.png": b"x", ".DS_Store": b"x", "Thumbs.db": b"x", "desktop.ini": b"x"}


def test_what_systems_put_into_folders_is_no_image_and_no_content(tmp_path):
    files = _pictures(3)
    mine = _by_hand(tmp_path / "mine", files | HIDDEN)
    (mine / "folder.png").mkdir()
    for manifest in ("Tiny.tsv", None):
        tiny = _tiny(tmp_path, files, MANUAL, manifest=manifest)
        out = tmp_path / f"out of {manifest}"
        _by_hand(out / "Tiny", HIDDEN)
        assert [path.name for path in fetch(tiny, out, source=mine)] == list(files)
        assert set(os.listdir(out / "Tiny")) == {*files, *HIDDEN, "manifest.tsv"}


@pytest.mark.parametrize("where", ["source", "home", "folder"])
def test_a_file_in_the_place_of_a_folder_is_told(tmp_path, where):
    files, file = _pictures(2), tmp_path / "file"
    file.write_bytes(b"")
    tiny = _tiny(tmp_path, files, MANUAL)
    if where == "source":
        with pytest.raises(ValueError, match=rf"{file}: expected a folder .* found a file"):
            fetch(tiny, tmp_path / "out", source=file)
    if where == "home":
        (tmp_path / "out").mkdir()
        file.rename(tmp_path / "out" / "Tiny")
        with pytest.raises(ValueError, match="expected a folder of images, found a file"):
            fetch(tiny, tmp_path / "out")
        with pytest.raises(ValueError, match="expected a folder of images, found a file"):
            images_of(tmp_path / "out" / "Tiny")
    if where == "folder":
        with pytest.raises(OSError, match=str(file)):
            fetch(tiny, file)


def test_a_work_folder_that_is_a_link_is_not_followed(tmp_path):
    files = _pictures(2)
    precious = _by_hand(tmp_path / "precious", {})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".Tiny.part").symlink_to(precious)
    fetch(_tiny(tmp_path, files, MANUAL), tmp_path / "out", source=_by_hand(tmp_path / "m", files))
    assert os.listdir(precious) == [] and os.listdir(tmp_path / "out") == ["Tiny"]


# --- over the network -------------------------------------------------------------------------


def test_files_are_fetched_one_by_one_and_a_failure_is_gone_on_with(server, tmp_path):
    files = _pictures(4)
    pages = {f"/a/x{name}": Page(content) for name, content in files.items()}
    server.pages |= pages | {"/a/x02.png": Page(status=403)}
    tiny = _tiny(tmp_path, files, {"kind": "files", "urls": [f"{server.url}/a/x{{stem}}.png"]})
    out = tmp_path / "out"
    with pytest.raises(DownloadError, match=r"x02\.png: HTTP 403(.|\n)*tlw fetch Tiny --from"):
        fetch(tiny, out, progress=False)
    assert not (out / "Tiny").exists()
    server.pages |= pages
    server.seen.clear()
    images = fetch(tiny, out, progress=False)
    assert {p.name: p.read_bytes() for p in images} == files
    assert [path for path, _ in server.seen] == ["/a/x02.png", "/a/x03.png"]
    assert sources_of(out / "Tiny") == f"files of {urlsplit(server.url).hostname}"
    assert os.listdir(out) == ["Tiny"]


def test_names_are_quoted_in_urls(server, tmp_path):
    content = _pictures(1)["00.png"]
    name = "a#b?c %20é&.png"
    server.pages["/x/a%23b%3Fc%20%2520%C3%A9%26.png"] = Page(content)
    source = {"kind": "files", "urls": [server.url + "/x/{name}"]}
    (image,) = fetch(_tiny(tmp_path, {name: content}, source), tmp_path / "out", progress=False)
    assert image.name == name and image.read_bytes() == content


def test_a_second_mirror_and_then_a_second_source_are_tried(server, tmp_path):
    files = _pictures(3)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, content in files.items():
            file.writestr(f"Tiny_HR/{name}", content)
        file.writestr("Tiny_HR/readme.txt", "")
    server.pages = {"/2/00.png": Page(files["00.png"]), "/t.zip": Page(archive.getvalue())}
    sources = [
        {"kind": "files", "urls": [f"{server.url}/{n}/{{name}}" for n in (1, 2)]},
        {
            **{"kind": "archive", "urls": [f"{server.url}/t.zip"], "members": "*.png"},
            **{"sha256": sha256(archive.getvalue()).hexdigest()},
        },
    ]
    images = fetch(_tiny(tmp_path, files, *sources), tmp_path / "out", progress=False)
    assert {p.name: p.read_bytes() for p in images} == files
    assert [p for p, _ in server.seen] == [
        "/1/00.png",
        "/2/00.png",
        "/1/01.png",
        "/2/01.png",
        "/t.zip",
    ]
    assert os.listdir(tmp_path / "out") == ["Tiny"]
    assert (
        sources_of(tmp_path / "out" / "Tiny")
        == f"the archive t.zip of {urlsplit(server.url).hostname}"
    )


def test_an_archive_of_other_images_is_refused(server, tmp_path):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, content in zip(
            ["00.png", "01.png"], list(_pictures(4).values())[2:], strict=True
        ):
            file.writestr(name, content)
    server.pages["/t.zip"] = Page(archive.getvalue())
    digest = sha256(archive.getvalue()).hexdigest()
    url = f"{server.url}/t.zip"
    source = {"kind": "archive", "urls": [url], "members": "*.png", "sha256": digest}
    with pytest.raises(DownloadError, match="is another image"):
        fetch(_tiny(tmp_path, _pictures(2), source), tmp_path / "out", progress=False)
    assert not (tmp_path / "out" / "Tiny").exists()


def _fetching(registry: Path, out: Path, **environment: str) -> subprocess.Popen:
    code = (
        "import sys; from pathlib import Path; from tlw.data.fetch import fetch, load_registry\n"
        "fetch(load_registry(Path(sys.argv[1]))['Tiny'], Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(registry), str(out)]
    return subprocess.Popen(command, env=os.environ | environment)


def test_a_killed_fetch_leaves_no_half_set_and_the_next_goes_on(server, tmp_path):
    files = _pictures(6)
    server.pages = {f"/{name}": Page(content, pause=0.2) for name, content in files.items()}
    source = {"kind": "files", "urls": [server.url + "/{name}"]}
    registry = _registry(tmp_path, files, sources=[source])
    process = _fetching(registry, tmp_path / "out")
    while len(server.seen) < 4:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out" / "Tiny").exists()
    server.seen.clear()
    images = fetch(load_registry(registry)["Tiny"], tmp_path / "out", progress=False)
    assert {p.name: p.read_bytes() for p in images} == files
    assert len(server.seen) <= 3
    assert os.listdir(tmp_path / "out") == ["Tiny"]


def test_two_processes_that_want_one_set_get_it_once(server, tmp_path):
    files = _pictures(4)
    server.pages = {f"/{name}": Page(content, pause=0.3) for name, content in files.items()}
    source = {"kind": "files", "urls": [server.url + "/{name}"]}
    registry = _registry(tmp_path, files, sources=[source])
    both = [_fetching(registry, tmp_path / "out") for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert len(server.seen) == 4
    assert os.listdir(tmp_path / "out") == ["Tiny"]


@pytest.mark.network
def test_set5_and_bsds100_come_over_the_internet(sets, tmp_path):
    for name in ("Set5", "BSDS100"):
        assert len(fetch(sets[name], tmp_path)) == sets[name].images


# --- by hand ----------------------------------------------------------------------------------


def test_a_manual_set_says_what_to_do(sets, tmp_path):
    with pytest.raises(ManualSet) as error:
        fetch(sets["Manga109"], tmp_path)
    wanted = ["manga109.org", "109 images", str(tmp_path / "Manga109"), "--from FOLDER"]
    assert [part for part in wanted if part not in str(error.value)] == []
    assert os.listdir(tmp_path) == []


def _by_hand(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def test_a_manual_set_is_taken_from_a_folder_when_number_and_files_are_sound(tmp_path):
    files = _pictures(3)
    tiny = _tiny(tmp_path, files, MANUAL, manifest=None)
    mine = _by_hand(tmp_path / "mine", files | {"notes.txt": b"not an image"})
    assert [p.name for p in fetch(tiny, tmp_path / "out", source=mine)] == list(files)
    assert sources_of(tmp_path / "out" / "Tiny") == "a folder that its user had (--from)"
    (mine / "more.png").write_bytes(files["00.png"][:-100])
    with pytest.raises(ValueError, match="there are 4 images, expected 3"):
        fetch(tiny, tmp_path / "again", source=mine)
    (mine / "00.png").unlink()
    with pytest.raises(ValueError, match=r"more\.png cannot be read"):
        fetch(tiny, tmp_path / "again", source=mine)


def test_images_put_into_place_by_hand_are_checked_and_listed(tmp_path):
    files = _pictures(3)
    tiny = _tiny(tmp_path, files, MANUAL)
    home = _by_hand(tmp_path / "out" / "Tiny", files)
    with pytest.raises(ValueError, match="no complete image set"):
        images_of(home)
    assert fetch(tiny, tmp_path / "out") == images_of(home)
    assert sources_of(home) == "put in place by hand"
    (home / "manifest.tsv").unlink()
    (home / "01.png").write_bytes(files["00.png"])
    with pytest.raises(ValueError, match=r"01\.png is another image"):
        fetch(tiny, tmp_path / "out")


def test_an_empty_folder_in_place_is_no_obstacle(sets, tmp_path):
    (tmp_path / "toy-test").mkdir()
    assert len(fetch(sets["toy-test"], tmp_path)) == 2


# --- complete or not --------------------------------------------------------------------------


@pytest.fixture
def home(sets, tmp_path) -> Path:
    return fetch(sets["toy-test"], tmp_path)[0].parent


def test_a_folder_that_lost_a_file_is_refused_by_name(home):
    (home / "coins.png").unlink()
    with pytest.raises(ValueError, match=r"coins\.png is missing: delete .*toy-test"):
        images_of(home)


def test_a_truncated_file_is_refused_by_name(home):
    os.truncate(home / "coins.png", 1000)
    with pytest.raises(ValueError, match=r"coins\.png has 1000 bytes, expected 75825"):
        images_of(home)


def test_a_changed_file_of_the_same_length_is_found_by_the_next_fetch(sets, home):
    with open(home / "coins.png", "r+b") as file:
        file.seek(5000)
        file.write(b"XX")
    with pytest.raises(ValueError, match=r"coins\.png has changed since"):
        fetch(sets["toy-test"], home.parent)


def test_a_folder_of_another_set_under_the_name_is_refused(sets, home):
    shutil.move(home, home.with_name("toy-train"))
    with pytest.raises(ValueError, match="has 2 images, the set 6"):
        fetch(sets["toy-train"], home.parent)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("file\tbytes\n", r"line 1: expected the columns file, bytes, sha256"),
        ("file\tbytes\tsha256\na.png\tmany\tx\n", r"line 2: bytes: expected a valid integer"),
        ("file\tbytes\tsha256\n../a.png\t1\tx\n", r"line 2: file"),
        ("", "line 1"),
    ],
)
def test_a_list_that_is_none_is_told_by_file_and_line(home, content, told):
    (home / "manifest.tsv").write_text(content)
    with pytest.raises(ValueError, match=rf"{home}/manifest\.tsv, {told}"):
        images_of(home)
