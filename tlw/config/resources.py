"""What a training asks for: time, memory, GPUs. No part of a cell.

An entry is for a backbone, or for a backbone at one scale, `rcan_x2`. What it leaves open comes
from the backbone's entry, then from the known network that it is made of, then from `ANY`. Time
and memory are for a scheduler, GPUs also where there is none: a network is trained on all of them.
"""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from tlw.config.schema import Model, Whole
from tlw.runtime.errors import shown

# As `sbatch --time` has them, each with the minutes that its parts stand for.
_TIMES = {
    r"(\d+):(\d+)": (1, 1 / 60),
    r"(\d+):(\d+):(\d+)": (60, 1, 1 / 60),
    r"(\d+)-(\d+)": (1440, 60),
    r"(\d+)-(\d+):(\d+)": (1440, 60, 1),
    r"(\d+)-(\d+):(\d+):(\d+)": (1440, 60, 1, 1 / 60),
}


def _minutes(value: Any) -> Any:
    """A time as SLURM has it in minutes, seconds rounded up; another value as it is."""
    if not isinstance(value, str) or re.fullmatch(r"\d+", value, re.ASCII):
        return value
    for pattern, minutes in _TIMES.items():
        if found := re.fullmatch(pattern, value[:20], re.ASCII):
            parts = zip(map(int, found.groups()), minutes, strict=True)
            return math.ceil(sum(part * each for part, each in parts))
    raise ValueError(
        f"expected minutes, or a time as SLURM has it (24:00:00, 1-12:00:00), found {shown(value)}"
    )


class Request(Model):
    """What a job asks for at its first attempt. A key that is left out is looked up elsewhere."""

    runtime: Annotated[Whole, BeforeValidator(_minutes), Field(ge=1, le=525_600)] | None = Field(
        default=None,
        description="minutes, or a time as SLURM has it, 1-12:00:00; twice as much at a second "
        "attempt, and so on",
    )
    mem_mb: Annotated[Whole, Field(ge=1, le=100_000_000)] | None = Field(
        default=None, description="main memory in MB; twice as much at a second attempt, and so on"
    )
    gpu: Annotated[Whole, Field(ge=0, le=64)] | None = Field(
        default=None,
        description="GPUs that a network is trained on together; none when the device is cpu",
    )


# Generous guesses for the paper's grid on one GPU, not measurements. A training that is stopped
# by its time limit goes on in the next attempt, so too little costs a wait, not the work. Networks
# that work at lr size take about four times as long at x2 as at x4; vdsr works at hr size.
ANY = {"runtime": 720, "mem_mb": 16000, "gpu": 1}
KNOWN: dict[str, dict[str, int]] = {
    "vdsr": {"runtime": 480, "mem_mb": 12000},
    "edsr": {"runtime": 480},
    "edsr_x2": {"runtime": 1440, "mem_mb": 24000},
    "rcan": {"runtime": 720},
    "rcan_x2": {"runtime": 1440, "mem_mb": 24000},
    "hat": {"runtime": 1440, "mem_mb": 32000},
}


def request_for(
    entries: Mapping[str, Request], backbone: str, path: str, scale: int, *, device: str = "auto"
) -> dict[str, int]:
    """What the training of a backbone at a scale asks for: `runtime`, `mem_mb` and `gpu`.

    Args:
        entries: the config's, by `backbone` or `backbone_xS`.
        backbone: its name in the config.
        path: its class, as in the config; a known network's has defaults of its own.
        device: of the config; "cpu" needs no GPU.
    """
    asked = dict(ANY)
    for known in (path, f"{path}_x{scale}"):
        asked |= KNOWN.get(known, {})
    for name in (backbone, f"{backbone}_x{scale}"):
        if name in entries:
            asked |= entries[name].model_dump(exclude_none=True)
    if device == "cpu":
        asked["gpu"] = 0
    return asked
