"""What a training tells while it runs: a progress bar or a line a minute, a CSV and TensorBoard."""

import csv
import io
import logging
import math
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from tlw.config.config import Cell
from tlw.imaging.ranges import to_uint8
from tlw.runtime.files import written_aside
from tlw.training.sampling import Batches

log = logging.getLogger(__name__)
_EVERY = 10  # steps in a row of the CSV
_WRITE_SECONDS = 2.0  # between looks at the disk
_TELL_SECONDS = 60.0  # between lines, where no terminal shows a bar
_SPEED = ("images_per_second", "waiting")


class TrainingLog:
    """Mean figures of every ten steps, kept so that a resumed run's log has no seam.

    The CSV lies in checkpoints/ until `finish` copies it to training.csv. Its columns: step (steps
    done), epoch (from 0), the loss and its own figures, images_per_second, and waiting, the share
    of the time that went into waiting for data. TensorBoard has the same under train/ and speed/.

    A terminal shows a bar with all figures; elsewhere there is a line a minute, and one at the end.

    A device is not waited for: the figures of ten steps are copied together, and read when those of
    the next ten are on their way. Files get their rows every two seconds, and with a checkpoint.

    Args:
        folder: the cell's.
        start: steps done before.
        state: of the checkpoint that the run goes on from; rows after it are dropped.

    Raises:
        OSError: naming the file, when the disk is full.
    """

    def __init__(
        self, folder: Path, cell: Cell, batches: Batches, start: int, state: Mapping | None
    ) -> None:
        self.folder, self.name = folder, cell.name
        self.path = folder / "checkpoints" / "training.csv"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.start, self.batches = start, batches
        state = state or {"pending": [], "seconds": 0.0, "size": 0}
        self._pending: list[_Step] = [_Step.of(row) for row in state["pending"]]
        self._copied: _Copied | None = None  # ten steps whose figures are on their way
        self._rows: list[dict[str, Any]] = []  # not in the files yet
        self._before, self._began = state["seconds"], time.monotonic()
        self._images, self._waited, self._tick, self._wrote = 0, 0.0, time.monotonic(), 0.0
        self._told, self._shown = time.monotonic(), dict[str, str]()
        self._cut(state["size"])
        self._looks = folder / "looks"
        if start == 0:
            shutil.rmtree(self._looks, ignore_errors=True)  # of an earlier training
        with _told(folder / "tensorboard"):
            self._board = SummaryWriter(folder / "tensorboard", purge_step=start + 1)

    def __enter__(self) -> Self:
        batches = self.batches
        self._bar = tqdm(
            total=batches.images_in(len(batches)), initial=batches.images_in(self.start),
            unit="img", desc=self.name, disable=None, smoothing=0.1, dynamic_ncols=True,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        with suppress(OSError):  # of a full disk, which has been told
            self._board.close()

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

    def add(
        self, step: int, epoch: int, loss: Tensor | float, figures: dict, *, images: int
    ) -> None:
        """Takes a step's figures; closes a row when ten are together, or an epoch ends."""
        self._pending.append(_Step(step + 1, epoch, {"loss": loss} | figures))
        self._images += images
        self._bar.update(images)
        if len(self._pending) >= _EVERY or self._ends_epoch(step + 1):
            self._read()
            now = time.monotonic()
            elapsed = max(now - self._tick, 1e-9)
            speed = self._images / elapsed, self._waited / elapsed
            self._copied = _Copied(self._pending, dict(zip(_SPEED, speed, strict=True)))
            self._pending, self._images, self._waited, self._tick = [], 0, 0.0, now
            if now - self._wrote >= _WRITE_SECONDS:
                self._write()

    def add_look(self, step: int, psnr: float, pictures: Mapping[str, Tensor]) -> None:
        """Takes the PSNR, in dB, on the validation images after so many steps, and some pictures.

        Pictures (3, H, W) in [0, 1] become looks/step-00005000_<name>.png, 8 bits.
        """
        self._shown["psnr"] = f"{psnr:.2f}"
        self._bar.set_postfix(self._shown)
        log.info("%s: step %d: PSNR %.3f dB on the validation images", self.name, step, psnr)
        with _told(self.folder / "tensorboard"):
            self._board.add_scalar("validation/psnr", psnr, step)
            for name, picture in pictures.items():
                self._board.add_image(
                    f"validation/{name}", to_uint8(picture), step, dataformats="HWC"
                )
        for name, picture in pictures.items():
            with written_aside(self._looks / f"step-{step:08d}_{name}.png") as aside:
                Image.fromarray(to_uint8(picture)).save(aside, format="PNG")

    def check(self) -> None:
        """Reads and writes what there is.

        Raises:
            FloatingPointError: with the step, if a loss since the last look is not finite.
        """
        try:
            self._read()
            self._require_finite(_Copied(self._pending, {}).read())
        finally:
            self._write()

    def state(self) -> dict[str, Any]:
        """For the checkpoint; call `check` before."""
        pending = [step.row(values) for step, values in _Copied(self._pending, {}).read()]
        return {"pending": pending, "seconds": self.seconds, "size": self._secured()}

    def finish(self) -> None:
        """Puts a copy of the CSV beside the weights; call `check` before."""
        with written_aside(self.folder / "training.csv") as aside:
            aside.write_bytes(self.path.read_bytes())

    def _read(self) -> None:
        """Makes a row of the ten steps whose figures were on their way."""
        if self._copied is None:
            return
        steps, speed = self._copied.read(), self._copied.speed
        self._copied = None
        self._require_finite(steps)
        last, figures = steps[-1]
        means = {key: sum(values[key] for _, values in steps) / len(steps) for key in figures}
        self._rows.append({"step": last.step, "epoch": last.epoch, **means, **speed})
        self._shown |= {"epoch": str(last.epoch)}
        self._shown |= {key: f"{mean:.4g}" for key, mean in means.items()}
        self._bar.set_postfix(self._shown)
        now, steps_in_all = time.monotonic(), len(self.batches)
        is_time = now - self._told >= _TELL_SECONDS or last.step == steps_in_all
        if is_time and self._bar.disable:
            self._told = now
            seconds = (now - self._began) / (last.step - self.start) * (steps_in_all - last.step)
            log.info("%s: step %d of %d: %s; %.3g images/s, %s left", self.name, last.step,
                     steps_in_all, ", ".join(f"{k} {v}" for k, v in self._shown.items()),
                     speed["images_per_second"], timedelta(seconds=round(seconds)))  # fmt: skip

    def _require_finite(self, steps: "list[tuple[_Step, dict[str, float]]]") -> None:
        for step, values in steps:
            if not math.isfinite(values["loss"]):
                raise FloatingPointError(
                    f"{self.name}: the loss of step {step.step} (epoch {step.epoch}) is "
                    f"{values['loss']}: training stopped, no checkpoint of it was written. A lower "
                    "learning_rate, or precision float32, may help"
                )

    def _ends_epoch(self, steps: int) -> bool:
        return steps % self.batches.steps_per_epoch == 0

    def _write(self) -> None:
        if not self._rows:
            return
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(self._rows[0]))
        if not self.path.exists():
            writer.writeheader()
        writer.writerows(self._rows)
        with _told(self.path), self.path.open("ab") as file:
            file.write(text.getvalue().encode())
        with _told(self.folder / "tensorboard"):
            for row in self._rows:
                for key in row.keys() - {"step", "epoch"}:
                    tag = f"speed/{key}" if key in _SPEED else f"train/{key}"
                    self._board.add_scalar(tag, row[key], row["step"])
            self._board.flush()
        self._rows, self._wrote = [], time.monotonic()

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
    """Stands for the log in the ranks, of several, that write nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was opened."""

    def timed(self, batches: Iterable) -> Iterable:
        """The batches."""
        return batches


