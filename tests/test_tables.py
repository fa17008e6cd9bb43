"""Tables of scored cells, against the paper's own table fed through them and means by hand."""

import csv
import json
import math
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from tlw.tables import read_published, read_records, read_scores, scores_table, write_tables

PUBLISHED = Path(__file__).parents[1] / "resources" / "published.csv"
RECORD = {
    "digest": "0123456789ab",
    "preset": "paper",
    "protocol": "paper",
    "parameters": 1517571,
    "steps": 39100,
    "training_seconds": 37021.4,
    "device": "CPU, 2 threads, Some Processor",
    "numerics": "exact",
    "pairs": {"T91": "a" * 64},
    "commit": "1d65c229ad55",
    "versions": {"python": "3.11.7", "torch": "2.13.0"},
    "finished": "2026-01-01T00:00:00+00:00",
}


def scored(
    folder: Path,
    images: Mapping[tuple[str, str], tuple[float, ...]],
    *,
    row: tuple[str, int, str] = ("vdsr", 2, "l1"),
    seed: int | str = 0,
    protocol: str = "paper",
    metrics: tuple[str, ...] = ("psnr_y", "lpips_vgg"),
    record: Mapping | None = None,
    settings: Mapping | None = None,
) -> Path:
    """A cell's folder: scores by (benchmark, image), a record and a loss's settings if given."""
    backbone, scale, loss = row
    cell = folder / f"{backbone}_x{scale}_{loss}_seed{seed}"
    cell.mkdir(parents=True)
    with (cell / "scores.csv").open("w", newline="") as file:
        table = csv.writer(file)
        head = ("backbone", "scale", "loss", "seed", "protocol", "benchmark", "image")
        table.writerow([*head, *metrics])
        for (benchmark, image), values in images.items():
            table.writerow([backbone, scale, loss, seed, protocol, benchmark, image, *values])
    if settings is not None:
        content = {"backbone_name": backbone, "scale": scale, "loss_name": loss, "loss": settings}
        (cell / "cell.json").write_text(json.dumps(content))
    if record is not None:
        content = {"cell": cell.name, "seed": seed, **RECORD, **record}
        (cell / "record.json").write_text(json.dumps(content))
    return cell


def published_cells(folder: Path, number: int) -> list[Path]:
    """The paper's table as if we had scored it: one image a benchmark."""
    rows = defaultdict(dict)
    with PUBLISHED.open(newline="") as file:
        for line in csv.DictReader(file):
            if int(line["table"]) == number:
                row = (line["backbone"], int(line["scale"]), line["loss"])
                rows[row][line["dataset"], "a.png"] = (line["psnr_y"], line["lpips"])
    return [
        scored(folder, images, row=row, seed="" if row[0] == "bicubic" else 0,
               record=None if row[0] == "bicubic" else {})
        for row, images in rows.items()
    ]  # fmt: skip


def tables_of(cells: list[Path], output: Path, number: int | None = None, title: str = "A title"):
    return write_tables(cells, output, title=title, published=PUBLISHED, number=number)


@pytest.fixture
def ours(tmp_path) -> list[Path]:
    """Two losses of one network, and bicubic, on two benchmarks."""
    return [
        scored(tmp_path, {("Set5", "a"): (30, 0.2), ("Set5", "b"): (31, 0.4),
                          ("Set14", "c"): (28, 0.3)}, record={}),
        scored(tmp_path, {("Set5", "a"): (32, 0.3), ("Set5", "b"): (33, 0.4),
                          ("Set14", "c"): (27, 0.1)}, row=("vdsr", 2, "l1-tlw"), record={}),
        scored(tmp_path, {("Set5", "a"): (29, 0.1), ("Set5", "b"): (29, 0.1),
                          ("Set14", "c"): (29, 0.05)}, row=("bicubic", 2, ""), seed=""),
    ]  # fmt: skip


def numbers(table: pd.DataFrame, column: str) -> dict[tuple, float]:
    """A column of a table of one scale by (backbone, loss, benchmark, metric)."""
    keys = table[["backbone", "loss", "benchmark", "metric"]].itertuples(index=False, name=None)
    return dict(zip(keys, table[column], strict=True))


