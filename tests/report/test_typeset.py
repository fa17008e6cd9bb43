"""Tables as Markdown and LaTeX: what a reader sees, marks and notes among it."""

import csv
import re
from pathlib import Path

import pytest
from scored_cells import (
    PUBLISHED,
    published_cells,
    scored,
    sections,
    tables_of,
    two_losses,
)

from tlw.report.statistics import Smallest
from tlw.report.tables import write_tables


@pytest.fixture
def ours(tmp_path) -> list[Path]:
    return two_losses(tmp_path)


def test_markdown_has_a_section_for_each_scale_and_in_it_a_table_for_each_metric(tmp_path):
    text = tables_of(published_cells(tmp_path / "cells", 1), tmp_path / "t", 1, "Table I")
    assert text == (tmp_path / "t.md").read_text() and text.startswith("# Table I\n")
    found = sections(text)
    assert list(found) == ["×2", "×3", "×4", "How these numbers came about"]
    for scale in ("×2", "×3", "×4"):
        psnr, lpips = found[scale]
        benchmarks = ["Urban100", "Set5", "Set14", "BSDS100", "Manga109"]
        assert psnr[0] == ["Network", "Loss", *(f"{name} PSNR (dB) ↑" for name in benchmarks)]
        assert lpips[0] == ["Network", "Loss", *(f"{name} LPIPS vgg ↓" for name in benchmarks)]
        for table in (psnr, lpips):
            assert [row[0] for row in table[2:]] == ["rcan"] * 4 + ["vdsr"] * 4 + ["edsr"] * 4 + [
                "bicubic"
            ]
            assert {len(row) for row in table} == {7}
    assert found["×2"][0][2][2:4] == [
        "**30.3759** (30.3759, +0.0000)",
        "36.6757 (36.6757, +0.0000)",
    ]
    assert found["×2"][0][-1][:3] == ["bicubic", "–", "27.0711 (27.0711, +0.0000)"]
    assert found["×2"][1][2][2] == "**0.1199** (0.1199, +0.0000)"


def test_differences_have_their_sign_and_nothing_is_minus_zero(tmp_path):
    cells = [
        scored(tmp_path, {("Set5", "a"): (37.2904999, 0.1), ("Set14", "b"): (32, 0.1553)}),
        scored(tmp_path, {("Set5", "a"): (38, 0.09), ("Set14", "b"): (1, 0.2)},
               row=("vdsr", 2, "mse")),
    ]  # fmt: skip
    text = tables_of(cells, tmp_path / "t", 1)
    for shown in ("37.2905 (37.2905, +0.0000)", "32.0000** (32.7652, -0.7652)", "+0.8337)"):
        assert shown in text
    assert "$-0.7652$" in (tmp_path / "t.tex").read_text()


def test_a_number_that_is_missing_is_a_dash(tmp_path):
    cells = [
        scored(tmp_path, {("Set5", "a"): (30, 0.2), ("Manga109", "b"): (30, 0.2)}),
        scored(tmp_path, {("Set5", "a"): (31, 0.1)}, row=("edsr", 2, "l1")),
    ]
    psnr, _ = sections(tables_of(cells, tmp_path / "t"))["×2"]
    assert psnr[3] == ["edsr", "l1", "31.0000", "–"]
    assert "**" not in (tmp_path / "t.md").read_text()  # a lone loss is not called the best


