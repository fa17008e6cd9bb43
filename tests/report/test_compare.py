"""Comparisons of scored cells: what is put against what, how it is printed, and mistakes."""

import csv
import re
import subprocess
from pathlib import Path

import pytest
from scored_cells import scored, sections
from toys import environment, run, tlw

from tlw.report.compare import compare, write_comparison
from tlw.report.tables import write_tables

PIXEL, WEIGHTED = {"kind": "pixel", "base": "l1"}, {"kind": "tlw", "base": "l1"}


def cell(folder: Path, loss: str, mean: float, *, scale: int = 2, backbone: str = "vdsr",
         seed: int | str = 0, images: int = 30, benchmark: str = "Set") -> Path:  # fmt: skip
    """A scored cell; PSNR goes up with `mean`, and LPIPS down by a hundredth of it."""
    values = {
        (benchmark, f"{i}"): (mean + i + 0.01 * (i % 3 - 1) * mean, 1 - mean / 100)
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


def test_a_weighted_loss_stands_against_its_baseline(cells, caplog):
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
        assert caplog.messages.pop() == (
            "not compared: vdsr x3 l1 with bicubic_x2_seed, of another scale"
        )
        caplog.clear()


def test_a_loss_stands_against_itself_by_its_seeds(tmp_path, caplog):
    cells = [cell(tmp_path, "l1", 30 + 0.1 * seed, seed=seed) for seed in range(5)]
    cells.append(cell(tmp_path, "mse", 30))
    found = compare(cells, against="itself")
    assert changes(found) == {(2, "vdsr", "l1", "itself"): -0.1}  # 0 with 1, 2 with 3
    assert list(found["pairs"]) == list(found["against_seeds"]) == [2, 2]
    with pytest.raises(ValueError, match="nothing to compare: expected two seeds or more"):
        compare(cells[-1:], against="itself")


def test_the_seeds_of_a_loss_stand_against_the_cell_of_one_of_them(tmp_path):
    cells = [cell(tmp_path, "l1", 30 + seed, seed=seed) for seed in range(3)]
    found = compare(cells, against=str(cells[0]))
    assert changes(found) == {(2, "vdsr", "l1", "vdsr_x2_l1_seed0"): 1.5}
    assert set(found["against_seeds"]) == {1} and set(found["significant"]) == {""}
    text = write_comparison(cells, None, against=str(cells[0]))
    [table] = sections(text)["×2"]
    assert table[2][:6] == ["vdsr", "l1", "vdsr_x2_l1_seed0", "Set", "30", "2 against 1"]
    assert "▲" not in text and "for these trained networks alone" in text


def seeds_of_two_losses(folder: Path, gains: tuple[float, ...]) -> list[Path]:
    return [
        cell(folder, loss, 30 + (loss == "l1-tlw") * gains[seed], seed=seed)
        for loss in ("l1", "l1-tlw") for seed in range(len(gains))
    ]  # fmt: skip


def test_it_is_printed_with_intervals_marks_and_their_number(tmp_path):
    cells = seeds_of_two_losses(tmp_path, (1.0, 1.1, 1.2))
    text = write_comparison(cells, None)
    [table] = sections(text)["×2"]
    heads = ["Network", "Loss", "Against", "Benchmark", "Images", "Seeds"]
    assert table[0] == [*heads, "PSNR (dB) ↑", "LPIPS vgg ↓"]
    number = r"[-+]\d+\.\d{4}"
    shown = rf"({number}) ± \d\.\d{{4}} \[({number}), ({number})\] ▲†"
    assert table[2][4:6] == ["30", "3"]
    for value in table[2][6:]:
        change, low, high = map(float, re.fullmatch(shown, value).groups())
        assert low <= change <= high
    assert "Marked are 2 better and 0 worse of 2 differences, 2 of them (†) also after" in text
    assert "Differences with 95 % intervals" in text


def test_the_confidence_is_what_was_asked_for(tmp_path):
    cells = seeds_of_two_losses(tmp_path, (1.0, 2.0))
    sure, quick = (write_comparison(cells, None, confidence=c) for c in (0.95, 0.6))
    assert "+1.5000 ± 0.7071 [" in sure and "▲ better" in sure
    assert not re.search(r"\] ▲", sure) and re.search(r"\] ▲†", quick)
    assert "Differences with 60 % intervals" in quick and "the 60 % t interval" in quick


def test_without_an_interval_no_claim_is_made(tmp_path):
    cells = [cell(tmp_path, loss, 30, images=2) for loss in ("l1", "l1-tlw")]
    text = write_comparison(cells, None)
    assert "No interval, since under 5 images are compared: Set." in text
    assert "significant" not in text
    [table] = sections(text)["×2"]
    assert table[2][4:] == ["2", "1", "+0.0000", "+0.0000"]


def test_the_reason_why_something_is_not_compared_is_told(tmp_path, caplog):
    cells = [
        cell(tmp_path / "a", "l1", 30),
        cell(tmp_path / "b", "l1-tlw", 31, benchmark="Other"),
        cell(tmp_path / "c", "mse", 30, seed=4),
        cell(tmp_path / "d", "good", 32),
    ]
    compare(cells, against="l1")
    assert caplog.messages == [
        "not compared: vdsr x2 l1-tlw with l1, which have no benchmark in common: Other and Set",
        "not compared: vdsr x2 mse with l1, which have no seed in common: 4 and 0",
    ]
    with pytest.raises(
        ValueError, match=r"nothing to compare: .*no benchmark in common: Other and"
    ):
        compare(cells[:2], against="l1")


def test_a_benchmark_or_a_seed_that_one_row_lacks_is_told(tmp_path, caplog):
    values = {(name, f"{i}"): (30.0 + i, 0.1) for name in ("Set5", "Set14") for i in range(6)}
    some = {key: scores for key, scores in values.items() if key[0] == "Set5"}
    cells = [scored(tmp_path, values, row=("vdsr", 2, "l1"), seed=seed) for seed in (0, 1)]
    cells.append(scored(tmp_path, some, row=("vdsr", 2, "mine")))
    found = compare(cells, against="l1")
    assert set(found["benchmark"]) == {"Set5"} and set(found["pairs"]) == {1}
    assert caplog.messages == [
        "not compared: vdsr x2 mine with l1 on Set14, which vdsr x2 mine lacks",
        "not compared: vdsr x2 mine with l1 at seed 1, which only one of them has",
    ]


def test_images_that_are_given_exactly_are_named(tmp_path):
    values = {("Set", f"{i}"): (30.0 + i, 0.1) for i in range(6)}
    cells = [
        scored(tmp_path, values | {("Set", "0"): ("inf", 0.1)}, row=("vdsr", 2, "mine")),
        scored(tmp_path, values, row=("vdsr", 2, "l1")),
    ]
    text = write_comparison(cells, tmp_path / "d.csv", against="l1")
    assert "vdsr ×2 mine, Set: 0 (5 images left)." in text
    assert "inf" not in (tmp_path / "d.csv").read_text() + text.replace("infinite", "")


def test_the_verb_prints_markdown_and_writes_the_long_form(tmp_path):
    cells = seeds_of_two_losses(tmp_path, (1.0, 1.1, 1.2))
    output = tmp_path / "made" / "differences.csv"
    done = run(tlw("compare", *cells, "-o", output, "--smallest", "0.1", "0.02"))
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert done.stdout.startswith("# Differences") and "| l1-tlw | l1 " in done.stdout
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["metric"], row["significant"]) for row in rows] == [
        *(("psnr_y", "better"), ("lpips_vgg", "small"))
    ]
    assert float(rows[0]["low"]) < 1.1 < float(rows[0]["high"])
    assert rows[0]["common_images"] == "30" and float(rows[0]["p"]) < 0.05


