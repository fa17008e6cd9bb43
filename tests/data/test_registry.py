"""Which image sets a program may not get, and what is said of them before anything runs."""

import subprocess
import sys
from pathlib import Path

import pytest

from tlw.data.registry import load_registry, not_at_hand

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
    with pytest.raises(ValueError, match=r"found 'Set6' \(did you mean 'Set5'"):
        not_at_hand(["Set6"], REGISTRY, tmp_path)


def test_the_instructions_say_terms_source_number_and_place():
    told = REGISTRY["Manga109"].instructions(Path("resources/images"))
    for fact in ("Manga109", "no redistribution", "manga109.org", "109 images",
                 "resources/images/Manga109", "`tlw fetch Manga109 --from FOLDER`"):  # fmt: skip
        assert fact in told


def test_the_registry_needs_no_torch():
    program = "import sys, tlw.data.registry; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
