"""What networks cost side by side: weights, operations, time and memory, as `tlw cost` has them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from tlw.report.cost_table import read_costs
from tlw.report.figures.style import COLOURS, PAGE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A column of `network_costs`, what it is called, and what it is divided by.
_PANELS = (
    ("parameters", "parameters (millions)", 1e6),
    ("multiply_adds", "multiply-adds at 720p (billions)", 1e9),
    ("seconds", "seconds an image", 1),
    ("peak_bytes", "memory of a pass (GB)", 1e9),
)


def network_costs(cells: Sequence[Path]) -> pd.DataFrame:
    """A row a network, scale and device, of the cells that have a cost.json."""
    rows: list[dict[str, Any]] = []
    for content in read_costs(cells).values():
        own = {"network": f"{content['network']} ×{content['scale']}"}
        own |= {key: content[key] for key in ("parameters", "multiply_adds")}
        devices: Mapping[str, Mapping[str, Any]] = content["devices"]
        for device, measured in devices.items():
            height, width = measured["output"]
            timed = {key: measured[key] for key in ("seconds", "peak_bytes")}
            rows.append(own | timed | {"device": f"{device}, {width} x {height}"})
    costs = pd.DataFrame(rows)
    if rows:
        costs["peak_bytes"] = costs["peak_bytes"].astype(float)  # None, where it was not told
    return costs


def cost_bars(cells: Sequence[Path]) -> "Figure":
    """A panel each for what a network has, and for what a device takes; a bar a network.

    Raises:
        ValueError: where nothing has been measured.
    """
    from matplotlib import pyplot as plt

    costs = network_costs(cells)
    if costs.empty:
        raise ValueError("bars of costs need what `tlw cost` measures, cost.json, found none")
    networks = list(dict.fromkeys(costs["network"]))[::-1]  # the first on top
    devices = list(dict.fromkeys(costs["device"]))
    colours = list(COLOURS.values())[2:]
    figure, panels = plt.subplots(
        1, len(_PANELS), sharey=True, figsize=(PAGE, 0.9 + 0.22 * len(networks) * len(devices))
    )
    for panel, (column, title, unit) in zip(panels, _PANELS, strict=True):
        of_devices = devices if column in ("seconds", "peak_bytes") else devices[:1]
        height = 0.7 / len(of_devices)
        for i, device in enumerate(of_devices):
            part = costs[costs["device"] == device].set_index("network")[column]
            values = [float(part.get(name, float("nan"))) / unit for name in networks]
            places = [y + 0.35 - height * (i + 0.5) for y in range(len(networks))]
            is_of_device = column in ("seconds", "peak_bytes")
            colour = colours[i % len(colours)] if is_of_device else "#7f7f7f"
            panel.barh(places, values, height=0.9 * height, color=colour)
            for y, value in zip(places, values, strict=True):
                if value == value:  # nan is not
                    panel.text(value, y, f" {value:.3g}", va="center", fontsize=6)
        panel.set(xlabel=title, yticks=range(len(networks)), yticklabels=networks)
        panel.margins(x=0.3)
        panel.grid(visible=False, axis="y")
    handles = [
        plt.Line2D([], [], lw=5, color=colours[i % len(colours)], label=device)
        for i, device in enumerate(devices)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure
