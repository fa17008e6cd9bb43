"""What k, the temperature and the number of samples do to the weights of one image."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from tlw.config.config import Cell
from tlw.config.settings import TLWSettings
from tlw.imaging.image_files import read_image
from tlw.imaging.ranges import to_tensor
from tlw.losses.fixed_sum import fixed_sum, relaxed_bernoulli
from tlw.report.figures.style import PAGE
from tlw.report.figures.weights import raw_weights

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARES = (0.1, 0.3, 0.6, 0.9)  # k
TEMPERATURES = (0.02, 0.1, 0.5, 2.0)
SAMPLES = (1, 3, 10, 100)  # T


def varied(raw: Tensor, settings: TLWSettings) -> dict[str, list[Tensor]]:
    """Weights (1, 3, H, W) with one setting changed, the others as they are, by what is changed.

    Args:
        raw: the weighting network's output (1, 3, H, W), before FixedSum.
        settings: of the loss; k is its start.
    """
    s, k = settings, settings.k_start

    def mean(share: float) -> Tensor:
        return fixed_sum(raw, share, over=s.fixed_sum_over)

    def sample(temperature: float, count: int) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        noises = torch.rand((count, *raw.shape), generator=generator)
        drawn = [
            relaxed_bernoulli(mean(k), noise, temperature=temperature, margin=s.margin)
            for noise in noises
        ]
        return torch.stack(drawn).mean(dim=0)

    return {
        "mean of the distribution, k": [mean(share) for share in SHARES],
        "one sample, temperature": [sample(temperature, 1) for temperature in TEMPERATURES],
        "mean of the samples, T": [sample(s.temperature, count) for count in SAMPLES],
    }


def settings_of_weights(cell: Cell, folder: Path, hr: Path, sr: Path) -> "Figure":
    """A row a setting, a column a value: the mean over the three channels as a picture.

    So where a weight of a sample is nearly 0 or 1, the picture has thirds.
    """
    from matplotlib import pyplot as plt

    reference, image = (to_tensor(read_image(path))[None] for path in (hr, sr))
    raw = raw_weights(cell, folder, reference, image)
    rows = varied(raw, cast(TLWSettings, cell.loss))
    values = (SHARES, TEMPERATURES, SAMPLES)
    figure, panels = plt.subplots(3, 5, figsize=(PAGE, 4.6))
    for row, (title, maps), each in zip(panels, rows.items(), values, strict=True):
        for panel, w, value in zip(row[1:], maps, each, strict=True):
            drawn = panel.imshow(w[0].mean(dim=0).numpy(), cmap="viridis", vmin=0, vmax=1)
            panel.set_title(f"{title.rpartition(' ')[2]} = {value:g}")
        row[1].set_ylabel(title.rpartition(",")[0])
    panels[0][0].imshow(reference[0].permute(1, 2, 0).numpy())
    panels[0][0].set_title("hr")
    s = cast(TLWSettings, cell.loss)
    for row, others in zip(
        panels[1:], (f"k = {s.k_start:g}", f"k = {s.k_start:g}\ntemperature = {s.temperature:g}"),
        strict=True,
    ):  # fmt: skip
        row[0].set_axis_off()
        row[0].text(0.5, 0.5, others, ha="center", va="center", transform=row[0].transAxes)
    for panel in panels.flat:
        panel.set(xticks=[], yticks=[])
        panel.grid(visible=False)
        panel.spines[:].set_visible(False)
    bar = figure.colorbar(drawn, ax=panels, shrink=0.6, aspect=30, pad=0.01)
    bar.set_label("weight")
    bar.outline.set_visible(False)
    return figure
