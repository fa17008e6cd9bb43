"""Which differences between two losses are significant, image by image and seed by seed.

Two networks are scored on the same images, so what is looked at is the difference image by image:
that one image is harder than another drops out. With several seeds the differences are those
between networks of the same seed, which share their start weights and batches. Intervals and
p-values of the mean are those of `tlw.report.intervals`.

With one seed an interval tells about other images, for these trained networks, and nothing about
other trainings. That is no significance, and has words of its own.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from tlw.report.intervals import CONFIDENCE, interval, p_value
from tlw.scoring.columns import METRICS, NUMBER, ROW

log = logging.getLogger(__name__)

FEWEST = 5  # images; what fewer give has not been simulated

# Of a comparison: `change` to `p_corrected` are numbers, then what they say, and of how much.
COLUMNS = [
    *("against", "change", "low", "high", "p", "p_corrected", "significant", "on_other_images"),
    *("common_images", "left_out", "pairs", "against_seeds", "change_std"),
]
Row = tuple[int, str, str]  # scale, backbone, loss


class Smallest(NamedTuple):
    """The smallest differences that are of any interest; smaller ones carry no mark."""

    decibels: float = 0.005
    others: float = 0.0005  # of SSIM and LPIPS

    def of(self, metric: str) -> float:
        """The smallest relevant difference of a metric."""
        return self.decibels if metric == "psnr_y" else self.others


SMALLEST = Smallest()


class Against(NamedTuple):
    """What a row is compared with."""

    row: Row
    name: str  # as it is printed
    seeds: tuple[tuple[str, str], ...] | None = None  # (the row's, the other's); None: equal ones


def differences(
    scores: pd.DataFrame,
    against: Mapping[Row, Against],
    confidence: float = CONFIDENCE,
    smallest: Smallest = SMALLEST,
) -> pd.DataFrame:
    """Mean differences of rows to those that they are compared with, and which are significant.

    Args:
        scores: of all cells, checked by `tlw.report.tables.all_scores`.
        against: by row, what it is compared with; rows that are not named are not compared.
        confidence: of the intervals, in (0, 1).
        smallest: differences below these are never called better or worse.

    Returns:
        A row for each number: scale, backbone, loss, benchmark, metric, against; change (its mean
        minus the mean of `against`, so less is better for LPIPS), low, high (the interval of
        that), p, and p_corrected (Benjamini-Hochberg over those of all rows that have one);
        significant: "better" or "worse" where the interval leaves 0 out, "no" where it does not,
        "small" where it does, but the change is below `smallest`; on_other_images: the same words
        where one of the two sides is a single trained network, so that nothing is significant;
        common_images, left_out (names of images whose PSNR is infinite on one side or both: they
        are no part of the difference), pairs (of seeds), against_seeds (how many trained networks
        stand on the other side, 0 for one that was not trained here), change_std (over the pairs,
        NaN for one).

        Where no interval can be given, with less than `FEWEST` images, low, high and p are NaN and
        both words "".
    """
    metrics = [metric for metric in METRICS if metric in scores.columns]
    # Indexed by (backbone, loss, seed), columns (metric, image), so that the order in a CSV is
    # without effect.
    wide = {
        key: part.pivot(index=["backbone", "loss", "seed"], columns="image", values=metrics)
        for key, part in scores.groupby(["scale", "benchmark"], sort=False)
    }
    rows: list[dict[str, Any]] = []
    for row, other in against.items():
        for (scale, benchmark), part in wide.items():
            pair = _differences_of(part, row, other) if scale == row[0] == other.row[0] else None
            if pair is None:
                continue
            found, of_seeds = pair
            number = {**dict(zip(ROW, row, strict=True)), "benchmark": benchmark}
            rows += [
                {
                    **{**number, "metric": metric, "against": other.name},
                    **_judged(found[metric], metric, of_seeds, confidence, smallest),
                }
                for metric in metrics
            ]
    return corrected(pd.DataFrame(rows, columns=[*NUMBER, *COLUMNS]))


def _differences_of(
    wide: pd.DataFrame, row: Row, other: Against
) -> tuple[pd.DataFrame, list[tuple[str, str]]] | None:
    """A row's scores minus the other's, a line a pair of seeds; None where none can be paired."""
    keys = {key[:2] for key in wide.index}
    if row[1:] not in keys or other.row[1:] not in keys:
        return None
    ours, theirs = wide.loc[row[1:]], wide.loc[other.row[1:]]
    paired = other.seeds or tuple((seed, seed) for seed in ours.index)
    seeds = [(a, b) for a, b in paired if a in ours.index and b in theirs.index]
    if not seeds:
        return None
    ours, theirs = ours.loc[[a for a, _ in seeds]], theirs.loc[[b for _, b in seeds]]
    with np.errstate(invalid="ignore"):  # infinity minus infinity is NaN, and left out below
        return ours - theirs.set_axis(ours.index), seeds


def _judged(
    found: pd.DataFrame,
    metric: str,
    seeds: list[tuple[str, str]],
    confidence: float,
    smallest: Smallest,
) -> dict[str, Any]:
    """What a metric's differences say, a line a pair of seeds, a column an image."""
    finite = np.isfinite(found).all()
    values = found.loc[:, finite].to_numpy()[..., None]
    pairs, images, _ = values.shape
    low = high = p = change = change_std = np.nan
    if images:
        of_seed = values.mean(axis=(1, 2))
        change = of_seed.mean()
        change_std = of_seed.std(ddof=1) if pairs > 1 else np.nan
    if images >= FEWEST:
        [low], [high] = interval(values, confidence)
        [p] = p_value(values)
    word = _word(low, high, change, METRICS[metric].more_is_better, smallest.of(metric))
    trained = [{seed for seed in side if seed} for side in zip(*seeds, strict=True)]
    of_one = pairs == 1 or any(len(side) == 1 for side in trained)
    return {
        **{"change": change, "low": low, "high": high, "p": p},
        **{"significant": "" if of_one else word, "on_other_images": word if of_one else ""},
        **{"common_images": images, "left_out": ", ".join(finite.index[~finite])},
        **{"pairs": pairs, "against_seeds": len(trained[1])},
        "change_std": change_std,
    }


