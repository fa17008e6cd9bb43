"""Which differences between two losses are real: paired bootstrap over images and seeds.

Two networks are scored on the same images, so what is looked at is the difference image by image:
that one image is harder than another drops out. The interval of the mean difference comes from
resampling: the images of a benchmark are drawn again, with replacement, as often as it has images,
and the mean is taken anew; the middle 95 % of 10,000 such means are the percentile interval
(Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapters 13 and 16).

With several seeds the differences are those between networks of the same seed, which share their
start weights and batches. Every seed sees all images, so seeds and images are drawn independently
of each other and every pair of them counts as often as both were drawn (Owen, The pigeonhole
bootstrap, Annals of Applied Statistics 1, 2007). The interval then tells about other images and
other seeds; with one seed it tells about other images only.

Its limits. The bootstrap takes the sample for the population, so intervals are too short where
that is small. Simulated with normal differences, a "95 %" interval holds the truth in 95 % of
cases with 100 images, in 92 % with Set14's 14, in 84 % with Set5's 5; where seeds differ by more
than images do, in 88 % with 5 seeds, in 79 % with 3, in 69 % with 2. Where seeds do not differ it
is too long (98 %). Under `FEWEST` images none is given. Intervals are for each number alone: of a
hundred numbers without a difference some five are called real by chance.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tlw.scoring.columns import METRICS, NUMBER, ROW

log = logging.getLogger(__name__)

CONFIDENCE = 0.95
RESAMPLES = 10_000
FEWEST = 5  # images; of four differences without a direction one in eight has four equal signs

COLUMNS = ["against", "change", "low", "high", "real", "images", "pairs", "change_std"]
Row = tuple[int, str, str]  # scale, backbone, loss


class Against(NamedTuple):
    """What a row is compared with."""

    row: Row
    name: str  # as it is printed
    seed: str | None = None  # the one seed to compare with; None: each seed with the same one


def interval(
    differences: np.ndarray,
    confidence: float = CONFIDENCE,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> np.ndarray:
    """The bootstrap's percentile intervals of mean differences, see the module.

    Args:
        differences: finite, (seeds, images, numbers); each number is resampled in the same way.
        confidence: in (0, 1).
        resamples: how many.
        seed: of the resampling; the same one gives the same intervals.

    Returns:
        Lower and upper ends, (2, numbers).
    """
    if not np.isfinite(differences).all():
        raise ValueError("an interval needs finite differences, found some that are not")
    of_seeds, of_images = (
        _shares(count, resamples, (seed, axis)) for axis, count in enumerate(differences.shape[:2])
    )
    means = np.einsum("rs,ri,sin->rn", of_seeds, of_images, differences, optimize=True)
    tail = (1 - confidence) / 2
    return np.quantile(means, [tail, 1 - tail], axis=0)


@lru_cache(maxsize=8)
def _shares(count: int, resamples: int, seed: tuple[int, int]) -> np.ndarray:
    """How often each of `count` things was drawn, as its share: (resamples, count), rows sum to 1.

    The same for all numbers of a benchmark, and for benchmarks of as many images.
    """
    random = np.random.default_rng(seed)
    shares = random.multinomial(count, np.full(count, 1 / count), size=resamples) / count
    shares.flags.writeable = False
    return shares


def differences(
    scores: pd.DataFrame, against: Mapping[Row, Against], confidence: float = CONFIDENCE
) -> pd.DataFrame:
    """Mean differences of rows to those that they are compared with, and which of them are real.

    Args:
        scores: of all cells, checked by `tlw.report.tables.all_scores`.
        against: by row, what it is compared with; rows that are not named are not compared.
        confidence: of the intervals, in (0, 1).

    Returns:
        A row for each number: scale, backbone, loss, benchmark, metric, against, change (its mean
        minus the mean of `against`, so less is better for LPIPS), low, high (the interval of
        that), real ("better" or "worse" where the interval leaves 0 out, else "no"), images, pairs
        (of seeds), change_std (over them, NaN for one). Where no interval can be given low and
        high are NaN and real is "": with less than `FEWEST` images, or where one of the two
        networks gives an image exactly, its PSNR is infinite, and the other does not (a warning
        names the image). An image that both give exactly makes no difference.
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
            number = {**dict(zip(ROW, row, strict=True)), "benchmark": benchmark}
            cube = pair.to_numpy().reshape(len(pair), len(metrics), -1).swapaxes(1, 2)
            rows += [
                {**number, "metric": metric, "against": other.name, **found}
                for metric, found in zip(metrics, _judged(cube, metrics, confidence), strict=True)
            ]
            _warn_of_infinite(pair, f"{row[1]} x{scale} {row[2]} against {other.name}, {benchmark}")
    return pd.DataFrame(rows, columns=[*NUMBER, *COLUMNS])


