"""FixedSum as curves: where it moves a value, for several S and several k (the paper's Fig. 2)."""

from typing import TYPE_CHECKING

import torch

from tlw.losses.fixed_sum import fixed_sum
from tlw.report.figures.style import PAGE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)  # S / N of panel a, k of panel b
PIXELS = 1000  # N, as in the paper
HELD = 0.3  # the k of panel a, as in the paper; and S / N of panel b


def moved(share: float, k: float, points: int = 101) -> tuple[torch.Tensor, torch.Tensor]:
    """Values in [0, 1], and where FixedSum moves them in 1,000 values of mean `share`, to mean k.

    Eq. 5 moves a value by their sum alone, so the others may all be the same.
    """
    x = torch.linspace(0, 1, points, dtype=torch.float64)
    rest = (share * PIXELS - x.sum()) / (PIXELS - points)
    image = torch.cat([x, rest.expand(PIXELS - points)]).view(1, 1, 1, PIXELS)
    return x, fixed_sum(image, k)[0, 0, 0, :points]


def fixed_sum_curves() -> "Figure":
    """Panel a: several S at one k. Panel b: several k at one S."""
    from matplotlib import pyplot as plt

    figure, (a, b) = plt.subplots(1, 2, figsize=(PAGE, 2.9), sharey=True)
    colours = plt.get_cmap("viridis")
    for i, share in enumerate(SHARES):
        colour = colours(i / len(SHARES))
        a.plot(*moved(share, HELD), color=colour, label=f"S/N = {share}")
        b.plot(*moved(HELD, share), color=colour, label=f"k = {share}")
    for panel, title in ((a, f"k = {HELD}"), (b, f"S/N = {HELD}")):
        panel.plot([0, 1], [0, 1], color="#999999", lw=0.7, ls=(0, (4, 3)), zorder=0)
        panel.set(xlim=(0, 1), ylim=(0, 1), xlabel="weight before", title=title, aspect="equal")
        panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    a.set_ylabel("weight after FixedSum")
    return figure
