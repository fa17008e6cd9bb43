"""Tables of scored cells, against the paper's own table fed through them and means by hand."""

import csv
import json
import math
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file
from scored_cells import (
    PUBLISHED,
    numbers,
    published_cells,
    scored,
    sections,
    tables_of,
    two_losses,
)

from tlw.report.tables import read_published, read_records, read_scores, scores_table, write_tables
from tlw.scoring.evaluate import of_row, write_scores


@pytest.fixture
def ours(tmp_path) -> list[Path]:
    return two_losses(tmp_path)


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
        if value - min(values)[0] < (0.005 if metric == "psnr_y" else 0.0005)
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
    again = scored(tmp_path / "other", {("Set5", "a"): (31, 0.2)})
    with pytest.raises(ValueError, match=r"vdsr x2 l1 seed 0 has two scores .* is it there twice"):
        scores_table([cell, again])


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
        (f"{HEAD},psnr_y\nvdsr,2,l1,0,paper,Set5,b.png,\n", "psnr_y, found .* for b.png"),
        (f"{HEAD},psnr_y\nvdsr,2,l1,0,paper,Set5,b.png,nan\n", "psnr_y, found .* for b.png"),
        (f"{HEAD},psnr_y\nvdsr,2,l1,0,paper,Set5,b.png,-inf\n", "psnr_y, found '-inf' for b.png"),
        (f"{HEAD},ssim_y\nvdsr,2,l1,0,paper,Set5,b.png,inf\n", "ssim_y, found 'inf' for b.png"),
        (f"{HEAD},psnr_y\nvdsr,two,l1,0,paper,Set5,b.png,1\n", "as scale, found 'two'"),
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


def test_a_published_number_that_is_none_is_told_with_file_and_column(tmp_path):
    path = tmp_path / "published.csv"
    path.write_text(PUBLISHED.read_text().replace("30.3759", "30,3759", 1))
    with pytest.raises(ValueError, match=r"published\.csv: .* line has more fields than the head"):
        read_published(path, 1)
    path.write_text(PUBLISHED.read_text().replace("30.3759", "best", 1))
    with pytest.raises(
        ValueError, match=r"published\.csv: .* as psnr_y, found 'best' for Urban100"
    ):
        read_published(path, 1)


def test_a_name_that_a_spreadsheet_would_run_goes_out_as_text_and_comes_back(tmp_path):
    names = ["=cmd|'/c calc'!A0.png", "+1.png", "-1.png", "@x.png", "'=quoted.png", "plain-1.png"]
    score = {"protocol": "paper", "benchmark": "-Set", "psnr_y": -1.5}
    scores = of_row(pd.DataFrame([score | {"image": name} for name in names]), "=mine", 2)
    path = tmp_path / "cell" / "scores.csv"
    write_scores(scores, path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, name in zip(rows, names, strict=True):
        assert row["image"] == (name if name[0] == "p" else "'" + name)
        assert (row["backbone"], row["benchmark"], row["psnr_y"]) == ("'=mine", "'-Set", "-1.5")
    found = read_scores(path)
    assert list(found["image"]) == names and set(found["backbone"]) == {"=mine"}
    tables_of([path.parent], tmp_path / "t")
    assert "\n2,'=mine,,'-Set,psnr_y,-1.5," in (tmp_path / "t.csv").read_text()


@pytest.mark.parametrize("content", ["", "[1]", "{}", '{"cell": "a"}'])
def test_a_damaged_record_is_refused_by_name(tmp_path, content):
    (tmp_path / "record.json").write_text(content)
    with pytest.raises(ValueError, match=r"record\.json: no record of `tlw train`"):
        read_records([tmp_path])


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
    program = "import sys, tlw.report.tables; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


# --- costs ------------------------------------------------------------------------------------


def test_what_tlw_cost_has_measured_of_a_network_is_told_once_a_network_and_scale(tmp_path):
    cells = [
        scored(tmp_path / loss, {("Set5", "a"): (33, 0.2)}, row=("edsr", 2, loss), record={})
        for loss in ("l1", "l1-tlw")
    ]
    assert "cost" not in tables_of(cells, tmp_path / "t")
    content = {"network": "edsr", "scale": 2, "parameters": 1369859, "multiply_adds": 316e9}
    measured = {"output": [720, 1280], "seconds": 0.0123, "peak_bytes": 5.5e8}
    for cell in cells:
        cost = content | {"devices": {"Abacus": measured}}
        (cell / "cost.json").write_text(json.dumps(cost))
    text = tables_of(cells, tmp_path / "t")
    told = text.partition("## What its networks cost")[2]
    rows = [line for line in told.splitlines() if "edsr" in line]
    assert len(rows) == 1
    for word in ("x2", "1,369,859", "316 G", "Abacus", "1280 x 720", "0.0123 s", "550 MB"):
        assert word in rows[0]
    (cells[1] / "cost.json").write_text("[]")
    with pytest.raises(ValueError, match=r"cost\.json: no cost\.json of `tlw cost`"):
        tables_of(cells, tmp_path / "t")
