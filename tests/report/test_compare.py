"""Comparisons of scored cells: what is put against what, how it is printed, and mistakes."""

import csv
import re
from pathlib import Path

import pytest
from scored_cells import scored, sections
from toys import run, tlw

from tlw.report.compare import compare, write_comparison

PIXEL, WEIGHTED = {"kind": "pixel", "base": "l1"}, {"kind": "tlw", "base": "l1"}


def cell(folder: Path, loss: str, mean: float, *, scale: int = 2, backbone: str = "vdsr",
         seed: int | str = 0, images: int = 30) -> Path:  # fmt: skip
    """A scored cell; PSNR goes up with `mean`, and LPIPS down by a hundredth of it."""
    values = {
        ("Set", f"{i}"): (mean + i + 0.01 * (i % 3 - 1) * mean, 1 - mean / 100)
        for i in range(images)
    }
    settings = {"l1": PIXEL, "l1-tlw": WEIGHTED}.get(loss)
    return scored(folder, values, row=(backbone, scale, loss), seed=seed, settings=settings)


@pytest.fixture
def cells(tmp_path) -> list[Path]:
    return [
        cell(tmp_path, "l1-tlw", 32),
        cell(tmp_path, "l1", 31),
        cell(tmp_path, "mine", 29),
        cell(tmp_path, "l1", 28, scale=3),
        cell(tmp_path, "", 20, backbone="bicubic", seed=""),
    ]


def changes(found) -> dict[tuple, float]:
    psnr = found[found["metric"] == "psnr_y"]
    keys = psnr[["scale", "backbone", "loss", "against"]].itertuples(index=False, name=None)
    return {key: pytest.approx(value) for key, value in zip(keys, psnr["change"], strict=True)}


def test_a_weighted_loss_stands_against_its_twin(cells, caplog):
    assert changes(compare(cells)) == {(2, "vdsr", "l1-tlw", "l1"): 1}
    assert not caplog.messages


def test_all_losses_of_a_network_stand_against_a_named_one(cells):
    found = changes(compare(cells, against="l1"))
    assert found == {(2, "vdsr", "l1-tlw", "l1"): 1, (2, "vdsr", "mine", "l1"): -2}


def test_all_cells_of_a_scale_stand_against_a_folder(cells, caplog):
    expected = {
        (2, "vdsr", "l1-tlw", "bicubic_x2_seed"): 12,
        (2, "vdsr", "l1", "bicubic_x2_seed"): 11,
        (2, "vdsr", "mine", "bicubic_x2_seed"): 9,
    }
    bicubic = cells[-1].rename(cells[-1].with_name("bicubic_x2_seed"))
    for those in (cells[:-1], [*cells[:-1], bicubic]):
        assert changes(compare(those, against=str(bicubic))) == expected
        assert caplog.messages.pop() == "not compared, of another scale or seed: vdsr x3 l1"
        caplog.clear()


def test_it_is_printed_with_intervals_marks_and_what_chance_would_do(cells):
    text = write_comparison(cells, None, against="l1")
    [table] = sections(text)["×2"]
    heads = ["Network", "Loss", "Against", "Benchmark", "Images"]
    assert table[0] == [*heads, "PSNR (dB) ↑", "LPIPS vgg ↓"]
    number = r"[-+]\d+\.\d{4}"
    shown = rf"({number}) \[({number}), ({number})\] ([▲▼])"
    for line, marks in zip(table[2:], ("▲▲", "▼▼"), strict=True):
        for value, mark in zip(line[5:], marks, strict=True):
            change, low, high, found = re.fullmatch(shown, value).groups()
            assert float(low) <= float(change) <= float(high) and found == mark
    assert "Of 4 differences 2 are really better and 2 really worse." in text
    assert "about 0 would be marked nevertheless" in text and "paired bootstrap over images" in text
    assert "Differences with 95 % intervals" in text


def test_seeds_are_printed_with_their_spread(tmp_path):
    cells = [
        cell(tmp_path, loss, 30 + (loss == "l1-tlw") * (1 + seed), seed=seed)
        for loss in ("l1", "l1-tlw") for seed in (0, 1)
    ]  # fmt: skip
    text = write_comparison(cells, None, confidence=0.9)
    assert "+1.5000 ± 0.7071 [" in text and "Differences with 90 % intervals" in text
    assert "over images and seeds" in text and "2 seeds" in text


def test_without_an_interval_no_claim_is_made(tmp_path):
    cells = [cell(tmp_path, loss, 30, images=2) for loss in ("l1", "l1-tlw")]
    text = write_comparison(cells, None)
    assert "No interval" in text and "Set (2 images)" in text and "really" not in text
    [table] = sections(text)["×2"]
    assert table[2][4:] == ["2", "+0.0000", "+0.0000"]


def test_the_verb_prints_markdown_and_writes_the_long_form(cells, tmp_path):
    output = tmp_path / "made" / "differences.csv"
    done = run(tlw("compare", *cells, "-o", output))
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert done.stdout.startswith("# Differences") and "| l1-tlw | l1 " in done.stdout
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["metric"], row["real"]) for row in rows] == [
        *(("psnr_y", "better"), ("lpips_vgg", "better"))
    ]
    assert float(rows[0]["low"]) < 1 < float(rows[0]["high"]) and rows[0]["images"] == "30"


@pytest.mark.parametrize(
    ("chosen", "against", "words"),
    [
        (slice(1, 4), None, "nothing to compare: expected the cells of a weighted loss"),
        (slice(0, 2), "l2", r"--against: expected one of l1-tlw, l1, found 'l2'; or the folder"),
        (slice(0, 2), "nowhere/at/all", "folder of a scored cell, with scores.csv"),
        (slice(1, 2), "l1", "nothing to compare: expected other cells beside those of l1"),
    ],
)
def test_what_cannot_be_compared_is_told(cells, tmp_path, chosen, against, words):
    with pytest.raises(ValueError, match=words):
        write_comparison(cells[chosen], tmp_path / "d.csv", against=against)
    assert not (tmp_path / "d.csv").exists()
