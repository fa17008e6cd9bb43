"""Networks that stand still in the middle of their training, for as long as a test wants."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import torch

from tlw.backbones.edsr import EDSR
from tlw.backbones.vdsr import VDSR
from tlw.runtime.files import written_aside


class Gate:
    """Stands still in the fourth step of its process, at a gate that a test opens.

    In the folder `GATES` the file `<gate>.pid` tells that it stands there, and who; it goes on when
    there is a file `<gate>.open`, or when its process is asked to stop, unless it is `deaf`.
    Without that folder there is no gate.
    """

    gate: str
    deaf: bool
    looks = 0

    def features(self, lr: torch.Tensor) -> torch.Tensor:
        self.looks += self.training
        if self.training and self.looks == 4 and "GATES" in os.environ:
            self._wait(Path(os.environ["GATES"]))
        return super().features(lr)

    def _wait(self, folder: Path) -> None:
        asked_to_stop = []
        before = signal.getsignal(signal.SIGTERM)

        def note(number: int, frame: Any) -> None:
            asked_to_stop.append(number)
            before(number, frame)

        signal.signal(signal.SIGTERM, note)
        with written_aside(folder / f"{self.gate}.pid") as aside:
            aside.write_text(str(os.getpid()))
        while not (folder / f"{self.gate}.open").exists():
            if asked_to_stop and not self.deaf:
                break
            time.sleep(0.05)
        if not asked_to_stop:
            signal.signal(signal.SIGTERM, before)


# Each says its own arguments, so that a config with it is checked without importing this file.


class GatedVDSR(Gate, VDSR):
    def __init__(self, *, gate: str, deaf: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.gate, self.deaf = gate, deaf


class GatedEDSR(Gate, EDSR):
    def __init__(self, *, gate: str, deaf: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.gate, self.deaf = gate, deaf
