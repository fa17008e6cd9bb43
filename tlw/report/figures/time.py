"""What a step of each loss takes, beside the same network's others."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from tlw.config.config import read_cell
from tlw.config.record import read_record
from tlw.report.figures.style import COLUMN, colours_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def step_times(cells: Sequence[Path]) -> pd.DataFrame:
    """A line each finished cell: network, loss, seconds a step, device."""
    rows = []
    for folder in cells:
        if (folder / "record.json").exists():
            cell, record = read_cell(folder / "cell.json"), read_record(folder / "record.json")
            rows.append(
                {"network": f"{cell.backbone_name} ×{cell.scale}", "loss": cell.loss_name}
                | {"seconds": record.training_seconds / record.steps}
                | {"device": record.sittings[-1].device}
            )
    return pd.DataFrame(rows)


def time_of_steps(cells: Sequence[Path]) -> "Figure":
    """A point each training, a line each network and loss.

    Raises:
        ValueError: without trained cells.
    """
    from matplotlib import pyplot as plt

    times = step_times(cells)
    if times.empty:
        raise ValueError("the time of steps needs trained cells, with record.json, found none")
    lines = list(times.groupby(["network", "loss"], sort=False))
    figure, panel = plt.subplots(figsize=(COLUMN, 0.75 + 0.17 * len(lines)))
    colours = colours_of(list(dict.fromkeys(times["loss"])))
    for y, ((_, loss), part) in enumerate(lines):
        panel.plot(part["seconds"], [y] * len(part), "o", color=colours[str(loss)], ms=3.5, mew=0)
    panel.set_yticks(range(len(lines)), [f"{network}, {loss}" for (network, loss), _ in lines])
    panel.set(xscale="log", xlabel="seconds a training step", ylim=(len(lines) - 0.4, -0.6))
    panel.tick_params(axis="y", length=0)
    devices = list(dict.fromkeys(times["device"]))
    panel.set_title(devices[0] if len(devices) == 1 else f"{len(devices)} kinds of devices",
                    fontsize=7, loc="right")  # fmt: skip
    return figure
