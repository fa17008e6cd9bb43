"""A run on its way to another machine: what its trainings have come to, in one tar file.

A training that was stopped goes on there from its checkpoint; a finished one is taken as it is.
Pairs and TensorBoard's logs stay behind: the first are made again, the second are in training.csv.
"""

import logging
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tlw.config.config import read_cell
from tlw.data.unpack import extract
from tlw.runtime.files import written_aside
from tlw.runtime.locks import FRESH
from tlw.training.checkpoint import steps_of

log = logging.getLogger(__name__)
TAKEN = (
    *("cell.json", "record.json", "scores.csv", "training.csv"),
    *("weights.safetensors", "weights_last.safetensors", "weight_net.safetensors"),
    "looks/*.png",
    *("checkpoints/training.csv", "checkpoints/step-*.pt", "logs/*.log"),
)


def pack(run: Path, archive: Path) -> list[str]:
    """Writes the cells of a run, <run>/<grid>/<cell>/, into a tar; those being trained stay out.

    Returns:
        Their names, grid/cell.

    Raises:
        ValueError: for a folder without cells to take.
    """
    cells = []
    for folder in _cells(run):
        if _is_trained_now(folder):
            log.warning("%s: left out, since it is being trained", _name(folder))
        else:
            cells.append(folder)
    if not cells:
        raise ValueError(
            f"{run}: expected a run's folder, <grid>/<cell>/cell.json, in which something is not "
            "being trained just now, found none"
        )
    with written_aside(archive) as aside, tarfile.open(aside, "w") as file:
        for folder in cells:
            for path in (path for glob in TAKEN for path in sorted(folder.glob(glob))):
                file.add(path, path.relative_to(run).as_posix(), recursive=False)
    return [_name(folder) for folder in cells]


def unpack(archive: Path, run: Path) -> dict[str, str]:
    """Puts packed cells into a run, each where it has come further than the one that is there.

    Returns:
        What became of each, by name: "taken", or "kept" with the reason.

    Raises:
        ValueError: for no archive of `pack`, or a cell of another config than the one that is
            there, and then nothing has been changed.
    """
    run.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=run.parent, prefix=f".{run.name}-") as scratch:
        new = Path(scratch, "run")
        extract(archive, new)
        cells = list(_cells(new))
        if not cells:
            raise ValueError(f"{archive}: expected an archive of `tlw pack`, found no cell.json")
        told = {_name(folder): _why_not(folder, run / _name(folder), archive) for folder in cells}
        for folder in cells:
            if not told[_name(folder)]:
                home = run / _name(folder)
                shutil.rmtree(home, ignore_errors=True)
                home.parent.mkdir(parents=True, exist_ok=True)
                os.replace(folder, home)
    return {name: f"kept: {why}" if why else "taken" for name, why in told.items()}


def _why_not(new: Path, home: Path, archive: Path) -> str:
    """Why a packed cell is not taken; empty where it is."""
    cell = read_cell(new / "cell.json")
    if not (home / "cell.json").exists():
        return ""
    if _is_trained_now(home):
        return "it is being trained here"
    there = read_cell(home / "cell.json")
    if there.digest != cell.digest:
        raise ValueError(
            f"{archive}: {_name(new)} is of config {cell.digest}, the one in {home} of "
            f"{there.digest}; unpack it into another run's folder"
        )
    return "" if _progress(new) > _progress(home) else "it has come as far here"


def _progress(folder: Path) -> tuple[bool, bool, int]:
    """What of two folders of a cell tells which has come further."""
    done = [(folder / name).exists() for name in ("scores.csv", "record.json")]
    return done[0], done[1], max(map(steps_of, folder.glob("checkpoints/*.pt")), default=0)


def _is_trained_now(folder: Path) -> bool:
    lock = folder / ".lock"
    return lock.exists() and time.time() - lock.stat().st_mtime < FRESH


def _cells(run: Path) -> Iterator[Path]:
    yield from (path.parent for path in sorted(run.glob("*/*/cell.json")))


def _name(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"