# --- numbers ----------------------------------------------------------------------------------


def test_a_number_is_the_mean_over_a_benchmarks_images(ours):
    found = numbers(scores_table(ours), "ours")
    assert found["vdsr", "l1", "Set5", "psnr_y"] == pytest.approx(30.5, abs=1e-12)
    assert found["vdsr", "l1", "Set5", "lpips_vgg"] == pytest.approx(0.3, abs=1e-12)
    assert found["vdsr", "l1", "Set14", "psnr_y"] == 28
    assert found["bicubic", "", "Set5", "psnr_y"] == 29
    assert len(found) == 3 * 2 * 2


def test_more_psnr_and_less_lpips_are_better_among_the_losses_of_a_network(ours):
    best = numbers(scores_table(ours), "best")
    assert {key for key, is_best in best.items() if is_best} == {
        ("vdsr", "l1-tlw", "Set5", "psnr_y"),
        ("vdsr", "l1", "Set14", "psnr_y"),
        ("vdsr", "l1", "Set5", "lpips_vgg"),
        ("vdsr", "l1-tlw", "Set14", "lpips_vgg"),
    }


def test_what_is_best_of_the_papers_own_table_is_what_python_finds(tmp_path):
    table = scores_table(published_cells(tmp_path, 1))
    groups = defaultdict(list)
    with PUBLISHED.open(newline="") as file:
        for line in csv.DictReader(file):
            if line["table"] == "1" and line["loss"]:
                key = (int(line["scale"]), line["backbone"], line["dataset"])
                groups[*key, "psnr_y"].append((-float(line["psnr_y"]), line["loss"]))
                groups[*key, "lpips_vgg"].append((float(line["lpips"]), line["loss"]))
    expected = {
        (scale, backbone, loss, benchmark, metric)
        for (scale, backbone, benchmark, metric), values in groups.items()
        for value, loss in values
        if value == min(values)[0]
    }
    keys = table.loc[table["best"], ["scale", "backbone", "loss", "benchmark", "metric"]]
    assert set(keys.itertuples(index=False, name=None)) == expected


@pytest.mark.parametrize(("number", "rows"), [(1, 3 * 13 * 5 * 2), (2, 3 * 5 * 2)])
def test_the_papers_own_table_differs_from_itself_by_nothing(tmp_path, number, rows):
    table = scores_table(published_cells(tmp_path, number), read_published(PUBLISHED, number))
    assert len(table) == rows
    assert (table["difference"] == 0).all()  # NaN, where the paper has none, is not 0
    assert (table["paper"] == table["ours"]).all()


def test_the_papers_bicubic_rows_stand_beside_ours_in_both_tables(tmp_path):
    cell = scored(tmp_path, {("Set5", "a"): (28.0, 0.3)}, row=("bicubic", 4, ""), seed="")
    for number in (1, 2):
        table = scores_table([cell], read_published(PUBLISHED, number))
        assert list(table["paper"]) == [28.5944, 0.2838]
        assert list(table["difference"]) == pytest.approx([28.0 - 28.5944, 0.3 - 0.2838])


def test_the_paper_is_compared_with_under_its_protocol_only(tmp_path):
    metrics = ("psnr_y", "ssim_y", "lpips_alex", "lpips_vgg")
    values = {("Set5", "a"): (33.6, 0.93, 0.1, 0.13)}
    cell = scored(tmp_path, values, protocol="standard", metrics=metrics)
    table = scores_table([cell], read_published(PUBLISHED, 1))
    assert list(table["metric"]) == list(metrics)
    assert table["paper"].isna().all() and table["difference"].isna().all()
    text = tables_of([cell], tmp_path / "t", 1)
    assert "Protocol standard" in text and "paper" not in text.partition("##")[0]
    for head in ("PSNR (dB) ↑", "SSIM ↑", "LPIPS alex ↓", "LPIPS vgg ↓"):
        assert f"Set5 {head}" in text


