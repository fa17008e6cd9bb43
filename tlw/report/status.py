"""Where a config's cells stand, read from the files that trainings leave; also while they run.

Nothing is asked of a cluster. A training touches its lock every ten seconds, on whichever machine;
one whose lock is fresh runs. No torch in here.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel

from tlw.config.config import Cell, Config
from tlw.report.tables import read_scores
from tlw.runtime.locks import FRESH
from tlw.scoring.columns import METRICS

State = Literal["scored", "trained", "training", "failed", "stopped", "not started"]
STATES: tuple[State, ...] = ("scored", "trained", "training", "failed", "stopped", "not started")
_ERROR = "tlw: error: "


class Status(BaseModel):
    """Where a cell stands."""

    grid: str
    cell: str
    state: State
    epoch: int | None = None  # the one that the last row of its curve is from, of `epochs`
    epochs: int
    step: int | None = None
    seconds: float | None = None  # since the last sign of it
    benchmark: str | None = None  # the first that it was scored on
    scores: dict[str, float] = {}
    log: str | None = None  # its training's, where there is one
    error: str | None = None  # what it said last, of a failed one


def statuses(config: Config, *, now: float | None = None) -> list[Status]:
    """The status of each cell of a config, in its order."""
    now = time.time() if now is None else now
    return [
        _status(grid, cell, Path(config.results, grid, cell.name), now)
        for grid in config.grids
        for cell in config.cells(grid)
    ]


def _status(grid: str, cell: Cell, folder: Path, now: float) -> Status:
    log = folder / "logs" / "train.log"
    found: dict[str, Any] = {"grid": grid, "cell": cell.name, "epochs": cell.recipe.epochs}
    found["log"] = str(log) if log.exists() else None
    curve = next(
        (path for path in (folder / "checkpoints" / "training.csv", folder / "training.csv")
         if path.exists()), None,
    )  # fmt: skip
    if curve is not None:
        found |= _last_row(curve)
    signs = [folder / "scores.csv", folder / "record.json", folder / ".lock", curve, log]
    times = [path.stat().st_mtime for path in signs if path is not None and path.exists()]
    found["seconds"] = round(now - max(times), 1) if times else None
    return Status(**found, **_state(folder, log, now))


def _state(folder: Path, log: Path, now: float) -> dict[str, Any]:
    lock = folder / ".lock"
    if lock.exists() and now - lock.stat().st_mtime < FRESH:
        return {"state": "training"}
    if (folder / "record.json").exists():
        if not (folder / "scores.csv").exists():
            return {"state": "trained"}
        return {"state": "scored", **_scores(folder / "scores.csv")}
    if error := last_error(log):
        return {"state": "failed", "error": error}
    if any((folder / "checkpoints").glob("step-*.pt")):
        return {"state": "stopped"}
    return {"state": "not started"}


def last_error(log: Path) -> str | None:
    """What a training's log says last of an error, if it says so."""
    said = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    errors = [line.removeprefix(_ERROR) for line in said if line.startswith(_ERROR)]
    return errors[-1] if errors else None


def _last_row(curve: Path) -> dict[str, int]:
    try:
        last = pd.read_csv(curve).iloc[-1]
        return {"step": int(last["step"]), "epoch": int(last["epoch"])}
    except (OSError, ValueError, IndexError, KeyError):  # it is being written
        return {}


def _scores(path: Path) -> dict[str, Any]:
    scores = read_scores(path)
    first = scores["benchmark"].iloc[0]
    part = scores[scores["benchmark"] == first]
    metrics = [metric for metric in METRICS if metric in part]
    return {"benchmark": first, "scores": {m: round(float(part[m].mean()), 4) for m in metrics}}


def told(found: Sequence[Status]) -> str:
    """The statuses for a terminal: a line a cell, what failed below, and how many are in which."""
    width = max((len(f"{s.grid}/{s.cell}") for s in found), default=0)
    lines = []
    for s in found:
        progress = "" if s.epoch is None else f"epoch {s.epoch + 1} of {s.epochs}, step {s.step}"
        words = [f"{METRICS[key].head} {value:g}" for key, value in s.scores.items()]
        scores = f"{s.benchmark}: {', '.join(words)}" if words else ""
        age = "" if s.seconds is None else f"{_age(s.seconds)} ago"
        parts = [age, scores or progress]
        name = f"{s.grid}/{s.cell}".ljust(width)
        lines.append(f"{s.state:11}  {name}  {'  '.join(filter(None, parts))}".rstrip())
    for s in found:
        if s.state == "failed":
            lines.append(f"\n{s.grid}/{s.cell} failed: {s.error}\n  its log: {s.log}")
    counts = {state: sum(s.state == state for s in found) for state in STATES}
    counted = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return "\n".join([*lines, f"\n{len(found)} cells: {counted}"])


def _age(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
