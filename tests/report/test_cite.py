"""What results rest on: every known network, loss and image set has its reference."""

import pytest
from scored_cells import scored
from toys import toy_cell, write_cell
from typer.testing import CliRunner

from tlw.cli import app
from tlw.config.backbones import BACKBONES
from tlw.report.cite import cite, references

IMAGE_SETS = ("Set5", "Set14", "BSDS", "Urban100", "Manga109", "General100", "T91", "DIV2K")


def test_every_known_network_metric_and_image_set_has_an_entry():
    known = references()
    assert {*BACKBONES, *IMAGE_SETS, "tlw", "lpips", "ssim", "udl"} <= set(known)
    for key, entry in known.items():
        assert entry.startswith("@") and entry.endswith("}") and entry.count("@") == 1, key
        assert all(f"  {field}" in entry for field in ("title", "author", "year")), key


def test_cells_cite_what_they_rest_on_and_say_what_has_no_reference(tmp_path):
    cell = toy_cell("l1-udl")
    write_cell(cell, tmp_path)
    text = cite([tmp_path], ["Set5"])
    assert text.startswith(
        f"We trained {cell.backbone_name} at scale {cell.scale} with the losses l1-udl"
    )
    assert "with 1 seed each" in text and "{udl," in text and "{Set5," in text
    assert "{hat," not in text and "{ssim," not in text
    assert f"% no reference is known for: {', '.join(sorted(set(cell.train)))}" in text


def test_without_cells_everything_is_cited(tmp_path):
    assert cite([]).count("@") == len(references())


def test_a_folder_that_is_no_cell_is_told(tmp_path):
    with pytest.raises((ValueError, OSError), match=r"cell\.json"):
        cite([tmp_path])


def test_the_verb_cites_the_benchmarks_that_a_cell_was_scored_on(tmp_path):
    folder = scored(tmp_path, {("Urban100", "a"): (30, 0.2)}, row=("vdsr", 2, "l1"))
    write_cell(toy_cell(), folder)
    output = CliRunner().invoke(app, ["cite", str(folder)]).output
    assert output == cite([folder], ["Urban100"]) and "{Urban100," in output
    assert CliRunner().invoke(app, ["cite"]).output == cite([])
