"""Intervals and p-values of mean differences, by Student's t over images and over seeds.

The differences of a benchmark are an array (seeds, images), and their mean is uncertain in two
ways: other images would give another one, and so would other seeds. Each way has its Student
interval: the means over the seeds, one an image, have the half-width t(1 - a/2, n - 1) sd /
sqrt(n), and so have the means over the images, one a seed. The two are added in quadrature. An
axis with one entry adds nothing, and the interval then says nothing about it.

The p-value is the a at which the interval's end touches 0. `docs/statistics.md` has how often such
intervals hold the truth, by `benchmarks/coverage.py`.
"""

from functools import reduce
from typing import Any

import numpy as np
from scipy import optimize, stats

CONFIDENCE = 0.95
_TINIEST = 1e-300  # a p-value; below, the search for it stops


def interval(
    differences: np.ndarray, confidence: float = CONFIDENCE
) -> tuple[np.ndarray, np.ndarray]:
    """Intervals of mean differences, see the module.

    Args:
        differences: finite, (seeds, images, numbers).
        confidence: in (0, 1).

    Returns:
        Lower and upper ends, (numbers,) each; NaN where both axes have one entry.
    """
    mean, errors = _mean_and_errors(differences)
    half = _half_width(errors, 1 - confidence)
    return mean - half, mean + half


def p_value(differences: np.ndarray) -> np.ndarray:
    """Two-sided p-values (numbers,): 1 - the confidence at which the `interval` touches 0.

    NaN where both axes have one entry.
    """
    mean, errors = _mean_and_errors(differences)
    return np.array([_touching(m, [(df, e[k]) for df, e in errors]) for k, m in enumerate(mean)])


def _mean_and_errors(
    differences: np.ndarray,
) -> tuple[np.ndarray, list[tuple[int, np.ndarray]]]:
    """The grand mean, and of each axis its degrees of freedom and the mean's standard error."""
    if not np.isfinite(differences).all():
        raise ValueError("an interval needs finite differences, found some that are not")
    errors = []
    for axis, other in ((0, 1), (1, 0)):
        count = differences.shape[axis]
        if count > 1:
            spread = differences.mean(axis=other).std(axis=0, ddof=1)
            errors.append((count - 1, spread / np.sqrt(count)))
    return differences.mean(axis=(0, 1)), errors


def _half_width(errors: list[tuple[int, Any]], a: float) -> Any:
    parts = [stats.t.isf(a / 2, df) * error for df, error in errors]
    return reduce(np.hypot, parts) if parts else np.nan


def _touching(mean: float, errors: list[tuple[int, float]]) -> float:
    """The a at which the half-width is |mean|: closed for one axis, searched for two."""
    errors = [(df, error) for df, error in errors if error > 0] or errors[:1]
    if not errors:
        return np.nan
    if len(errors) == 1:
        [(df, error)] = errors
        if error == 0:
            return float(mean == 0)
        return 2 * stats.t.sf(abs(mean) / error, df)

    def beyond(log_a: float) -> float:
        return _half_width(errors, np.exp(log_a)) - abs(mean)

    lowest = np.log(_TINIEST)
    if mean == 0 or beyond(lowest) <= 0:
        return float(mean == 0)
    return np.exp(optimize.brentq(beyond, lowest, 0, xtol=1e-12))
