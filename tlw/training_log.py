"""What a training tells while it runs: a progress bar, a CSV and TensorBoard."""

import csv
import logging
import math
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from tlw.config import Cell
from tlw.sampling import Batches

log = logging.getLogger(__name__)
_EVERY = 10  # steps in a row of the CSV


class TrainingLog:
    """Mean figures of every ten steps, kept so that a resumed run's log has no seam.

    The CSV lies in checkpoints/ until `finish` moves it to training.csv. Its columns: step (steps
    done), epoch (from 0), the loss and its own figures, images_per_second, and waiting, the share
    of the time that went into waiting for data.

    Args:
        folder: the cell's.
        start: steps done before; rows after it are dropped.
        state: of the checkpoint that the run goes on from.
    """

    def __init__(
        self, folder: Path, cell: Cell, batches: Batches, start: int, state: dict | None
    ) -> None:
        self.folder, self.name = folder, cell.name
        self.path = folder / "checkpoints" / "training.csv"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.start, self.total = start, len(batches)
        self.per_epoch, self.batch = batches.steps_per_epoch, cell.recipe.batch
        state = state or {"pending": [], "seconds": 0.0}
        self.pending: list[dict[str, Any]] = list(state["pending"])
        self._before, self._began = state["seconds"], time.monotonic()
        self._waited, self._tick = 0.0, time.monotonic()

    def __enter__(self) -> Self:
        rows = self._rows_until(self.start)
        self._file = self.path.open("w", newline="")
        self._csv: csv.DictWriter | None = None
        for row in rows:
            self._write(row)
        self._board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.start + 1)
        self._bar = tqdm(
            total=self.total * self.batch, initial=self.start * self.batch, unit="img",
            desc=self.name, disable=None, smoothing=0.1, dynamic_ncols=True,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        self._board.close()
        self._file.close()

    @property
    def seconds(self) -> float:
        """Training time so far, over all resumes."""
        return self._before + time.monotonic() - self._began

    def timed(self, batches: Iterable) -> Iterator:
        """The batches, with the time that they take to come counted."""
        source = iter(batches)
        while True:
            asked = time.monotonic()
            try:
                batch = next(source)
            except StopIteration:
                return
            self._waited += time.monotonic() - asked
            yield batch

    def add(self, step: int, epoch: int, loss: Tensor, figures: dict, *, images: int) -> None:
        """Takes a step's figures; writes a row when ten are together, or an epoch ends.

        Figures stay tensors until then, so that a GPU is not waited for at each step.
        """
        self.pending.append(
            {"step": step + 1, "epoch": epoch, "images": images, "loss": loss} | figures
        )
        self._bar.update(images)
        if len(self.pending) >= _EVERY or (step + 1) % self.per_epoch == 0:
            self.check()
            self._flush()

    def check(self) -> None:
        """Raises FloatingPointError, with the step, if a loss since the last row is not finite."""
        for row in self.pending:
            row.update(
                {key: float(value) for key, value in row.items() if isinstance(value, Tensor)}
            )
            if not math.isfinite(row["loss"]):
                raise FloatingPointError(
                    f"{self.name}: the loss of step {row['step']} (epoch {row['epoch']}) is "
                    f"{row['loss']}: training stopped, no checkpoint of it was written. A lower "
                    "learning_rate, or precision float32, may help"
                )

    def state(self) -> dict[str, Any]:
        """For the checkpoint; call `check` before."""
        return {"pending": [dict(row) for row in self.pending], "seconds": self.seconds}

    def finish(self) -> None:
        """Puts the CSV beside the weights."""
        self.path.replace(self.folder / "training.csv")

    def _flush(self) -> None:
        now = time.monotonic()
        last, rows = self.pending[-1], self.pending
        means = {
            key: sum(row[key] for row in rows) / len(rows)
            for key in last
            if key not in ("step", "epoch", "images")
        }
        elapsed = max(now - self._tick, 1e-9)
        speed = sum(row["images"] for row in rows) / elapsed
        row = {"step": last["step"], "epoch": last["epoch"], **means}
        row |= {"images_per_second": speed, "waiting": self._waited / elapsed}
        self._write(row)
        for key, value in row.items():
            if key not in ("step", "epoch"):
                self._board.add_scalar(key, value, last["step"])
        self._bar.set_postfix(loss=f"{means['loss']:.4g}")
        if last["step"] % self.per_epoch == 0:
            log.info("%s: epoch %d done, loss %.4g, %.3g images/s", self.name, last["epoch"],
                     means["loss"], speed)  # fmt: skip
        self.pending, self._waited, self._tick = [], 0.0, now

    def _write(self, row: dict[str, Any]) -> None:
        if self._csv is None:
            self._csv = csv.DictWriter(self._file, list(row))
            self._csv.writeheader()
        self._csv.writerow(row)
        self._file.flush()

    def _rows_until(self, step: int) -> list[dict[str, str]]:
        if step == 0 or not self.path.exists():
            return []
        with self.path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        return [row for row in rows if (row["step"] or "").isdigit() and int(row["step"]) <= step]
