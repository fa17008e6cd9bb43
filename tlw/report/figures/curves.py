"""Training curves: a network's losses side by side, as its training.csv has them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from tlw.config.config import Cell, read_cell
from tlw.report.figures.style import PAGE, colours_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What a curve shows: a column of training.csv, and what it is called.
_CURVES = {"loss": "loss", "criterion": "weight criterion", "weights_mean": "mean weight"}


def read_curve(cell: Path) -> pd.DataFrame:
    """A cell's training.csv; ValueError for a folder without one, or another file."""
    path = cell / "training.csv"
    try:
        curve = pd.read_csv(path)
        return curve[["step", *(column for column in _CURVES if column in curve)]]
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path}: no curve of `tlw train`: {error}") from None


def training_curves(cells: Sequence[Path]) -> "Figure":
    """One row a network and scale: the loss over steps; of weighted losses criterion and weights.

    Seeds are thin lines of one colour. Losses have different units; what compares is their course.

    Raises:
        ValueError: without trained cells.
    """
    from matplotlib import pyplot as plt

    groups: dict[str, list[tuple[Cell, pd.DataFrame]]] = {}
    for folder in cells:
        if (folder / "training.csv").exists():
            cell = read_cell(folder / "cell.json")
            name = f"{cell.backbone_name} ×{cell.scale}"
            groups.setdefault(name, []).append((cell, read_curve(folder)))
    if not groups:
        raise ValueError("training curves need trained cells, with training.csv, found none")
    shown = {
        c: t
        for c, t in _CURVES.items()
        if any(c in curve for group in groups.values() for _, curve in group)
    }
    figure, rows = plt.subplots(
        len(groups), len(shown), figsize=(PAGE, 0.4 + 1.6 * len(groups)), squeeze=False
    )
    losses = list(dict.fromkeys(c.loss_name for group in groups.values() for c, _ in group))
    colours = colours_of(losses)
    for row, (name, group) in zip(rows, groups.items(), strict=True):
        for panel, (column, title) in zip(row, shown.items(), strict=True):
            for cell, curve in group:
                if column in curve:
                    panel.plot(curve["step"], curve[column], color=colours[cell.loss_name], lw=0.8)
            panel.set(xlabel="step", ylabel=title)
            if column == "loss":
                panel.set(yscale="log", title=name)
                panel.title.set_fontweight("bold")
    handles = [plt.Line2D([], [], color=colours[loss], label=loss) for loss in losses]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(losses)))
    return figure
