"""PSNR against LPIPS: each loss of each network on each benchmark, and the paper's points."""

from typing import TYPE_CHECKING

import pandas as pd

from tlw.report.figures.style import PAGE, colours_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHAPES = "osD^vP*X"


def tradeoff(table: pd.DataFrame) -> "Figure":
    """One panel a benchmark; up is a higher PSNR, right a lower LPIPS, so better is up and right.

    Args:
        table: the long table of `tlw.report.tables.scores_table`: scale, backbone, loss, benchmark,
            metric, ours and, where the paper has one, paper.

    Raises:
        ValueError: where there is no LPIPS of vgg beside the PSNR.
    """
    from matplotlib import pyplot as plt

    keys = ["benchmark", "scale", "backbone", "loss"]
    wide = table.pivot_table(index=keys, columns="metric", values="ours", sort=False)
    if not {"psnr_y", "lpips_vgg"} <= set(wide.columns):
        raise ValueError("PSNR against LPIPS needs scores of both, found " + ", ".join(wide))
    points = wide.reset_index()
    benchmarks = list(dict.fromkeys(points["benchmark"]))
    columns = min(3, len(benchmarks))
    rows = -(-len(benchmarks) // columns)
    figure, panels = plt.subplots(
        rows, columns, figsize=(PAGE, 0.6 + 2.3 * rows), squeeze=False, sharex=False
    )
    networks = [n for n in dict.fromkeys(zip(points["backbone"], points["scale"], strict=True))]
    shapes = {network: _SHAPES[i % len(_SHAPES)] for i, network in enumerate(networks)}
    losses = list(dict.fromkeys(points["loss"].where(points["loss"] != "", points["backbone"])))
    colours = colours_of(losses)
    for panel in panels.flat[len(benchmarks) :]:
        panel.remove()
    for panel, benchmark in zip(panels.flat, benchmarks, strict=False):
        for _, p in points[points["benchmark"] == benchmark].iterrows():
            colour = colours[p["loss"] or p["backbone"]]
            shape = shapes[p["backbone"], p["scale"]]
            panel.plot(p["lpips_vgg"], p["psnr_y"], shape, color=colour, ms=4, mew=0)
        if "paper" in table and table["paper"].notna().any():
            _papers(panel, table[table["benchmark"] == benchmark], colours, shapes)
        panel.set(title=benchmark, xlabel="LPIPS (VGG), lower is better", ylabel="PSNR (dB)")
        panel.locator_params(nbins=5)
        panel.invert_xaxis()
    handles = [plt.Line2D([], [], color=colours[x], marker="o", ls="", ms=4, label=x)
               for x in losses]  # fmt: skip
    for name, scale in networks:
        if name != "bicubic":
            handles.append(plt.Line2D([], [], color="#444444", marker=shapes[name, scale], ls="",
                                      ms=4, label=f"{name} ×{scale}"))  # fmt: skip
    if "paper" in table and table["paper"].notna().any():
        handles.append(plt.Line2D([], [], mec="#444444", mfc="none", marker="o", ls="", ms=4,
                                  label="the paper's"))  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=6)
    return figure


def _papers(panel, table: pd.DataFrame, colours: dict, shapes: dict) -> None:  # type: ignore[no-untyped-def]
    keys = ["scale", "backbone", "loss"]
    wide = table.pivot_table(index=keys, columns="metric", values="paper", sort=False)
    for (scale, backbone, loss), p in wide.iterrows():  # type: ignore[misc]
        panel.plot(
            p["lpips_vgg"], p["psnr_y"], shapes[backbone, scale], mfc="none",
            mec=colours[loss or backbone], ms=5, mew=0.8,
        )  # fmt: skip
