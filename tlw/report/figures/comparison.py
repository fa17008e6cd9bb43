"""Pictures side by side: hr, bicubic, every loss, with scores and errors (the paper's Fig. 6)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from tlw.imaging.image_files import read_image
from tlw.imaging.ranges import luma, to_tensor
from tlw.report.figures.style import PAGE
from tlw.scoring.shown import metric_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LOSSES = 6  # beside each other
ERROR = 40.0  # levels of luma at the dark end of the error's colours


def comparison(
    pictures: Sequence[Mapping[str, Any]], scores: pd.DataFrame, backbone: str, rule: str
) -> "Figure":
    """Two rows a picture: the part shown of hr, bicubic and each loss, and |luma - hr's| below.

    Args:
        pictures: of one scale, from `tlw.scoring.shown.read_pictures`.
        scores: of the cells and of bicubic; printed are those of whole images, of the first seed.
        backbone: the network.
        rule: how the pictures were chosen, printed below.

    Raises:
        ValueError: where no picture is of that network.
    """
    from matplotlib import pyplot as plt

    names = [n for n in (pictures[0]["files"] if pictures else ()) if n.startswith(f"{backbone}/")]
    if not names:
        raise ValueError(f"{backbone}: expected pictures of this network, found none; "
                         "`tlw pictures` makes them")  # fmt: skip
    columns = ["hr", "bicubic", *names[:MOST_LOSSES]]
    side = PAGE / len(columns)
    figure, axes = plt.subplots(
        2 * len(pictures), len(columns), squeeze=False,
        figsize=(PAGE, len(pictures) * (2 * side + 0.42) + 0.35),
    )  # fmt: skip
    for panel in axes.flat:
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
        panel.grid(visible=False)
    errors = None
    for place, picture in enumerate(pictures):
        hr = read_image(picture["files"]["hr"])
        for column, name in enumerate(columns):
            shown, below = axes[2 * place, column], axes[2 * place + 1, column]
            image = read_image(picture["files"][name])
            shown.imshow(image, interpolation="nearest")
            shown.set_title(_title(name, picture, scores), fontsize=6.5, linespacing=1.15)
            if name == "hr":
                _describe(below, picture)
            else:
                errors = below.imshow(_error(image, hr), cmap="magma_r", vmin=0, vmax=ERROR)
    assert errors is not None
    bar = figure.colorbar(errors, ax=axes, location="bottom", shrink=0.3, aspect=40, pad=0.01)
    bar.set_label("error of luma, of 255 levels", fontsize=7)
    bar.outline.set_visible(False)
    figure.supxlabel(rule, fontsize=6, wrap=True)
    return figure


def _error(image: np.ndarray, hr: np.ndarray) -> torch.Tensor:
    one, other = (luma(to_tensor(x)[None])[0] for x in (image, hr))
    return (one - other).abs().squeeze()


def _title(name: str, picture: Mapping[str, Any], scores: pd.DataFrame) -> str:
    if name == "hr":
        return "hr"
    backbone, _, loss = name.partition("/")
    rows = scores[
        (scores["backbone"] == backbone) & (scores["loss"] == loss)
        & (scores["scale"] == picture["scale"])
        & (scores["benchmark"] == picture["benchmark"]) & (scores["image"] == picture["image"])
    ].sort_values("seed")  # fmt: skip
    if rows.empty:
        return loss or backbone
    perceptual = metric_of(scores)
    first = rows.iloc[0]
    second = "" if perceptual == "psnr_y" else f" / {first[perceptual]:.4f}"
    return f"{loss or backbone}\n{first['psnr_y']:.2f} dB{second}"


def _describe(panel: "Axes", picture: Mapping[str, Any]) -> None:
    name = Path(picture["image"]).stem
    words = f"{picture['benchmark']} ×{picture['scale']}\n{name}\n({picture['why']})"
    panel.text(0.5, 0.5, words, ha="center", va="center", fontsize=6.5, wrap=True,
               transform=panel.transAxes)  # fmt: skip
