"""Tables as Markdown and LaTeX: what a reader sees."""

import csv
import re
from pathlib import Path

import pytest
from scored_cells import published_cells, scored, sections, tables_of, two_losses


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
    assert len(lines) == 2 + 39
    for line in lines:
        spans = [int(n) for n in re.findall(r"\\multicolumn{(\d+)}", line)]
        assert len(re.findall(r"(?<!\\)&", line)) + 1 + sum(spans) - len(spans) == len(columns)
    assert text.count(r"\midrule") == 3 * 4


def test_latex_heads_each_number_with_its_benchmark_and_metric(ours, tmp_path):
    tables_of(ours, tmp_path / "t")
    lines = (tmp_path / "t.tex").read_text().splitlines()
    heads = [line for line in lines if r"\multicolumn" in line or "Network" in line]
    assert heads == [
        r" &  &  & \multicolumn{2}{c}{Set5} & \multicolumn{2}{c}{Set14} \\",
        r"Scale & Network & Loss & " + " & ".join(
            2 * [r"PSNR (dB) $\uparrow$", r"LPIPS vgg $\downarrow$"]
        ) + r" \\",
    ]  # fmt: skip
    assert (
        r"$\times2$ & vdsr & l1 & 30.5000 & \textbf{0.3000} & \textbf{28.0000} & 0.3000 \\" in lines
    )
    assert r"$\times2$ & bicubic & -- & 29.0000 & 0.1000 & 29.0000 & 0.0500 \\" in lines