def test_a_terminal_that_lacks_a_sign_ends_nothing(tmp_path):
    cells = seeds_of_two_losses(tmp_path, (1.0, 1.1, 1.2))
    for verb, made in (("compare", "d.csv"), ("tables", "t.csv")):
        output = tmp_path / made.removesuffix(".csv" if verb == "tables" else "")
        command = tlw(verb, *cells, "-o", output)
        latin = environment(PYTHONIOENCODING="latin-1")
        done = subprocess.run(command, env=latin, capture_output=True, encoding="latin-1")
        assert done.returncode == 0, done.stderr
        assert "PSNR (dB) ?" in done.stdout and (tmp_path / made).is_file()


def test_a_name_that_is_no_utf8_is_told_before_anything_is_done(tmp_path):
    folder = tmp_path / "caf\udce9"
    with pytest.raises(ValueError, match=r"expected a name in UTF-8, found 'caf\\udce9'; rename"):
        compare([folder])
    options = {"published": tmp_path, "number": 1}
    with pytest.raises(ValueError, match="expected a name in UTF-8"):
        write_tables([tmp_path], tmp_path / "t", title="\udce9", **options)


@pytest.mark.parametrize(
    ("chosen", "against", "words"),
    [
        (slice(1, 4), None, "nothing to compare: expected the cells of a weighted loss"),
        (slice(0, 2), "l2", r"--against: expected one of l1-tlw, l1, found 'l2'; or itself; or"),
        (slice(0, 2), "nowhere/at/all", "folder of a scored cell, with scores.csv"),
        (slice(1, 2), "l1", "nothing to compare: expected other cells beside those of l1"),
    ],
)
def test_what_cannot_be_compared_is_told(cells, tmp_path, chosen, against, words):
    with pytest.raises(ValueError, match=words):
        write_comparison(cells[chosen], tmp_path / "d.csv", against=against)
    assert not (tmp_path / "d.csv").exists()
