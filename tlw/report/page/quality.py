"""What may cast doubt on a run: what did not finish, what differs between cells, what waited."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tlw.config.record import Record, read_record
from tlw.report.status import last_error


def quality(trained: Sequence[Path], unfinished: Sequence[Path]) -> dict[str, Any]:
    """What is on record of a run's trainings.

    Args:
        trained: folders with record.json.
        unfinished: folders without scores.

    Returns:
        unfinished: names, with what a training's log says last of an error, such as a loss that is
        not finite, or None; cells: a row each; differs: by name, what is not the same for all, with
        how many trainings have which.
    """
    records = {folder: read_record(folder / "record.json") for folder in trained}
    kinds: dict[str, list[str]] = {
        "device": [],
        "commit": [],
        "precision used": [],
        "CUDA graphs": [],
    }
    for record in records.values():
        for key, value in _of(record).items():
            kinds.setdefault(key, []).append(value)
    return {
        "unfinished": {
            folder.name: last_error(folder / "logs" / "train.log") for folder in unfinished
        },
        "cells": [_row(folder, record) for folder, record in records.items()],
        "differs": {
            key: pd.Series(values).value_counts().to_dict()
            for key, values in kinds.items()
            if len(set(values)) > 1
        },
        "same": {key: values[0] for key, values in kinds.items() if len(set(values)) == 1},
    }


def _of(record: Record) -> dict[str, str]:
    sittings = record.sittings
    found: dict[str, list[str]] = {
        "device": [sitting.device for sitting in sittings],
        "commit": [sitting.commit or "unknown" for sitting in sittings],
        "precision used": [sitting.precision_used for sitting in sittings],
        "CUDA graphs": ["yes" if sitting.cuda_graphs else "no" for sitting in sittings],
    }
    for name in sorted({name for sitting in sittings for name in sitting.versions}):
        found[name] = [sitting.versions.get(name, "unknown") for sitting in sittings]
    return {key: ", then ".join(dict.fromkeys(values)) for key, values in found.items()}


def _row(folder: Path, record: Record) -> dict[str, Any]:
    return {
        "cell": folder.name,
        "parameters": f"{record.parameters:,}",
        "steps": f"{record.steps:,}",
        "seconds": f"{record.training_seconds:,.0f}",
        "resumed": sum(sitting.start > 0 for sitting in record.sittings),
        "waiting": _waiting(folder / "training.csv"),
    }


def _waiting(path: Path) -> str:
    """The share of the time in which a training waited for its images."""
    if not path.exists():
        return "–"
    curve = pd.read_csv(path)
    return f"{curve['waiting'].mean():.0%}" if "waiting" in curve and len(curve) else "–"
