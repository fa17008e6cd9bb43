"""Which image sets a program may not get, and what is said of them before anything runs."""

import subprocess
import sys
from pathlib import Path

import pytest

from tlw.data.registry import empty, load_registry, not_at_hand, read_manifest, read_yaml

REGISTRY = load_registry(Path(__file__).parents[2] / "resources" / "datasets.yaml")


def test_manga109_alone_has_to_be_got_by_hand():
    assert [name for name, image_set in REGISTRY.items() if image_set.by_hand] == ["Manga109"]


def test_it_is_at_hand_as_soon_as_something_lies_in_its_folder(tmp_path):
    names = ["Set5", "Manga109"]
    assert not_at_hand(names, REGISTRY, tmp_path) == [REGISTRY["Manga109"]]
    (tmp_path / "Manga109").mkdir()  # as a workflow does before it fetches
    assert not_at_hand(names, REGISTRY, tmp_path) == [REGISTRY["Manga109"]]
    (tmp_path / "Manga109" / "ARMS.png").touch()
    assert not_at_hand(names, REGISTRY, tmp_path) == []


def test_a_name_that_is_not_known_is_refused(tmp_path):
    with pytest.raises(ValueError, match="found 'Set6'; did you mean 'Set5'"):
        not_at_hand(["Set6"], REGISTRY, tmp_path)


def test_the_instructions_say_terms_source_number_and_place():
    told = REGISTRY["Manga109"].instructions(Path("resources/images"))
    for fact in ("Manga109", "no redistribution", "manga109.org", "109 images",
                 "resources/images/Manga109", "`tlw fetch Manga109 --from FOLDER`"):  # fmt: skip
        assert fact in told


def test_the_registry_needs_no_torch():
    program = "import sys, tlw.data.registry; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_what_systems_put_into_folders_leaves_them_empty(tmp_path):
    assert empty(tmp_path / "absent") and empty(tmp_path)
    for name in (".DS_Store", "._ARMS.png", "Thumbs.db", "desktop.ini", ".gitkeep"):
        (tmp_path / name).touch()
    assert empty(tmp_path)
    (tmp_path / "ARMS.png").touch()
    assert not empty(tmp_path)
    with pytest.raises(ValueError, match=r"ARMS\.png: expected a folder of images, found a file"):
        empty(tmp_path / "ARMS.png")


# --- manifests ----------------------------------------------------------------------------------

HEADER = "file\tbytes\tsha256\tsha256_rgb_pixels\n"
GOOD = f"a.png\t3\t{'0' * 64}\t{'1' * 64}\n"


def row(**changes: str) -> str:
    fields = {"file": "b.png", "bytes": "3", "sha256": "0" * 64, "pixels": "1" * 64} | changes
    return "\t".join(fields.values()) + "\n"


