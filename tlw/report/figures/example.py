"""One image from lr to hr, and the weights that the loss gives its pixels: what it is about."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from tlw.config.config import Cell
from tlw.imaging.image_files import read_image
from tlw.imaging.ranges import to_tensor
from tlw.report.figures.style import PAGE
from tlw.report.figures.weights import STAGES, stages

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def example(cell: Cell, folder: Path, files: Mapping[str, Path]) -> "Figure":
    """lr, bicubic, the unweighted loss, the weighted one, hr, and the mean of the weights.

    Args:
        cell: of a weighted loss; its folder has weight_net.safetensors.
        files: of a picture of `tlw.scoring.shown.read_pictures`, with both losses of the network.

    Raises:
        ValueError: where one of the pictures is missing.
    """
    from matplotlib import pyplot as plt

    base = getattr(cell.loss, "base", "")
    ours, plain = f"{cell.backbone_name}/{cell.loss_name}", f"{cell.backbone_name}/{base}"
    missing = [name for name in (ours, plain) if name not in files]
    if missing:
        raise ValueError(f"an example needs pictures of {' and '.join(missing)}, found none")
    names = {"lr": "lr", "bicubic": "bicubic", base: plain, cell.loss_name: ours, "hr": "hr"}
    figure, panels = plt.subplots(1, 6, figsize=(PAGE, PAGE / 6 + 0.28))
    for panel, (title, name) in zip(panels, names.items(), strict=False):
        panel.imshow(read_image(files[name]), interpolation="nearest")
        panel.set_title(title)
    hr, sr = (to_tensor(read_image(files[name]))[None] for name in ("hr", ours))
    found, k = stages(cell, folder, hr, sr)
    weights: torch.Tensor = found[STAGES[1]]
    panels[5].imshow(weights[0].mean(dim=0).numpy(), cmap="viridis", vmin=0, vmax=1)
    panels[5].set_title(f"weights, k = {k:.2f}")
    for panel in panels:
        panel.set(xticks=[], yticks=[])
        panel.grid(visible=False)
        panel.spines[:].set_visible(False)
    return figure
