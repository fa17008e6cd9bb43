"""What becomes of a weight: the network's output, FixedSum, a sample (the paper's Fig. 4)."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from tlw.config.config import Cell
from tlw.config.settings import TLWSettings
from tlw.imaging.image_files import read_image
from tlw.imaging.ranges import to_signed, to_tensor
from tlw.losses.fixed_sum import fixed_sum, relaxed_bernoulli
from tlw.losses.tlw import k_schedule
from tlw.losses.weight_net import WeightNet
from tlw.report.figures.style import PAGE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STAGES = ("output of the weighting network", "after FixedSum", "sample")


def raw_weights(cell: Cell, folder: Path, hr: Tensor, sr: Tensor) -> Tensor:
    """What the weighting network of a cell's end gives, (1, 3, H, W), before FixedSum.

    Args:
        cell: of a weighted loss.
        folder: the cell's, with weight_net.safetensors.
        hr, sr: (1, 3, H, W) in [0, 1].

    Raises:
        ValueError: for a cell of another loss, or without its weighting network.
    """
    s = cell.loss
    if not isinstance(s, TLWSettings):
        raise ValueError(f"{folder}: expected a cell of a weighted loss, found {cell.loss_name}")
    net = WeightNet(features=s.features, over=s.fixed_sum_over)
    net.load(folder / "weight_net.safetensors").train()  # as in training: the batch's statistics
    with torch.no_grad():
        return net.layers(torch.cat([to_signed(hr), to_signed(sr)], dim=1))


def stages(cell: Cell, folder: Path, hr: Tensor, sr: Tensor) -> tuple[dict[str, Tensor], float]:
    """The weights (1, 3, H, W) of an image at each of `STAGES`, and k, at the training's end.

    Args:
        cell: of a weighted loss.
        folder: the cell's, with weight_net.safetensors.
        hr, sr: (1, 3, H, W) in [0, 1].

    Raises:
        ValueError: as `raw_weights`.
    """
    raw, s = raw_weights(cell, folder, hr, sr), cast(TLWSettings, cell.loss)
    k = k_schedule(cell.recipe.epochs - 1, start=s.k_start, rise=s.k_rise, epochs=s.k_epochs)
    mean = fixed_sum(raw, k, over=s.fixed_sum_over)
    noise = torch.rand(mean.shape, generator=torch.Generator().manual_seed(0))
    sample = relaxed_bernoulli(mean, noise, temperature=s.temperature, margin=s.margin)
    return dict(zip(STAGES, (raw, mean, sample), strict=True)), k


def weight_stages(cell: Cell, folder: Path, hr: Path, sr: Path) -> "Figure":
    """hr, and at each stage the weights as a picture (mean of channels) and as a distribution."""
    from matplotlib import pyplot as plt

    reference, image = (to_tensor(read_image(path))[None] for path in (hr, sr))
    found, k = stages(cell, folder, reference, image)
    figure, (above, below) = plt.subplots(
        2, 4, figsize=(PAGE, 3.3), height_ratios=(1.8, 1), sharex="row"
    )
    above[0].imshow(reference[0].permute(1, 2, 0).numpy())
    above[0].set_title("hr")
    below[0].remove()
    for panel, histogram, (name, w) in zip(above[1:], below[1:], found.items(), strict=True):
        drawn = panel.imshow(w[0].mean(dim=0).numpy(), cmap="viridis", vmin=0, vmax=1)
        panel.set_title(name)
        values = w.flatten().numpy()
        share = [1 / len(values)] * len(values)
        histogram.hist(values, bins=40, range=(0, 1), weights=share, color="#0072b2")
        histogram.axvline(float(w.mean()), color="#d55e00", lw=1)
        histogram.set(xlabel=f"weight (mean {w.mean():.2f})", xlim=(0, 1))
    below[1].set_ylabel("share of weights")
    for panel in above:
        panel.set(xticks=[], yticks=[])
        panel.grid(visible=False)
        panel.spines[:].set_visible(False)
    bar = figure.colorbar(drawn, ax=above, shrink=0.8, aspect=25, pad=0.01)
    bar.set_label(f"weight (k = {k:.2f})")
    bar.outline.set_visible(False)
    return figure