def test_seeds_are_averaged_after_images_with_their_standard_deviation(tmp_path):
    values = [(30.0, 32.0), (31.0, 34.0), (30.5, 30.5)]
    cells = [
        scored(tmp_path, {("Set5", "a"): (a, 0.1), ("Set5", "b"): (b, 0.2)}, seed=seed, record={})
        for seed, (a, b) in enumerate(values)
    ]
    bicubic = scored(
        tmp_path, {("Set5", "a"): (29, 0.1), ("Set5", "b"): (29, 0.2)}, row=("bicubic", 2, ""),
        seed="",
    )  # fmt: skip
    table = scores_table([*cells, bicubic])
    psnr = table[table["metric"] == "psnr_y"].iloc[0]
    means = [(a + b) / 2 for a, b in values]
    mean = sum(means) / 3
    std = math.sqrt(sum((m - mean) ** 2 for m in means) / 2)
    assert (psnr["seeds"], psnr["ours"]) == (3, pytest.approx(mean))
    assert psnr["std"] == pytest.approx(std)
    text = tables_of([*cells, bicubic], tmp_path / "t")
    assert f"{mean:.4f} ± {std:.4f}" in text and "over 3 seeds" in text
    assert re.search(r"bicubic +\| – +\| 29\.0000 +\|", text)
    assert rf"{mean:.4f} $\pm$ {std:.4f}" in (tmp_path / "t.tex").read_text()


def test_nothing_is_rounded_before_it_is_printed(tmp_path):
    cell = scored(tmp_path, {("Set5", "a"): (30.123456789, 0.1234567), ("Set5", "b"): (30, 0.2)})
    tables_of([cell], tmp_path / "t")
    with (tmp_path / "t.csv").open(newline="") as file:
        psnr = next(csv.DictReader(file))
    assert float(psnr["ours"]) == pytest.approx((30.123456789 + 30) / 2, abs=1e-12)


# --- rows that were not trained here ----------------------------------------------------------


def imported_row(folder: Path, loss: str = "l1", psnr: float = 30.0) -> Path:
    """The scores of an imported network, and weights that say where they come from."""
    row = ("edsr-authors", 2, loss)
    cell = scored(folder, {("Set5", "a"): (psnr, 0.2)}, row=row, seed="")
    backbone = {"path": "edsr", "images": "signed-bgr"}
    content = {"backbone_name": row[0], "backbone": backbone, "scale": 2, "loss_name": loss}
    told = json.dumps(content | {"source": f"{loss} best.pth", "sha256": 64 * "b"})
    weights = {"w": np.zeros((30, 40)), "b": np.zeros(34)}
    save_file(weights, cell / "weights.safetensors", metadata={"imported": told})
    return cell