def test_a_manifest_is_read_whatever_the_order_of_its_columns(tmp_path):
    path = tmp_path / "set.tsv"
    path.write_text(f"sha256\tfile\tsha256_rgb_pixels\tbytes\n{'0' * 64}\ta.png\t{'1' * 64}\t3\n")
    (known,) = read_manifest(path)
    assert (known.file, known.bytes, known.sha256) == ("a.png", 3, "0" * 64)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("\ufeff" + HEADER + GOOD, "line 1: begins with a byte order mark"),
        ("", "line 1: expected the columns file, bytes, sha256, sha256_rgb_pixels, found []"),
        (HEADER.replace("\tbytes", "") + GOOD, "line 1: expected the columns"),
        (HEADER.replace("bytes", "size") + GOOD, "line 1: expected the columns"),
        (HEADER.replace("bytes", "file") + GOOD, "line 1: expected the columns"),
        (HEADER.replace("\n", "\tmore\n") + GOOD, "line 1: expected the columns"),
        (HEADER + GOOD + "b.png\t3\n", "line 3: expected 4 fields, found 2"),
        (HEADER + GOOD + GOOD.replace("\n", "\tmore\n"), "line 3: expected 4 fields, found 5"),
        (HEADER + GOOD + "\n", "line 3: expected 4 fields, found 0"),
        (HEADER + GOOD + row(file="x" * 130_000), "line 3: file: expected a name"),
        (HEADER + GOOD + row(file="x" * 140_000), "line 3: field larger than field limit"),
        (HEADER + GOOD + row(file='"b.png'), "line 3: unexpected end of data"),
        (HEADER + GOOD + row(bytes="many"), "line 3: bytes: expected a valid integer"),
        (HEADER + GOOD + row(bytes="9" * 5000), "line 3: bytes"),
        (HEADER + GOOD + row(bytes="-1"), "line 3: bytes"),
        (HEADER + GOOD + row(sha256="0"), "line 3: sha256"),
        (HEADER + GOOD + row(file="../b.png"), "line 3: file"),
        (HEADER + GOOD + row(file=".."), "line 3: file"),
        (HEADER + GOOD + row(file="._b.png"), "line 3: file"),
        (HEADER + GOOD + row(file="\x1b[2Jb.png"), r"line 3: file: expected a name"),
        (HEADER + GOOD + row(file="é" * 91), "line 3: file: expected a name of at most 180 bytes"),
        ((HEADER + GOOD).encode() + b"\xff\xfe", "line 3: expected UTF-8"),
        ((HEADER + GOOD).encode("utf-16"), "line 1: expected UTF-8"),
        ("x" * 70_000_000, "67108864 bytes at most"),
    ],
)
def test_a_manifest_that_is_none_is_told_by_file_and_line(tmp_path, content, told):
    path = tmp_path / "set.tsv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError) as error:
        read_manifest(path)
    assert str(path) in str(error.value) and told in str(error.value)
    assert len(str(error.value)) < 1000 and str(error.value).isprintable()


# --- registries that harm -------------------------------------------------------------------


def nested(levels: int) -> str:
    return "x: " + "[" * levels + "]" * levels


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (nested(100), "line 1: expected 20 levels at most"),
        (nested(100_000), "line 1: expected 20 levels at most"),
        ("\n".join(" " * n + "a:" for n in range(1000)), "line 21: expected 20 levels at most"),
        ("a: &a [x, x]\nb: &b [*a, *a]\n", "line 2: aliases are not read here"),
        ("a: &a [*a]\n", "line 1: aliases are not read here"),
        ("a: !!python/object/apply:os.system [touch evil]\n", "cannot be read as YAML"),
        ("a: [\n", "cannot be read as YAML"),
        ("{a: b}: c\n", "cannot be read as YAML"),
        ("a: 2001-99-99\n", "cannot be read as YAML"),
        ("a: " + "9" * 5000, "cannot be read as YAML"),
        (b"a: \xff\n", "line 1: expected UTF-8"),
        ("a: \x1b\n", "cannot be read as YAML"),
        ("x" * 1_100_000, "1048576 bytes at most"),
    ],
)
def test_a_registry_made_to_harm_is_told_by_file(tmp_path, monkeypatch, content, told):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "sets.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError) as error:
        read_yaml(path)
    assert str(path) in str(error.value) and told in str(error.value)
    assert not (tmp_path / "evil").exists()


def test_a_mistake_in_a_registry_does_not_tell_the_secrets_of_its_urls(tmp_path):
    path = tmp_path / "sets.yaml"
    path.write_text(
        "Tiny: {use: test, images: 1, terms: free, sources: [{kind: archive, sha256: x, "
        "members: '*', urls: 'https://me:hunter2@example.org/a.zip?token=t0ken'}]}\n"
    )
    with pytest.raises(ValueError, match=r"urls: .*https://example\.org/a\.zip\?\.\.\.") as error:
        load_registry(path)
    assert "hunter2" not in str(error.value) and "t0ken" not in str(error.value)
