"""Checkpoints of a training: whole or passed over, of one form, of one cell and its images."""

import hashlib
import io
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import ConfigDict, Field, NonNegativeFloat, NonNegativeInt

from tlw.config.record import Sitting
from tlw.config.schema import Model
from tlw.runtime.errors import shown
from tlw.runtime.files import written_aside

log = logging.getLogger(__name__)
_FORMAT = 3
_KEPT = 2
_NAME = re.compile(r"step-\d{8,}-[0-9a-f]{16}\.pt")
_LEFT_BY_A_KILL = ".step-*.part"


class LogState(Model):
    """What `tlw.training.training_log` goes on from."""

    pending: list[dict[str, Annotated[float, Field(allow_inf_nan=True)]]]
    seconds: NonNegativeFloat
    size: NonNegativeInt


class Saved(Model):
    """A checkpoint: what a training goes on from."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    path: Path
    format: int
    belongs_to: dict[str, str]
    step: int = Field(strict=True, ge=1, description="steps done")
    net: dict[str, Any] = Field(description="state dicts, as torch has them")
    loss: dict[str, Any]
    optimizer: dict[str, Any]
    average: dict[str, Any] | None = Field(default=None, description="of the weights' mean")
    validation: dict[int, float] = Field(description="PSNR by steps done")
    best: dict[str, Any] | None = Field(description="the weights that validation found best")
    gradient_rms: dict[int, float]
    sittings: tuple[Sitting, ...]
    log: LogState


class Checkpoints:
    """The checkpoints of one training in a folder, each named by its step and its content's hash.

    Args:
        folder: made when the first one is saved.
        belongs_to: what identifies the training, such as its cell and the digest of its config; a
            checkpoint that differs in any of it is refused.
        steps: of the whole training.
    """

    def __init__(self, folder: Path, belongs_to: Mapping[str, str], steps: int) -> None:
        self.folder, self.belongs_to, self.steps = Path(folder), dict(belongs_to), steps

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Writes the fields of `Saved`, tensors and plain values; the last two are kept.

        Raises:
            OSError: when the disk is full; the earlier checkpoints stay as they are.
        """
        buffer = io.BytesIO()
        torch.save(
            {"format": _FORMAT, "belongs_to": self.belongs_to, "step": step, **state}, buffer
        )
        content = buffer.getbuffer()
        with written_aside(self.folder / f"step-{step:08d}-{_hash(content)}.pt") as aside:
            aside.write_bytes(content)
        for old in [*self._newest_first()[_KEPT:], *self.folder.glob(_LEFT_BY_A_KILL)]:
            old.unlink()

    def load(self) -> Saved | None:
        """The newest whole checkpoint, on the CPU, or None where there is none.

        A damaged one is removed, with a warning, and the one before it taken.

        Raises:
            ValueError: for a checkpoint of another training, or of another form.
        """
        for path in self._newest_first():
            content = path.read_bytes()
            if _hash(content) != path.stem.rpartition("-")[2]:
                log.warning("%s: damaged (its hash differs): removed, the one before counts", path)
                path.unlink()  # kept, it would pass for newer than those that come now
                continue
            return self._checked(path, content)
        return None

    def clear(self) -> None:
        """Removes what a finished training needs no more; what does not go is warned of."""
        if not self.folder.is_dir():
            return
        try:
            for path in [*reversed(self._newest_first()), *self.folder.glob("*")]:
                path.unlink(missing_ok=True)
            if not self.folder.is_symlink():
                self.folder.rmdir()
        except OSError as error:
            log.warning("%s: left where it is (%s); the training is finished, so it may be deleted",
                        self.folder, error)  # fmt: skip

    def _checked(self, path: Path, content: bytes) -> Saved:
        try:
            found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except Exception as error:  # torch has many, for what it has not written
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise self._refused(path, f"torch cannot read it: {reason}") from None
        if not isinstance(found, dict) or found.get("format") != _FORMAT:
            form = found.get("format") if isinstance(found, dict) else None
            raise self._refused(path, f"expected format {_FORMAT}, found {shown(form)}")
        try:
            saved = Saved.parse(found | {"path": path}, "not in the form of a checkpoint")
        except ValueError as error:
            raise self._refused(path, str(error)) from None
        self._refuse_others(path, saved.belongs_to)
        if saved.step > self.steps:
            raise self._refused(path, f"expected at most {self.steps} steps, found {saved.step}")
        return saved

    def _refused(self, path: Path, reason: str) -> ValueError:
        return ValueError(
            f"{path}: {reason}; go on with the version of tlw that wrote it, or delete "
            f"{self.folder} to start anew"
        )

    def _refuse_others(self, path: Path, found: dict[str, str]) -> None:
        for key in sorted(found.keys() | self.belongs_to.keys()):
            if found.get(key) != self.belongs_to.get(key):
                raise ValueError(
                    f"{path}: a checkpoint of another training: expected {key} "
                    f"{self.belongs_to.get(key)}, found {found.get(key)}; go on with what it "
                    f"was made from, or delete {self.folder} to start anew"
                )

    def _newest_first(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        named = [path for path in self.folder.iterdir() if _NAME.fullmatch(path.name)]
        return sorted(named, key=steps_of, reverse=True)


def steps_of(path: Path) -> int:
    """The steps done in a checkpoint, as its name says; 0 for a file of another name."""
    return int(path.name.split("-")[1]) if _NAME.fullmatch(path.name) else 0


def _hash(content: Any) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