def test_a_table_says_which_rows_were_not_trained_here_and_what_they_come_from(tmp_path):
    cells = [
        scored(tmp_path, {("Set5", "a"): (29, 0.1)}, record={}),
        imported_row(tmp_path),
        scored(tmp_path, {("Set5", "a"): (28, 0.1)}, row=("mine", 2, ""), seed=""),
        scored(tmp_path, {("Set5", "a"): (27, 0.1)}, row=("bicubic", 2, ""), seed=""),
    ]
    text = tables_of(cells, tmp_path / "t")
    assert "Not trained here: edsr-authors, mine." in text
    assert "Not trained here: edsr-authors, mine." in (tmp_path / "t.tex").read_text()
    found = sections(text)
    assert [row[:3] for row in found["×2"][0][2:]] == [
        *(["vdsr", "l1", "29.0000"], ["edsr-authors", "l1", "30.0000"]),
        *(["mine", "–", "28.0000"], ["bicubic", "–", "27.0000"]),
    ]
    trained, imported = found["How these numbers came about"]
    assert trained[2][:5] == ["vdsr_x2_l1_seed0", "0", "1,517,571", "39100", "10:17:01"]
    assert imported[0] == ["Imported", "Parameters", "Checkpoint", "SHA-256"]
    assert imported[2:] == [[cells[1].name, "1,234", "l1 best.pth", 64 * "b"]]
    with (tmp_path / "t_cells.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["steps"], first["source"]) == ("39100", "")
    assert (second["training_seconds"], second["source"]) == ("", "l1 best.pth")


def test_a_table_may_hold_imported_rows_alone(tmp_path):
    losses = [imported_row(tmp_path), imported_row(tmp_path, "l1-tlw", 31)]
    text = tables_of(losses, tmp_path / "t")
    (imported,) = sections(text)["How these numbers came about"]
    assert [row[2] for row in imported[2:]] == ["l1 best.pth", "l1-tlw best.pth"]
    assert "**31.0000**" in text and "seeds" not in text


def test_a_row_without_a_seed_counts_as_none_and_is_not_mixed_with_seeds(tmp_path):
    cells = [scored(tmp_path, {("Set5", "a"): (30 + s, 0.2)}, seed=s) for s in (0, 1)]
    table = scores_table([*cells, imported_row(tmp_path)])
    assert table.groupby("backbone")["seeds"].unique().map(list).to_dict() == {
        "vdsr": [2],
        "edsr-authors": [0],
    }
    assert "over 2 seeds, ±" in tables_of([*cells, imported_row(tmp_path / "two")], tmp_path / "t")
    foreign = scored(tmp_path / "three", {("Set5", "a"): (33, 0.2)}, seed="")
    with pytest.raises(ValueError, match=r"vdsr x2 l1 was trained here, .* give one of them anoth"):
        scores_table([*cells, foreign])


def test_damaged_imported_weights_are_refused_by_name(tmp_path):
    cell = imported_row(tmp_path)
    path = cell / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"weights\.safetensors: cannot be read as weights"):
        read_records([cell])
    save_file({"w": np.zeros(1)}, path, metadata={"imported": '{"source": "x.pth"}'})
    with pytest.raises(ValueError, match=r"(?s)weights\.safetensors: .*sha256: missing"):
        read_records([cell])


# --- refusals ---------------------------------------------------------------------------------


def test_scores_of_two_protocols_are_refused(tmp_path):
    one = scored(tmp_path, {("Set5", "a"): (30, 0.2)})
    other = scored(tmp_path, {("Set5", "a"): (30, 0.2)}, seed=1, protocol="standard")
    with pytest.raises(ValueError, match="different protocols do not compare: paper, standard"):
        scores_table([one, other])


def test_cells_scored_on_different_images_are_refused(tmp_path):
    one = scored(tmp_path, {("Set5", "a"): (30, 0.2), ("Set5", "b"): (30, 0.2)})
    other = scored(tmp_path, {("Set5", "a"): (30, 0.2)}, row=("edsr", 2, "l1"))
    with pytest.raises(ValueError, match=r"vdsr x2 l1 seed 0 and edsr x2 l1 seed 0 .* 2 and 1"):
        scores_table([one, other])


def test_the_same_cell_twice_is_refused(tmp_path):
    cell = scored(tmp_path / "one", {("Set5", "a"): (30, 0.2)})
    twin = scored(tmp_path / "other", {("Set5", "a"): (31, 0.2)})
    with pytest.raises(ValueError, match=r"vdsr x2 l1 seed 0 has two scores .* is it there twice"):
        scores_table([cell, twin])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere/scores\.csv: no such file; `tlw evaluate`"):
        scores_table([tmp_path / "nowhere"])
    cell = scored(tmp_path, {("Set5", "a"): (30, 0.2)})
    with pytest.raises(ValueError, match=r"absent\.csv: cannot be read as the paper's numbers"):
        write_tables([cell], tmp_path / "t", title="", published=tmp_path / "absent.csv", number=1)
    assert not list(tmp_path.glob("t.*"))


