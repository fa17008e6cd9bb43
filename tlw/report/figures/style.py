"""How all figures look, and how they are saved.

Colours are Okabe and Ito's, which the colour-blind tell apart; sizes are those of a two-column
paper, so that 8 points are 8 points in print.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tlw.runtime.extras import require
from tlw.runtime.files import written_aside

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN, PAGE = 3.5, 7.2  # widths in inches, of a column and of both
COLOURS = {
    **{"l1": "#000000", "mse": "#7f7f7f", "l1-tlw": "#0072b2", "mse-tlw": "#56b4e9"},
    **{"l1-udl": "#d55e00", "bicubic": "#b0b0b0"},
}
_OTHERS = ("#009e73", "#cc79a7", "#e69f00", "#8b5a00", "#5b2a86", "#8fbc8f")
_LOOK: dict[str, Any] = {
    **{"font.family": "DejaVu Sans", "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8},
    **{"xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 7, "legend.frameon": False},
    **{"axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6},
    **{"xtick.major.width": 0.6, "ytick.major.width": 0.6, "lines.linewidth": 1.2},
    **{"axes.grid": True, "grid.color": "#e4e4e4", "grid.linewidth": 0.5, "axes.axisbelow": True},
    **{"figure.constrained_layout.use": True, "figure.facecolor": "white", "savefig.dpi": 300},
    **{"pdf.fonttype": 42, "svg.hashsalt": "tlw", "svg.fonttype": "path"},
}
FORMATS = ("pdf", "png", "webp")  # for print, for slides, and small, for pages
_SCREEN: dict[str, Any] = {"dpi": 200, "pil_kwargs": {"quality": 85}}


@contextmanager
def styled() -> Iterator[None]:
    """The look, for the figures that are made and saved within; no screen is needed.

    Raises:
        ValueError: without matplotlib, with what to install.
    """
    require(["matplotlib"], extra="report", does="a figure")
    import matplotlib
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it names every glyph of a PDF
    with matplotlib.rc_context(cast(Any, _LOOK)):
        try:
            yield
        finally:
            pyplot.close("all")


def colours_of(losses: Sequence[str]) -> dict[str, str]:
    """A colour for each loss: the paper's losses have theirs, others one of the rest in turn."""
    others = [loss for loss in losses if loss not in COLOURS]
    rest = {loss: _OTHERS[i % len(_OTHERS)] for i, loss in enumerate(others)}
    return {loss: COLOURS.get(loss) or rest[loss] for loss in losses}


def save(figure: "Figure", path: Path, formats: Sequence[str] = FORMATS) -> None:
    """Writes path.pdf, path.png and path.webp, whole or not at all; equal figures, equal files."""
    for form in formats:
        with written_aside(path.with_name(f"{path.name}.{form}")) as aside:
            when = {"pdf": "CreationDate", "svg": "Date"}.get(form)
            options: dict[str, Any] = _SCREEN if form == "webp" else {}
            dated = {when: None} if when else None
            figure.savefig(aside, format=form, metadata=dated, **options)
