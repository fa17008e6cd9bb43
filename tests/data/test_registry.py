"""Which image sets a program may not get, and what is said of them before anything runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tlw.data.registry import (
    KnownFile,
    empty,
    known_sets,
    load_registry,
    not_at_hand,
    read_manifest,
)

REGISTRY = known_sets()


def test_two_sets_have_to_be_got_by_hand():
    assert [name for name, image_set in REGISTRY.items() if image_set.by_hand] == [
        "Flickr2K", "Manga109"
    ]  # fmt: skip


def test_it_is_at_hand_as_soon_as_something_lies_in_its_folder(tmp_path):
    names = ["Set5", "Manga109"]
    assert not_at_hand(names, REGISTRY, tmp_path) == [REGISTRY["Manga109"]]
    (tmp_path / "Manga109").mkdir()  # as a workflow does before it fetches
    assert not_at_hand(names, REGISTRY, tmp_path) == [REGISTRY["Manga109"]]
    (tmp_path / "Manga109" / "ARMS.png").touch()
    assert not_at_hand(names, REGISTRY, tmp_path) == []


def test_a_name_that_is_not_known_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"found 'Set6'; did you mean 'Set5'"):
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


# --- sets of the user's own, and what says that a set has changed ------------------------------

MINE = (
    "mine:\n  {use: test, images: 1, terms: Ours., sources: [{kind: manual, instructions: Ask.}]}\n"
)


def test_the_users_own_sets_stand_beside_the_known_ones(tmp_path):
    (tmp_path / "mine.yaml").write_text(MINE)
    assert list(known_sets(tmp_path / "mine.yaml")) == [*REGISTRY, "mine"]


def test_a_known_name_cannot_be_given_to_other_images(tmp_path):
    (tmp_path / "mine.yaml").write_text(MINE.replace("mine", "Set5", 1))
    with pytest.raises(
        ValueError, match=r"mine\.yaml: Set5: expected a name that tlw does not know"
    ):
        known_sets(tmp_path / "mine.yaml")


def test_another_mirror_leaves_a_sets_digest_and_another_image_changes_it():
    known = REGISTRY["Set5"]
    mirrored = known.model_copy(update={"sources": known.sources[:1], "terms": "Others."})
    assert mirrored.digest == known.digest
    other = known.files[0].model_copy(update={"sha256_rgb_pixels": "0" * 64})
    changed = known.model_copy(update={"files": (other, *known.files[1:])})
    assert changed.digest != known.digest
    archive = REGISTRY["DIV2K"]
    [source] = archive.sources
    replaced = archive.model_copy(
        update={"sources": (source.model_copy(update={"sha256": "0" * 64}),)}
    )
    assert replaced.digest != archive.digest


# --- manifests ----------------------------------------------------------------------------------

HEADER = "file\tbytes\tsha256\tsha256_rgb_pixels\n"
GOOD = f"a.png\t3\t{'0' * 64}\t{'1' * 64}\n"


def row(**changes: str) -> str:
    fields = {"file": "b.png", "bytes": "3", "sha256": "0" * 64, "pixels": "1" * 64} | changes
    return "\t".join(fields.values()) + "\n"


def test_a_manifest_is_read_whatever_the_order_of_its_columns(tmp_path):
    path = tmp_path / "set.tsv"
    path.write_text(f"sha256\tfile\tsha256_rgb_pixels\tbytes\n{'0' * 64}\ta.png\t{'1' * 64}\t3\n")
    (known,) = read_manifest(path, KnownFile)
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
        read_manifest(path, KnownFile)
    assert str(path) in str(error.value) and told in str(error.value)
    assert len(str(error.value)) < 1000 and str(error.value).isprintable()


# --- registries that harm -------------------------------------------------------------------


def nested(levels: int) -> str:
    return "x: " + "[" * levels + "]" * levels


@pytest.mark.parametrize(
    "content",
    [
        nested(100_000),
        "a: &a [*a]\n",
        "a: !!python/object/apply:os.system [touch evil]\n",
        b"a: \xff\n",
        "x" * 2_100_000,
    ],
)
def test_a_registry_made_to_harm_is_told_by_file(tmp_path, monkeypatch, content):
    """What the reader of YAML refuses is in tests/config/test_yaml_file.py."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "sets.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=re.escape(str(path))):
        load_registry(path)
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