def _word(low: float, high: float, change: float, more_is_better: bool, smallest: float) -> str:
    if np.isnan(low):
        return ""
    if low <= 0 <= high:
        return "no"
    if abs(change) < smallest:
        return "small"
    return "better" if (change > 0) == more_is_better else "worse"


def corrected(found: pd.DataFrame) -> pd.DataFrame:
    """Differences with `p_corrected` filled in, from the p-values of all of them.

    By Benjamini and Hochberg (Journal of the Royal Statistical Society B 57, 1995), who allow for
    numbers that go up and down together, as a network's do. Those of single networks are a family
    of their own.
    """
    found = found.assign(p_corrected=np.nan)
    for column in ("significant", "on_other_images"):
        family = (found[column] != "") & found["p"].notna()
        if family.any():
            values = found.loc[family, "p"].astype(float)
            found.loc[family, "p_corrected"] = stats.false_discovery_control(values)
    return found


def by_chance(marked: pd.DataFrame) -> float:
    """How many of the marked differences are to be expected by chance alone, at most.

    Benjamini and Hochberg's share of false ones among those, which the p-values of all differences
    decide, times their number.
    """
    return float(marked["p_corrected"].max() * len(marked)) if len(marked) else 0.0


def baselines(cells: Sequence[Path]) -> dict[Row, Against]:
    """The baseline of each weighted loss: same network and scale, its base without weights.

    What a cell's loss is built on says its cell.json; a folder without one has no baseline, and is
    none. The uncertainty-driven loss is built on L1, a pixel loss with a factor, or a perceptual
    distance added, on the same one without. Where several are the baseline, the first is. Where
    there are ensembles, folders whose names end in "+", each is compared with its baseline's.

    Raises:
        ValueError: for a cell.json that is no cell's.
    """
    losses: dict[Row, tuple[str, str, bool]] = {}
    for path in (folder / "cell.json" for folder in cells):
        if path.exists():
            try:
                cell = json.loads(path.read_text(encoding="utf-8"))
                row = (cell["scale"], cell["backbone_name"], cell["loss_name"])
                loss = cell["loss"]
                kind, base = loss["kind"], loss.get("base", "l1")
                weighted = kind in ("tlw", "udl", "perceptual") or loss.get("factor", 1) != 1
                losses.setdefault(row, (kind, base, weighted))
            except (ValueError, TypeError, AttributeError, KeyError) as error:
                raise ValueError(
                    f"{path}: no cell of `tlw cell`: {type(error).__name__}: {error}"
                ) from None
    plain: dict[tuple, Row] = {}
    for row, (kind, base, weighted) in losses.items():
        if kind == "pixel" and not weighted:
            plain.setdefault((*row[:2], base), row)
    pairs = {
        row: plain.get((*row[:2], base)) for row, (_, base, weighted) in losses.items() if weighted
    }
    found = {row: Against(plain, plain[2]) for row, plain in pairs.items() if plain is not None}
    if any(folder.name.endswith("+") for folder in cells):  # ensembles, with theirs
        found |= {_plus(row): Against(_plus(other.row), other.name) for row, other in found.items()}
    return found


def _plus(row: Row) -> Row:
    scale, backbone, loss = row
    return scale, f"{backbone}+", loss
