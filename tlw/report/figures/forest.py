"""A forest plot: each loss minus what it is compared with, with its interval."""

from typing import TYPE_CHECKING

import pandas as pd

from tlw.report.figures.style import PAGE, colours_of
from tlw.report.statistics import SMALLEST
from tlw.scoring.columns import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def forest(differences: pd.DataFrame) -> "Figure":
    """One panel a metric, one line a network, benchmark and pair of losses; better is right.

    Filled points are significant after correction, open ones are not. The band around 0 is what is
    too small to be of interest.

    Args:
        differences: the columns of `tlw.report.statistics.differences`; rows without an interval
            are left out.

    Raises:
        ValueError: where no row has an interval.
    """
    from matplotlib import pyplot as plt

    shown = differences[differences["low"].notna()]
    if shown.empty:
        raise ValueError("a forest plot needs differences with intervals, found none: score "
                         "five images or more of a loss and of its baseline")  # fmt: skip
    metrics = [metric for metric in METRICS if metric in set(shown["metric"])]
    places = _places(shown)
    height = 0.7 + 0.155 * (max(places.values()) + 1)
    figure, panels = plt.subplots(
        1, len(metrics), sharey=True, figsize=(PAGE, height), squeeze=False
    )
    colours = colours_of(list(dict.fromkeys(shown["loss"])))
    for panel, metric in zip(panels[0], metrics, strict=True):
        part = shown[shown["metric"] == metric]
        _draw(panel, part, metric, places, colours)
    _name_lines(panels[0][0], places)
    return figure


def _places(shown: pd.DataFrame) -> dict[tuple, float]:
    """The height of each line: pairs of losses together, a gap between them."""
    lines = shown[["loss", "against", "scale", "backbone", "benchmark"]].drop_duplicates()
    pairs = list(dict.fromkeys(lines[["loss", "against"]].itertuples(index=False, name=None)))
    ordered = sorted(lines.itertuples(index=False, name=None), key=lambda x: pairs.index(x[:2]))
    places: dict[tuple, float] = {}
    at, last = 0.0, None
    for line in ordered:
        at += 0.0 if last is None else (1.0 if last == line[:2] else 1.8)
        last = line[:2]
        places[line] = at
    return places


def _draw(panel: "Axes", part: pd.DataFrame, metric: str, places: dict, colours: dict) -> None:
    head, more_is_better = METRICS[metric]
    sign = 1 if more_is_better else -1
    smallest = SMALLEST.of(metric)
    panel.axvspan(-smallest, smallest, color="#ececec", lw=0, zorder=0)
    panel.axvline(0, color="#777777", lw=0.6, zorder=1)
    for _, d in part.iterrows():
        y = places[d["loss"], d["against"], d["scale"], d["backbone"], d["benchmark"]]
        colour = colours[d["loss"]]
        low, high = sorted((sign * d["low"], sign * d["high"]))
        panel.plot([low, high], [y, y], color=colour, lw=1.1, solid_capstyle="butt", zorder=2)
        clear = d["significant"] in ("better", "worse") and d["p_corrected"] <= 0.05
        face = colour if clear else "white"
        panel.plot(sign * d["change"], y, "o", ms=3.6, mfc=face, mec=colour, mew=1.0, zorder=3)
    panel.set_xlabel(f"improvement of {head}  →")
    panel.locator_params(axis="x", nbins=5)
    panel.tick_params(axis="y", length=0)
    panel.grid(axis="y", visible=False)


def _name_lines(panel: "Axes", places: dict[tuple, float]) -> None:
    names = [f"{backbone} ×{scale}, {name}" for *_, scale, backbone, name in places]
    panel.set_yticks(list(places.values()), names)
    panel.tick_params(axis="y", length=0)
    panel.set_ylim(max(places.values()) + 0.8, -1.4)
    first: dict[tuple, float] = {}
    for (loss, against, *_), y in places.items():
        first.setdefault((loss, against), y)
    for (loss, against), y in first.items():
        panel.annotate(
            f"{loss} − {against}",
            (0, y - 0.72),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            fontsize=7,
            fontweight="bold",
            va="center",
        )