def test_the_records_tell_how_the_numbers_came_about(tmp_path):
    cells = [
        scored(tmp_path, {("Set5", "a"): (30, 0.2)}, seed=seed, record=record)
        for seed, record in enumerate([{}, {"training_seconds": 59.6, "commit": None}])
    ]
    text = tables_of(cells, tmp_path / "t")
    (table,) = sections(text)["How these numbers came about"]
    assert table[0] == [
        *("Cell", "Seed", "Parameters", "Steps", "Training (h:mm:ss)", "Digest", "Commit")
    ]
    common = ("1,517,571", "39100")
    assert table[2:] == [
        ["vdsr_x2_l1_seed0", "0", *common, "10:17:01", "0123456789ab", "1d65c229ad55"],
        ["vdsr_x2_l1_seed1", "1", *common, "0:01:00", "0123456789ab", "–"],
    ]
    for fact in ("Preset: paper", "Protocol: paper", "Precision: float32", "Device: CPU, 2 threads",
                 "Versions: python 3.11.7 torch 2.13.0"):  # fmt: skip
        assert f"- {fact}" in text
    with (tmp_path / "t_cells.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["training_seconds"] for row in rows] == ["37021.4", "59.6"]
    assert rows[0]["pairs"] == "T91 aaaaaaaaaaaa" and rows[1]["commit"] == ""


def test_bicubic_alone_makes_a_table_without_records(tmp_path):
    cell = scored(tmp_path, {("Set5", "a"): (33, 0.1)}, row=("bicubic", 2, ""), seed="")
    assert "How these numbers" not in tables_of([cell], tmp_path / "t", 1)
    assert (tmp_path / "t_cells.csv").exists()


def test_latex_is_well_formed(tmp_path):
    title = r"50 % of A & B_1 {C} #2 $x$ ~ ^ \o"
    tables_of(published_cells(tmp_path / "cells", 1), tmp_path / "t", 1, title)
    text = (tmp_path / "t.tex").read_text()
    assert text.isascii()
    bare = re.sub(r"\\\\|\\[{}&%$#_]", "", text)  # without line ends and what is escaped
    assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0
    depth = 0
    for character in bare:
        depth += (character == "{") - (character == "}")
        assert depth >= 0
    opened, closed = (re.findall(rf"\\{word}{{(\w+\*?)}}", text) for word in ("begin", "end"))
    assert opened == closed[::-1] == ["table*", "tabular"]
    assert r"50 \% of A \& B\_1 \{C\} \#2 \$x\$ \textasciitilde{} \textasciicircum{}" in text
    columns = re.search(r"\\begin{tabular}{(l+r+)}", text)[1]
    assert columns == "lll" + 10 * "r"
    body = text.partition(r"\toprule")[2].partition(r"\bottomrule")[0]
    lines = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(lines) == 3 + 39
    for line in lines:
        spans = [int(n) for n in re.findall(r"\\multicolumn{(\d+)}", line)]
        assert len(re.findall(r"(?<!\\)&", line)) + 1 + sum(spans) - len(spans) == len(columns)
    assert text.count(r"\midrule") == 1 and r"$\times$2 & vdsr" not in text


def test_latex_heads_each_number_with_its_benchmark_and_metric(ours, tmp_path):
    tables_of(ours, tmp_path / "t")
    lines = (tmp_path / "t.tex").read_text().splitlines()
    metrics = " & ".join(2 * [r"PSNR (dB) $\uparrow$", r"LPIPS vgg $\downarrow$"])
    assert lines[lines.index(r"\toprule") + 1 :][:3] == [
        r" &  &  & \multicolumn{2}{c}{Set5} & \multicolumn{2}{c}{Set14} \\",
        rf" &  &  & {metrics} \\",
        r"Scale & Network & Loss &  &  &  &  \\",
    ]
    assert lines[lines.index(r"\midrule") + 1 :][:3] == [
        r"$\times2$ & vdsr & l1 & 30.5000 & \textbf{0.3000} & \textbf{28.0000} & 0.3000 \\",
        r" &  & l1-tlw & \textbf{32.5000} & 0.3500 & 27.0000 & \textbf{0.1000} \\",
        r" & bicubic & -- & 29.0000 & 0.1000 & 29.0000 & 0.0500 \\",
    ]


# --- marks and their notes --------------------------------------------------------------------


def with_baseline(folder: Path, images: int, *, seeds: int = 3, missing: int = 0) -> list[Path]:
    """A weighted loss and its baseline: 0.2 dB more on Set A, as much less on Set B, none on C.

    Args:
        missing: how many seeds the baseline has less.
    """
    gain = {"A": 0.2, "B": -0.2, "C": 0.0}

    def values(weighted: bool, seed: int) -> dict:
        return {
            (name, f"{i}"): (30 + i + weighted * (sign + 0.01 * (i % 3 - 1) + 0.01 * seed), 0.2)
            for name, sign in gain.items() for i in range(images)
        }  # fmt: skip

    return [
        scored(folder, values(loss == "l1-tlw", seed), row=("vdsr", 2, loss), seed=seed,
               settings={"kind": "tlw" if loss == "l1-tlw" else "pixel", "base": "l1"})
        for loss in ("l1-tlw", "l1") for seed in range(seeds - missing * (loss == "l1"))
    ]  # fmt: skip


def note_of(text: str) -> str:
    return text.partition("##")[0]


def test_significant_differences_are_marked_and_the_marks_explained(tmp_path):
    text = tables_of(with_baseline(tmp_path, 30), tmp_path / "t")
    psnr, lpips = sections(text)["×2"]
    shown = [re.sub(r" ± \d\.\d{4}", "", cell) for cell in psnr[2]]
    assert shown == ["vdsr", "l1-tlw", "**44.7100** ▲†", "44.3100 ▼†", "**44.5100**"]
    assert not {"▲", "▼"} & set("".join(lpips[2] + lpips[3]))
    note = note_of(text)
    assert "Compared are weighted losses and their unweighted baseline: l1-tlw with l1." in note
    assert "▲ better, ▼ worse: significant, since the 95 % t interval" in note
    assert "under 0.005 dB, or 0.0005 of SSIM and LPIPS, are never marked" in note
    assert "Marked are 1 better and 1 worse of 6 differences, 2 of them (†) also after" in note
    assert "correction for 6 comparisons" in note and "no more than 0.1 marks are" in note


def test_one_seed_gets_open_marks_and_nothing_is_called_significant(tmp_path):
    text = tables_of(with_baseline(tmp_path, 30, seeds=1), tmp_path / "t")
    psnr, _ = sections(text)["×2"]
    assert psnr[2] == ["vdsr", "l1-tlw", "**44.7000** △†", "44.3000 ▽†", "**44.5000**"]
    note = note_of(text)
    assert "▲" not in text and "on other images, for these trained networks alone" in note
    assert "nothing of this is significant; train three seeds at least, better five" in note
    latex = (tmp_path / "t.tex").read_text()
    assert r"44.3000\rlap{\,\tiny$\triangledown$$\dagger$}" in latex and latex.isascii()


def test_two_seeds_are_told_to_be_too_few(tmp_path):
    two = note_of(tables_of(with_baseline(tmp_path / "two", 30, seeds=2), tmp_path / "t"))
    three = note_of(tables_of(with_baseline(tmp_path / "three", 30), tmp_path / "t"))
    assert "Two seeds show next to nothing" in two and "next to nothing" not in three


def test_very_few_images_get_no_marks(tmp_path):
    text = tables_of(with_baseline(tmp_path, 2), tmp_path / "t")
    assert "No interval, since under 5 images are compared: A, B, C." in note_of(text)
    assert not {"▲", "▼", "△", "▽"} & set(text)


def test_without_a_baseline_nothing_is_said_of_marks(tmp_path):
    text = tables_of(with_baseline(tmp_path, 30)[:1], tmp_path / "t")
    assert not {"▲", "△"} & set(text) and "interval" not in text and "significant" not in text


def test_latex_has_the_same_marks(tmp_path):
    tables_of(with_baseline(tmp_path, 30), tmp_path / "t")
    text = (tmp_path / "t.tex").read_text()
    assert text.isascii() and text.startswith(r"% needs \usepackage{booktabs,amssymb}")
    assert r"\textbf{44.7100 $\pm$ 0.0100}\rlap{\,\tiny$\blacktriangle$$\dagger$} &" in text
    assert r"44.3100 $\pm$ 0.0100\rlap{\,\tiny$\blacktriangledown$$\dagger$}" in text
    caption = re.search(r"\\caption{(.*)}", text)[1]
    assert r"$\blacktriangle$ better, $\blacktriangledown$ worse" in caption and r"95 \%" in caption


def test_a_difference_below_the_smallest_of_interest_has_no_mark_and_no_bold_of_its_own(tmp_path):
    cells = with_baseline(tmp_path / "cells", 30)
    options = {"title": "T", "published": PUBLISHED, "number": None}
    text = write_tables(cells, tmp_path / "t", **options, smallest=Smallest(0.5, 0.0005))
    psnr, _ = sections(text)["×2"]
    assert not {"▲", "▼"} & set(text.partition("##")[2])
    assert [cell.count("**") for cell in psnr[2][2:] + psnr[3][2:]] == 6 * [2]
    assert (
        "Bold: the best loss of a network at a scale, and what is within 0.5 dB, or 0.0005" in text
    )


def test_losses_of_different_seeds_are_neither_bold_nor_marked_and_named(tmp_path):
    text = tables_of(with_baseline(tmp_path, 30, missing=1), tmp_path / "t")
    psnr, _ = sections(text)["×2"]
    assert not {"▲", "▼", "△", "*"} & set("".join(psnr[2] + psnr[3]))
    assert "in vdsr ×2 (l1-tlw: 0 1 2, l1: 0 1)." in note_of(text)


def test_an_image_that_is_given_exactly_is_named_and_no_inf_is_printed(tmp_path):
    values = {("Set5", name): (30.0, 0.1) for name in "ab"}
    cells = [
        scored(tmp_path, values | {("Set5", "c"): ("inf" if seed else 33.0, 0.1)}, seed=seed)
        for seed in (0, 1)
    ]  # fmt: skip
    cells.append(scored(tmp_path, values | {("Set5", "c"): (28, 0.2)}, row=("vdsr", 2, "mse")))
    exact = {key: ("inf", 0.0) for key in [*values, ("Set5", "c")]}
    cells.append(scored(tmp_path, exact, row=("hr", 2, ""), seed=""))
    text = tables_of(cells, tmp_path / "t", 1)
    psnr, _ = sections(text)["×2"]
    assert [row[2].replace("*", "").split(" (")[0] for row in psnr[2:]] == [
        *("30.0000 ± 0.0000", "29.3333", "exact")
    ]
    assert "vdsr ×2 l1, Set5: c (2 images left)" in note_of(text)
    assert "hr ×2, Set5: a, b, c (0 images left)." in note_of(text)
    for made in (text, (tmp_path / "t.tex").read_text()):
        assert not re.search(r"\b(inf|nan)\b", made)
