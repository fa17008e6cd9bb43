"""The weights of an image over a training, and what the network makes of it (Fig. 5)."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from tlw.config.config import read_cell
from tlw.imaging.image_files import read_image
from tlw.report.figures.style import PAGE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NAME = re.compile(r"step-(\d+)_(.+)_weights\.png")
MOST = 6  # looks beside each other


def watched_images(cell: Path) -> dict[str, list[int]]:
    """The images whose weights a training kept, each with the steps of its looks, in order."""
    found: dict[str, list[int]] = {}
    for path in sorted((cell / "looks").glob("step-*_weights.png")):
        if match := _NAME.fullmatch(path.name):
            found.setdefault(match[2], []).append(int(match[1]))
    return found


def evenly(steps: list[int], most: int = MOST) -> list[int]:
    """The first, the last, and of those between as many as fit, evenly spread."""
    if len(steps) <= most:
        return steps
    return [steps[round(i * (len(steps) - 1) / (most - 1))] for i in range(most)]


def weights_over_training(cell: Path, image: str) -> "Figure":
    """Two rows: sr above, the mean of the weights below, a column a look; hr first.

    Args:
        cell: its folder, with looks/.
        image: one of `watched_images`.
    """
    from matplotlib import pyplot as plt

    config = read_cell(cell / "cell.json")
    steps = evenly(watched_images(cell)[image])
    figure, rows = plt.subplots(
        2, len(steps) + 1, figsize=(PAGE, 2 * PAGE / (len(steps) + 1) * 0.88 + 0.35)
    )

    def show(row: int, column: int, step: int, kind: str):
        picture = read_image(cell / "looks" / f"step-{step:08d}_{image}_{kind}.png")
        panel = rows[row][column]
        if kind == "weights":
            return panel.imshow(picture[..., 0] / 255, cmap="viridis", vmin=0, vmax=1)
        return panel.imshow(picture)

    show(0, 0, steps[-1], "hr")
    rows[0][0].set_title("hr")
    for column, step in enumerate(steps, 1):
        show(0, column, step, "sr")
        drawn = show(1, column, step, "weights")
        rows[0][column].set_title(f"step {step:,}")
    rows[0][1].set_ylabel("sr")
    rows[1][1].set_ylabel("weights")
    for panel in rows.flat:
        panel.set(xticks=[], yticks=[])
        panel.grid(visible=False)
        panel.spines[:].set_visible(False)
    rows[1][0].set_axis_off()
    rows[1][0].text(
        0.5, 0.5, f"{config.backbone_name} ×{config.scale}\n{config.loss_name}\n{image}",
        ha="center", va="center", transform=rows[1][0].transAxes,
    )  # fmt: skip
    bar = figure.colorbar(drawn, ax=rows[1], shrink=0.85, aspect=12, pad=0.01)
    bar.outline.set_visible(False)
    return figure
