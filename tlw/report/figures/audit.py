"""What each choice of an evaluation moves a number by, and which readings give a claimed one."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tlw.report.audited import choices, of_metric, usual_in_words
from tlw.report.figures.style import PAGE
from tlw.scoring.audit import Claim, Values, matches
from tlw.scoring.readings import usual

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_USUAL, _MOVED, _CLAIMED = "#000000", "#0072b2", "#d55e00"
_NAMES = {"psnr": "PSNR (dB)", "ssim": "SSIM", "lpips": "LPIPS"}


def audit(values: Values, claims: Sequence[Claim], scale: int) -> "Figure":
    """One panel a metric: the usual reading, each other choice alone, and all readings as ticks.

    Args:
        values: of `tlw.scoring.audit.audit_folders`.
        claims: each is a line, and the readings that give it stand out.

    Raises:
        ValueError: where images are equal, whose PSNR is infinite.
    """
    from matplotlib import pyplot as plt

    metrics = list(dict.fromkeys((reading.metric, reading.net) for reading in values))
    parts = [of_metric(values, metric, net) for metric, net in metrics]
    if not all(math.isfinite(value) for value in values.values()):
        raise ValueError(
            "a figure of an audit: expected finite numbers, found images that are equal"
        )
    heights = [2.2 + len(_by_size(part, scale)) for part in parts]
    figure, panels = plt.subplots(
        len(parts), 1, figsize=(PAGE, 0.7 * len(parts) + 0.17 * sum(heights)), squeeze=False,
        height_ratios=heights,
    )  # fmt: skip
    for panel, part in zip(panels.flat, parts, strict=True):
        _panel(panel, part, [c for c in claims if c.metric == next(iter(part)).metric], scale)
    return figure


def _by_size(part: Values, scale: int) -> list[tuple[str, float]]:
    """The choices that move the number, those that move it most first."""
    ordinary = _as_usual(part, scale)
    moved = [(words, value) for words, value in choices(part, scale).items() if value != ordinary]
    return sorted(moved, key=lambda row: -abs(row[1] - ordinary))


def _as_usual(part: Values, scale: int) -> float:
    first = next(iter(part))
    return part[usual(first.metric, scale, first.net or "alex")]


def _panel(panel: "Axes", part: Values, claims: Sequence[Claim], scale: int) -> None:
    first, ordinary = next(iter(part)), _as_usual(part, scale)
    rows = _by_size(part, scale)
    fitting = {m.value for claim in claims for m in matches(claim, part, scale) if m.fits}
    for claim in claims:
        low, high = claim.value - claim.half_a_step, claim.value + claim.half_a_step
        panel.axvspan(low, high, color=_CLAIMED, alpha=0.25, lw=0)
        panel.axvline(claim.value, color=_CLAIMED, lw=0.8)
        on_right = claim.value > 0.5 * (min(part.values()) + max(part.values()))
        panel.text(
            claim.value, 1.02, f"claimed: {claim} ", transform=panel.get_xaxis_transform(),
            ha="right" if on_right else "left", color=_CLAIMED, fontsize=7,
        )  # fmt: skip
    panel.axvline(ordinary, color=_USUAL, lw=0.6)
    panel.plot(ordinary, 0, "D", color=_CLAIMED if ordinary in fitting else _USUAL, ms=4)
    for place, (_, value) in enumerate(rows, 1):
        colour = _CLAIMED if value in fitting else _MOVED
        panel.plot([ordinary, value], [place, place], color=colour, lw=1)
        panel.plot(value, place, "o", color=colour, ms=4)
    last = len(rows) + 1
    for value in sorted(set(part.values()), key=lambda value: value in fitting):
        colour, width = (_CLAIMED, 1.2) if value in fitting else (_MOVED, 0.4)
        panel.plot([value, value], [last - 0.35, last + 0.35], color=colour, lw=width)
    words = [f"usual: {usual_in_words(first.metric, scale, first.net)}", *(w for w, _ in rows)]
    panel.set_yticks(range(last + 1), [*words, f"all {len(part)} readings"])
    panel.set_ylim(last + 0.7, -0.7)
    panel.grid(visible=False, axis="y")
    panel.set_xlabel(f"{_NAMES[first.metric]}{f' ({first.net})' if first.net else ''}")