class _Step:
    """A step's figures, of which some may still be computed."""

    def __init__(self, step: int, epoch: int, figures: dict[str, Tensor | float]) -> None:
        self.step, self.epoch, self.figures = step, epoch, figures

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "_Step":
        figures = {key: row[key] for key in row if key not in ("step", "epoch")}
        return cls(row["step"], row["epoch"], figures)

    def row(self, values: dict[str, float]) -> dict[str, Any]:
        return {"step": self.step, "epoch": self.epoch, **values}


class _Copied:
    """The figures of some steps, on their way from their device in one copy."""

    def __init__(self, steps: "list[_Step]", speed: dict[str, float]) -> None:
        self.steps, self.speed = steps, speed
        found = [value for step in steps for value in step.figures.values()]
        tensors = [value.detach() for value in found if isinstance(value, Tensor)]
        tensors = [value.to(tensors[0].device, non_blocking=True) for value in tensors]
        self._values, self._arrived = torch.stack(tensors) if tensors else torch.empty(0), None
        if self._values.is_cuda:  # into pinned memory, for else the copy would wait
            host = torch.empty_like(self._values, device="cpu", pin_memory=True)
            self._values = host.copy_(self._values, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def read(self) -> list[tuple[_Step, dict[str, float]]]:
        """The steps with their figures as numbers; waits for these."""
        if self._arrived is not None:
            self._arrived.synchronize()
        values = iter(self._values.tolist())
        return [
            (step, {k: next(values) if isinstance(v, Tensor) else float(v)
                    for k, v in step.figures.items()})
            for step in self.steps
        ]  # fmt: skip


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """An OSError names the file."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"{path}: could not be written ({error.strerror})") from error
