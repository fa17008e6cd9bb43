"""The marks of real differences, in every form of a table."""

import math
import re
from pathlib import Path

import pandas as pd
import pytest
from scored_cells import scored, sections, tables_of


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