HEAD = "backbone,scale,loss,seed,protocol,benchmark,image"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "cannot be read as scores"),
        ("a,b\n1,2\n", "lacks scale, backbone, loss"),
        (f"{HEAD}\nvdsr,2,l1,0,paper,Set5,a\n", "lacks a metric"),
        (f"{HEAD},psnr_y\n", "lacks images"),
        (f"{HEAD},psnr_y\nvdsr,2,l1,0,paper,Set5,b.png,\n", "psnr_y, found none for b.png"),
        (f"{HEAD},psnr_y\nvdsr,2,l1,0,paper,Set5,b.png,nan\n", "psnr_y, found none for b.png"),
        ('a,b\n"1,2\n', "cannot be read as scores"),
        ("\x80\x81", "cannot be read as scores|lacks"),
    ],
)
def test_a_file_that_holds_no_scores_is_refused_by_name(tmp_path, content, words):
    path = tmp_path / "scores.csv"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ValueError, match=rf"scores\.csv: .*({words})"):
        read_scores(path)


def test_names_that_look_like_numbers_stay_names(tmp_path):
    cell = scored(tmp_path, {("007", "0001"): (30, 0.2)}, row=("1e3", 2, "NA"))
    scores = read_scores(cell / "scores.csv")
    assert list(scores.iloc[0][["backbone", "loss", "seed", "benchmark", "image"]]) == [
        *("1e3", "NA", "0", "007", "0001")
    ]


def test_another_table_of_published_numbers_is_refused_by_name(tmp_path):
    path = tmp_path / "published.csv"
    path.write_text("table,scale\n1,2\n")
    with pytest.raises(ValueError, match=r"published\.csv: expected columns .*'psnr_y'"):
        read_published(path, 1)


@pytest.mark.parametrize("content", ["", "[1]", "{}", '{"cell": "a"}'])
def test_a_damaged_record_is_refused_by_name(tmp_path, content):
    (tmp_path / "record.json").write_text(content)
    with pytest.raises(ValueError, match=r"record\.json: no record of `tlw train`"):
        read_records([tmp_path])


# --- what is printed --------------------------------------------------------------------------


