"""Checkpoints of a training: written aside, checked when read, bound to one cell and its images."""

import hashlib
import io
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tlw.runtime.files import written_aside

log = logging.getLogger(__name__)
_KEPT = 2
_NAME = re.compile(r"step-\d{8,}-[0-9a-f]{16}\.pt")
_LEFT_BY_A_KILL = ".step-*.part"


class Checkpoints:
    """The checkpoints of one training in a folder, each named by its step and its content's hash.

    Args:
        folder: made when the first one is saved.
        belongs_to: what identifies the training, such as its cell and the digest of its config; a
            checkpoint that differs in any of it is refused.
    """

    def __init__(self, folder: Path, belongs_to: Mapping[str, str]) -> None:
        self.folder, self.belongs_to = Path(folder), dict(belongs_to)

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Writes tensors and plain values; the last two checkpoints are kept.

        Raises:
            OSError: when the disk is full; the earlier checkpoints stay as they are.
        """
        buffer = io.BytesIO()
        torch.save({"belongs_to": self.belongs_to, "step": step, **state}, buffer)
        content = buffer.getbuffer()
        with written_aside(self.folder / f"step-{step:08d}-{_hash(content)}.pt") as aside:
            aside.write_bytes(content)
        for old in [*self._newest_first()[_KEPT:], *self.folder.glob(_LEFT_BY_A_KILL)]:
            old.unlink()

    def load(self) -> dict[str, Any] | None:
        """The newest whole checkpoint with its `step`, on the CPU, or None where there is none.

        A damaged one is removed, with a warning, and the one before it taken.

        Raises:
            ValueError: for a checkpoint of another training.
        """
        for path in self._newest_first():
            content = path.read_bytes()
            if _hash(content) != path.stem.rpartition("-")[2]:
                log.warning("%s: damaged (its hash differs): removed, the one before counts", path)
                path.unlink()  # kept, it would pass for newer than those that come now
                continue
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            self._refuse_others(path, state["belongs_to"])
            return state
        return None

    def clear(self) -> None:
        """Empties the folder of a finished training, oldest checkpoint first, and removes it."""
        if not self.folder.is_dir():
            return
        for path in [*reversed(self._newest_first()), *self.folder.glob("*")]:
            path.unlink(missing_ok=True)
        if not self.folder.is_symlink():
            self.folder.rmdir()

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
        return sorted(named, key=lambda path: int(path.name.split("-")[1]), reverse=True)


def _hash(content: Any) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