def _differences_of(wide: pd.DataFrame, row: Row, other: Against) -> pd.DataFrame | None:
    """A row's scores minus the other's, a line for each seed; None where none can be paired."""
    keys = {key[:2] for key in wide.index}
    if row[1:] not in keys or other.row[1:] not in keys:
        return None
    ours, theirs = wide.loc[row[1:]], wide.loc[other.row[1:]]
    if other.seed is not None:
        theirs = theirs.loc[[other.seed] * len(ours)].set_axis(ours.index)
    seeds = ours.index.intersection(theirs.index)
    if seeds.empty:
        return None
    ours, theirs = ours.loc[seeds], theirs.loc[seeds]
    return (ours - theirs).mask(ours == theirs, 0)  # infinity minus infinity would be NaN


def _judged(cube: np.ndarray, metrics: list[str], confidence: float) -> list[dict[str, Any]]:
    """What is found of differences (seeds, images, metrics), for each metric."""
    seeds, images, _ = cube.shape
    finite = np.isfinite(cube).all(axis=(0, 1)) & (images >= FEWEST)
    low, high = np.full((2, len(metrics)), np.nan)
    if finite.any():
        low[finite], high[finite] = interval(cube[..., finite], confidence)
    with np.errstate(invalid="ignore"):  # plus and minus infinity have no mean: NaN
        of_seed = cube.mean(axis=1)
        change = of_seed.mean(axis=0)
        std = of_seed.std(axis=0, ddof=1) if seeds > 1 else np.full(len(metrics), np.nan)
    return [
        {
            **{"change": change[k], "low": low[k], "high": high[k]},
            "real": _real(low[k], high[k], METRICS[metric].more_is_better),
            **{"images": images, "pairs": seeds, "change_std": std[k]},
        }
        for k, metric in enumerate(metrics)
    ]


def _real(low: float, high: float, more_is_better: bool) -> str:
    if np.isnan(low):
        return ""
    if low <= 0 <= high:
        return "no"
    return "better" if (low > 0) == more_is_better else "worse"


def _warn_of_infinite(pair: pd.DataFrame, what: str) -> None:
    infinite = pair.columns[~np.isfinite(pair).all()]
    for metric, image in infinite:
        log.warning(
            "%s: one of the two gives %s exactly, so the difference of %s is infinite; "
            "no interval is given",
            *(what, image, metric),
        )


def twins(cells: Sequence[Path]) -> dict[Row, Against]:
    """The unweighted twin of each weighted loss: same network and scale, its base without weights.

    What a cell's loss is built on says its cell.json; a folder without one has no twin, and is
    none. The uncertainty-driven loss is built on L1. Where several losses are the twin, the first
    folder's is.

    Raises:
        ValueError: for a cell.json that is no cell's.
    """
    losses = {}
    for path in (folder / "cell.json" for folder in cells):
        if path.exists():
            try:
                cell = json.loads(path.read_text(encoding="utf-8"))
                row = (cell["scale"], cell["backbone_name"], cell["loss_name"])
                losses.setdefault(row, (cell["loss"]["kind"], cell["loss"].get("base", "l1")))
            except (ValueError, TypeError, AttributeError, KeyError) as error:
                raise ValueError(
                    f"{path}: no cell of `tlw cell`: {type(error).__name__}: {error}"
                ) from None
    plain: dict[tuple, Row] = {}
    for row, (kind, base) in losses.items():
        if kind == "pixel":
            plain.setdefault((*row[:2], base), row)
    pairs = {
        row: plain.get((*row[:2], base))
        for row, (kind, base) in losses.items()
        if kind in ("tlw", "udl")
    }
    return {row: Against(twin, twin[2]) for row, twin in pairs.items() if twin is not None}
