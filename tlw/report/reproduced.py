"""The scores that the reproduction rests on: one CSV, an image of a trained cell a line.

It is kept in the repository, so that every number and verdict of docs/reproduction.md can be
computed anew from it, by whoever doubts them.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tlw.config.config import Cell, read_cell
from tlw.config.record import Record, read_record
from tlw.report.tables import check_images, read_scores
from tlw.runtime.files import written_aside
from tlw.scoring.columns import METRICS, guarded, unguarded

CELL = ["study", "backbone", "scale", "loss", "seed"]  # what names a training
OF_CELL = ["preset", "protocol", "parameters", "steps", "settings", "commit", "device", "seconds"]
IMAGE = ["benchmark", "image"]
_TEXT = ["study", "backbone", "loss", "seed", "preset", "protocol", "settings", "commit", "device"]


def rows_of(run: Path) -> pd.DataFrame:
    """Every score of a run's finished and scored cells.

    Args:
        run: a results folder, <run>/<grid>/<cell>/ with cell.json, record.json and scores.csv; its
            name becomes the study's. Cells that are not finished, or not scored, are left out.

    Raises:
        ValueError: for a folder without any, and for scores that are another training's.
    """
    folders = sorted(path.parent for path in Path(run).glob("*/*/record.json"))
    folders = [folder for folder in folders if (folder / "scores.csv").exists()]
    if not folders:
        raise ValueError(
            f"{run}: expected finished and scored cells, <grid>/<cell>/record.json with scores.csv "
            "beside it, found none; `snakemake --configfile ... --cores all` makes them"
        )
    return pd.concat([_rows_of_cell(folder, Path(run).name) for folder in folders])


def _rows_of_cell(folder: Path, study: str) -> pd.DataFrame:
    cell, record = read_cell(folder / "cell.json"), read_record(folder / "record.json")
    if record.digest != cell.digest:
        raise ValueError(
            f"{folder}: record.json is of settings {record.digest}, cell.json has {cell.digest}; "
            "train the cell anew"
        )
    scores = read_scores(folder / "scores.csv")
    scored = scores[["backbone", "scale", "loss", "seed"]].drop_duplicates().values.tolist()
    expected = [cell.backbone_name, cell.scale, cell.loss_name, str(cell.seed)]
    if scored != [expected]:
        raise ValueError(f"{folder / 'scores.csv'}: expected scores of {expected}, found {scored}")
    return scores.assign(**_of_cell(cell, record, study))


def _of_cell(cell: Cell, record: Record, study: str) -> dict[str, Any]:
    row = record.row()
    return {
        "study": study,
        **{key: row[key] for key in ("preset", "parameters", "steps", "device")},
        "commit": row["commit"] or "unknown",
        "settings": settings_digest(cell),
        "seconds": record.training_seconds,
    }


def settings_digest(cell: Cell) -> str:
    """Twelve hexadecimal digits of all that defines a cell but its seed.

    What is as its default does not count, so that a setting that comes to be leaves them as they
    are.
    """
    defined = cell.model_dump(mode="json", exclude={"seed"}, exclude_defaults=True)
    content = json.dumps(defined, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def read_reproduced(path: Path) -> pd.DataFrame:
    """The CSV; empty where there is none yet.

    Raises:
        ValueError: for another file, or trainings in it that do not compare, see `checked`.
    """
    if not path.exists():
        return pd.DataFrame(columns=[*CELL, *OF_CELL, *IMAGE])
    try:
        found = pd.read_csv(path, keep_default_na=False, dtype=dict.fromkeys([*_TEXT, *IMAGE], str))
        for column in (*_TEXT, *IMAGE):
            found[column] = unguarded(found[column])
        for metric in metrics_of(found):  # a metric that a study was not scored with is empty
            found[metric] = pd.to_numeric(found[metric].replace("", float("nan")))
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: no scores of `tlw reproduce --add`: {error}") from None
    return checked(found, str(path))


def metrics_of(scores: pd.DataFrame) -> list[str]:
    """The metrics among the columns, in the order of `METRICS`."""
    return [metric for metric in METRICS if metric in scores.columns]


def checked(scores: pd.DataFrame, source: str) -> pd.DataFrame:
    """The scores, if those of a study compare.

    Raises:
        ValueError: where trainings of one study, network and loss had different settings, or its
            cells were scored on different images.
    """
    for names, part in scores.groupby(["study", "backbone", "scale", "loss"], sort=False):
        for key in ("settings", "protocol"):
            if part[key].nunique() > 1:
                seeds = part.drop_duplicates(key)[["seed", key]].values.tolist()
                raise ValueError(
                    f"{source}: {' '.join(map(str, names))}: expected one kind of {key}, found "
                    f"{' and '.join(f'{value} (seed {seed})' for seed, value in seeds)}; remove "
                    "the lines of one, or give the other run's folder another name"
                )
    for _, part in scores.groupby("study", sort=False):
        check_images(part)
    return scores


def add(runs: Iterable[Path], path: Path) -> pd.DataFrame:
    """Puts runs' scores into the CSV; trainings that are in it already are replaced.

    Adding a run twice leaves the file as it is after the first time. Scores have six decimals.

    Returns:
        The whole table.
    """
    found = read_reproduced(path)
    for run in runs:
        new = rows_of(run)
        keys = pd.MultiIndex.from_frame(new[CELL].astype(str))
        found = found[~pd.MultiIndex.from_frame(found[CELL].astype(str)).isin(keys)]
        found = pd.concat([found, new]) if len(found) else new
    found = checked(found, str(path))
    order = [*CELL, *OF_CELL, *IMAGE, *metrics_of(found)]
    found = found[order].sort_values([*CELL, *IMAGE], ignore_index=True)
    with written_aside(path) as aside:
        guarded(found).to_csv(aside, index=False, float_format="%.6f")
    return read_reproduced(path)


def trainings(scores: pd.DataFrame) -> pd.DataFrame:
    """One line a training: what names it, and what is on record of it."""
    return scores[[*CELL, *OF_CELL]].drop_duplicates(ignore_index=True)


def in_study(scores: pd.DataFrame, study: str, benchmarks: Sequence[str] = ()) -> pd.DataFrame:
    """The scores of one study, with the metrics that all of it was scored with."""
    part = scores[scores["study"] == study]
    part = part[part["benchmark"].isin(benchmarks)] if benchmarks else part
    return part.dropna(axis="columns", how="any")
