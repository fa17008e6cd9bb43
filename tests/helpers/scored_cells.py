"""Scored cells as files, for the tests of tables, and tables made of them."""

import csv
import json
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from tlw.report.tables import PUBLISHED, write_tables

RECORD = {
    "digest": "0123456789ab",
    "preset": "paper",
    "protocol": "paper",
    "parameters": 1517571,
    "steps": 39100,
    "training_seconds": 37021.4,
    "precision": "float32",
    "gradient_rms": {"1": 1e-4, "10": 2e-4},
    **{"scored_step": 6, "validation": {}, "start": None},
    "pairs": {"T91": "a" * 64},
    "finished": "2026-01-01T00:00:00+00:00",
}
SITTING = {
    "start": 0,
    "device": "CPU, 2 threads, Some Processor",
    "ranks": 1,
    "precision_used": "float32",
    "cuda_graphs": False,
    "commit": "1d65c229ad55",
    "versions": {"python": "3.11.7", "torch": "2.13.0"},
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
        changed = {key: record[key] for key in record if key in SITTING}
        content = {"cell": cell.name, "seed": seed, **RECORD, "sittings": [SITTING | changed]}
        content |= {key: record[key] for key in record if key not in SITTING}
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


def two_losses(folder: Path) -> list[Path]:
    """Two losses of one network, and bicubic, on two benchmarks."""
    return [
        scored(folder, {("Set5", "a"): (30, 0.2), ("Set5", "b"): (31, 0.4),
                          ("Set14", "c"): (28, 0.3)}, record={}),
        scored(folder, {("Set5", "a"): (32, 0.3), ("Set5", "b"): (33, 0.4),
                          ("Set14", "c"): (27, 0.1)}, row=("vdsr", 2, "l1-tlw"), record={}),
        scored(folder, {("Set5", "a"): (29, 0.1), ("Set5", "b"): (29, 0.1),
                          ("Set14", "c"): (29, 0.05)}, row=("bicubic", 2, ""), seed=""),
    ]  # fmt: skip


def numbers(table: pd.DataFrame, column: str) -> dict[tuple, float]:
    """A column of a table of one scale by (backbone, loss, benchmark, metric)."""
    keys = table[["backbone", "loss", "benchmark", "metric"]].itertuples(index=False, name=None)
    return dict(zip(keys, table[column], strict=True))


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
