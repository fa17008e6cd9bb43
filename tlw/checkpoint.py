"""Checkpoints of a training: written aside, checked when read, bound to one cell's config."""

import hashlib
import io
import logging
import re
from pathlib import Path
from typing import Any

import torch

from tlw.files import written_aside

log = logging.getLogger(__name__)
_KEPT = 2


class Checkpoints:
    """The checkpoints of one cell in a folder, each named by its step and its content's hash.

    Args:
        folder: made when the first one is saved.
        digest: of the cell's config; a checkpoint of another config is refused.
    """

    def __init__(self, folder: Path, digest: str) -> None:
        self.folder, self.digest = Path(folder), digest

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Writes tensors and plain values; the last two checkpoints are kept.

        Raises:
            OSError: when the disk is full; the earlier checkpoints stay as they are.
        """
        buffer = io.BytesIO()
        torch.save({"digest": self.digest, "step": step, **state}, buffer)
        content = buffer.getbuffer()
        path = self.folder / f"step-{step:08d}-{_hash(content)}.pt"
        with written_aside(path) as aside:
            aside.write_bytes(content)
        for old in self._newest_first()[_KEPT:]:
            old.unlink()

    def load(self, map_location: torch.device | str = "cpu") -> dict[str, Any] | None:
        """The newest whole checkpoint with its `step`, or None where there is none.

        A damaged one is passed over with a warning.

        Raises:
            ValueError: for a checkpoint of another cell or config.
        """
        for path in self._newest_first():
            content = path.read_bytes()
            if _hash(content) != path.stem.rpartition("-")[2]:
                log.warning("%s: damaged (its hash differs), passed over", path)
                continue
            state = torch.load(io.BytesIO(content), map_location, weights_only=True)
            if state["digest"] != self.digest:
                raise ValueError(
                    f"{path}: a checkpoint of another config (digest {state['digest']}, this cell "
                    f"has {self.digest}): restore that config to go on with it, or delete "
                    f"{self.folder} to start anew"
                )
            return state
        return None

    def clear(self) -> None:
        """Removes all checkpoints of a finished training."""
        for path in self._newest_first():
            path.unlink()
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _newest_first(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        named = [
            p for p in self.folder.iterdir() if re.fullmatch(r"step-\d{8}-[0-9a-f]{16}", p.stem)
        ]
        return sorted((p for p in named if p.suffix == ".pt"), reverse=True)


def _hash(content: Any) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
