"""What a training tells while it runs: a progress bar, a CSV and TensorBoard."""

import csv
import io
import logging
import math
import os
import platform
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch import Tensor
from tqdm import tqdm

from tlw.config.config import Cell
from tlw.runtime.files import written_aside
from tlw.training.sampling import Batches

log = logging.getLogger(__name__)
_EVERY = 10  # steps in a row of the CSV


class TrainingLog:
    """Mean figures of every ten steps, kept so that a resumed run's log has no seam.

    The CSV lies in checkpoints/ until `finish` copies it to training.csv. Its columns: step (steps
    done), epoch (from 0), the loss and its own figures, images_per_second, and waiting, the share
    of the time that went into waiting for data.

    Args:
        folder: the cell's.
        start: steps done before.
        state: of the checkpoint that the run goes on from; rows after it are dropped.

    Raises:
        OSError: naming the file, when the disk is full.
    """

    def __init__(
        self, folder: Path, cell: Cell, batches: Batches, start: int, state: dict | None
    ) -> None:
        self.folder, self.name = folder, cell.name
        self.path = folder / "checkpoints" / "training.csv"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.start, self.batches = start, batches
        state = state or {"pending": [], "seconds": 0.0, "size": 0}
        self.pending: list[dict[str, Any]] = list(state["pending"])
        self._before, self._began = state["seconds"], time.monotonic()
        self._images, self._waited, self._tick = 0, 0.0, time.monotonic()
        self._cut(state["size"])
        self._board = _Board(folder / "tensorboard", start)

    def __enter__(self) -> Self:
        batches = self.batches
        self._bar = tqdm(
            total=batches.images_in(len(batches)), initial=batches.images_in(self.start),
            unit="img", desc=self.name, disable=None, smoothing=0.1, dynamic_ncols=True,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

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
        self.pending.append({"step": step + 1, "epoch": epoch, "loss": loss} | figures)
        self._images += images
        self._bar.update(images)
        if len(self.pending) >= _EVERY or self._ends_epoch(step + 1):
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
                    "learning_rate, or precision exact, may help"
                )

    def state(self) -> dict[str, Any]:
        """For the checkpoint; call `check` before."""
        return {
            "pending": [dict(row) for row in self.pending],
            "seconds": self.seconds,
            "size": self._secured(),
        }

    def finish(self) -> None:
        """Puts a copy of the CSV beside the weights."""
        with written_aside(self.folder / "training.csv") as aside:
            aside.write_bytes(self.path.read_bytes())

    def _flush(self) -> None:
        now = time.monotonic()
        last, rows = self.pending[-1], self.pending
        means = {
            key: sum(row[key] for row in rows) / len(rows)
            for key in last
            if key not in ("step", "epoch")
        }
        elapsed = max(now - self._tick, 1e-9)
        speed = self._images / elapsed
        row = {"step": last["step"], "epoch": last["epoch"], **means}
        row |= {"images_per_second": speed, "waiting": self._waited / elapsed}
        self._write(row)
        self._board.write(row)
        self._bar.set_postfix(loss=f"{means['loss']:.4g}")
        if self._ends_epoch(last["step"]):
            log.info("%s: epoch %d done, loss %.4g, %.3g images/s", self.name, last["epoch"],
                     means["loss"], speed)  # fmt: skip
        self.pending, self._images, self._waited, self._tick = [], 0, 0.0, now

    def _ends_epoch(self, steps: int) -> bool:
        return steps % self.batches.steps_per_epoch == 0

    def _write(self, row: dict[str, Any]) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(row))
        if not self.path.exists():
            writer.writeheader()
        writer.writerow(row)
        _append(self.path, text.getvalue().encode())

    def _cut(self, size: int) -> None:
        """Takes from the CSV what came after the checkpoint, be it half a row."""
        if size == 0:
            self.path.unlink(missing_ok=True)
        elif self.path.exists() and self.path.stat().st_size >= size:
            os.truncate(self.path, size)
        else:
            log.warning("%s: rows before step %d are missing", self.path, self.start)

    def _secured(self) -> int:
        """The size of the CSV, once the disk has all of it."""
        if not self.path.exists():
            return 0
        with self.path.open("rb+") as file:
            os.fsync(file.fileno())
        return self.path.stat().st_size


class NoLog:
    """Stands for the log in the processes, of several, that write nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was opened."""

    def timed(self, batches: Iterable) -> Iterable:
        """The batches."""
        return batches


class _Board:
    """Event files of TensorBoard, written at once where its own writer waits in a thread.

    Args:
        folder: gets a new file; TensorBoard reads all of them as one.
        start: steps done before; TensorBoard forgets what earlier files say of later ones.
    """

    def __init__(self, folder: Path, start: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        writer = f"{time.time_ns() // 10**9:010d}.{platform.node()}.{os.getpid()}"
        self.path = folder / f"events.out.tfevents.{writer}"
        self._write(Event(file_version="brain.Event:2"))
        self._write(Event(step=start + 1, session_log=SessionLog(status=SessionLog.START)))

    def write(self, row: dict[str, Any]) -> None:
        """The figures of a row of the CSV, at its step."""
        values = [
            Summary.Value(tag=key, simple_value=value)
            for key, value in row.items()
            if key not in ("step", "epoch")
        ]
        self._write(Event(step=row["step"], summary=Summary(value=values)))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        record = io.BytesIO()
        RecordWriter(record).write(event.SerializeToString())
        _append(self.path, record.getvalue())


def _append(path: Path, content: bytes) -> None:
    try:
        with path.open("ab") as file:
            file.write(content)
    except OSError as error:
        raise OSError(error.errno, f"{path}: could not be written ({error.strerror})") from error