def sections(text: str) -> dict[str, list[list[list[str]]]]:
    """Markdown's pipe tables below each heading: tables of rows of cells."""
    found = defaultdict(list)
    heading, table = "", []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            table.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif table:
            found[heading].append(table)
            table = []
        if line.startswith("#"):
            heading = line.lstrip("# ")
    return dict(found)


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
    for fact in ("Preset: paper", "Protocol: paper", "Numerics: exact", "Device: CPU, 2 threads",
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


# --- differences that are real ----------------------------------------------------------------


def twins_of(folder: Path, images: int, *, seeds: int = 1) -> list[Path]:
    """A weighted loss and its twin: 0.2 dB more on Set A, as much less on Set B, none elsewhere."""
    gain = {"A": 0.2, "B": -0.2, "C": 0.0}

    def values(weighted: bool, seed: int) -> dict:
        return {
            (name, f"{i}"): (30 + i + weighted * (sign + 0.01 * (i % 3 - 1) + 0.01 * seed), 0.2)
            for name, sign in gain.items() for i in range(images)
        }  # fmt: skip

    return [
        scored(folder, values(loss == "l1-tlw", seed), row=("vdsr", 2, loss), seed=seed,
               settings={"kind": "tlw" if loss == "l1-tlw" else "pixel", "base": "l1"})
        for loss in ("l1-tlw", "l1") for seed in range(seeds)
    ]  # fmt: skip


def test_real_differences_are_marked_and_the_marks_explained(tmp_path):
    text = tables_of(twins_of(tmp_path, 30), tmp_path / "t")
    psnr, lpips = sections(text)["×2"]
    assert psnr[2] == ["vdsr", "l1-tlw", "**44.7000** ▲", "44.3000 ▼", "**44.5000**"]
    assert psnr[3] == ["vdsr", "l1", "44.5000", "**44.5000**", "**44.5000**"]
    assert not {"▲", "▼"} & set("".join(lpips[2] + lpips[3]))
    note = text.partition("##")[0]
    assert "unweighted loss (l1-tlw than l1): the 95 % interval" in note
    assert "bootstrap over images, leaves 0 out" in note and "rough" not in note
    assert "for each number alone, not corrected for their count. With one seed they say" in note


def test_the_csv_has_the_intervals(tmp_path):
    cells = twins_of(tmp_path, 30, seeds=2)
    tables_of(cells, tmp_path / "t")
    table = pd.read_csv(tmp_path / "t.csv", dtype=str, keep_default_na=False)
    table = table[table["metric"] == "psnr_y"].set_index(["loss", "benchmark"])
    ours = table.loc["l1-tlw", "A"]
    assert (ours["against"], ours["real"], ours["images"], ours["pairs"]) == (
        "l1",
        "better",
        "30",
        "2",
    )
    assert float(ours["change"]) == pytest.approx(0.205, abs=1e-9)
    assert 0.195 < float(ours["low"]) < 0.205 < float(ours["high"]) < 0.215
    assert float(ours["change_std"]) == pytest.approx(0.01 / math.sqrt(2))
    assert list(table.loc["l1-tlw"]["real"]) == ["better", "worse", "no"]
    assert set(table.loc["l1"][["against", "change", "low", "real", "images"]].values.flat) == {""}
    assert "bootstrap over images and seeds" in (tmp_path / "t.md").read_text()
    assert "rough where images or seeds are few: 2 seeds.\n" in (tmp_path / "t.md").read_text()


def test_few_images_are_called_rough_and_very_few_get_no_marks(tmp_path):
    five = tables_of(twins_of(tmp_path / "five", 5), tmp_path / "t").partition("##")[0]
    assert "are few: A (5 images), B (5 images), C (5 images)." in five
    two = tables_of(twins_of(tmp_path / "two", 2), tmp_path / "t")
    assert "No marks of real differences. No interval, since images are too few" in two
    assert "A (2 images), B (2 images)" in two and not {"▲", "▼"} & set(two)


def test_without_a_twin_nothing_is_said_of_marks(tmp_path):
    cells = twins_of(tmp_path, 30)[:1]
    text = tables_of(cells, tmp_path / "t")
    assert "real" not in text and "▲" not in text and "interval" not in text


def test_latex_has_the_same_marks(tmp_path):
    tables_of(twins_of(tmp_path, 30), tmp_path / "t")
    text = (tmp_path / "t.tex").read_text()
    assert text.isascii() and text.startswith(r"% needs \usepackage{booktabs,amssymb}")
    assert r"\textbf{44.7000}\rlap{\,\tiny$\blacktriangle$} & \textbf{0.2000}" in text
    assert r"44.3000\rlap{\,\tiny$\blacktriangledown$}" in text
    caption = re.search(r"\\caption{(.*)}", text)[1]
    assert r"$\blacktriangle$ better, $\blacktriangledown$ worse" in caption and r"95 \%" in caption


# --- what was left out ------------------------------------------------------------------------


def test_benchmarks_that_were_left_out_are_named_below_the_caption(ours, tmp_path):
    write_tables(ours, tmp_path / "t", title="T", published=PUBLISHED, number=1,
                 left_out=["Manga109", "B_1"])  # fmt: skip
    text, latex = (tmp_path / "t.md").read_text(), (tmp_path / "t.tex").read_text()
    assert "\n\nLeft out: Manga109, B_1 (images not at hand; tlw fetch tells how" in text
    assert text.count("Manga109") == 1  # and no column of it
    assert r"Left out: Manga109, B\_1 (images not at hand" in latex and latex.count("Manga109") == 1
    assert "Left out" not in tables_of(ours, tmp_path / "t")


def test_a_benchmark_with_scores_is_not_left_out(ours, tmp_path):
    with pytest.raises(ValueError, match="--left-out: the cells have scores of Set5"):
        write_tables(ours, tmp_path / "t", title="T", published=PUBLISHED, number=None,
                     left_out=["Set5"])  # fmt: skip
    assert not list(tmp_path.glob("t.*"))


def test_tables_need_no_torch():
    program = "import sys, tlw.tables; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
