"""What the paper claims, as comparisons of trained cells, and what decides them.

The rules are those of docs/reproduction.md, written down before the trainings that they judge.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from tlw.report.statistics import SMALLEST, Against, Row, corrected, differences
from tlw.scoring.columns import METRICS, ROW

Outcome = Literal["better", "worse", "no gain", "open"]
Verdict = Literal["reproduced", "not reproduced", "undecided"]
OUTCOMES: tuple[Outcome, ...] = ("better", "worse", "no gain", "open")
SIGNIFICANCE = 0.05  # of corrected p-values
FEWEST_SEEDS = 3


@dataclass(frozen=True)
class Claim:
    """A loss that is said to be better than another, in some metrics."""

    name: str
    words: str
    published: str  # how often it is so in the paper, counted in published.csv
    pairs: tuple[tuple[str, str], ...]  # (loss, what it is compared with)
    metrics: tuple[str, ...]


CLAIMS = (
    Claim(
        "C1",
        "TLW has a lower LPIPS than its unweighted loss",
        "79 of 95 pairs",
        (("l1-tlw", "l1"), ("mse-tlw", "mse")),
        ("lpips_vgg",),
    ),
    Claim(
        "C2",
        "TLW has a higher PSNR than its unweighted loss",
        "72 of 95 pairs",
        (("l1-tlw", "l1"), ("mse-tlw", "mse")),
        ("psnr_y",),
    ),
    Claim(
        "C3",
        "L1-TLW is better than L1-UDL",
        "5 of 5 pairs, in both",
        (("l1-tlw", "l1-udl"),),
        ("lpips_vgg", "psnr_y"),
    ),
)
CONTROLS = ("l1-random", "l1-frozen", "l1-uniform", "l1-scaled", "l1-lpips", "l1-long")


def compared(
    scores: pd.DataFrame, pairs: Sequence[tuple[str, str]], metrics: Sequence[str]
) -> pd.DataFrame:
    """The differences of pairs of losses, of every network that has both, as one family.

    Args:
        scores: of one study, see `tlw.report.reproduced.in_study`.
        pairs: (loss, what it is compared with).
        metrics: those that count.

    Returns:
        The columns of `tlw.report.statistics.differences`, with p_corrected over all of these rows,
        and outcome, see `outcome`.
    """
    rows = set(scores[ROW].drop_duplicates().itertuples(index=False, name=None))
    found = []
    for loss, other in pairs:
        against: dict[Row, Against] = {
            row: Against((row[0], row[1], other), other)
            for row in sorted(rows)
            if row[2] == loss and (row[0], row[1], other) in rows
        }
        found.append(differences(scores, against))
    table = pd.concat(found, ignore_index=True)
    table = corrected(table[table["metric"].isin(metrics)].reset_index(drop=True))
    return table.assign(outcome=[outcome(row) for _, row in table.iterrows()])


def outcome(difference: pd.Series) -> Outcome:
    """What one pair says: see docs/reproduction.md, "What a pair says"."""
    d, more_is_better = difference, METRICS[difference["metric"]].more_is_better
    if d["significant"] in ("better", "worse") and d["p_corrected"] <= SIGNIFICANCE:
        return d["significant"]
    largest_gain = d["high"] if more_is_better else -d["low"]
    if d["significant"] and largest_gain < SMALLEST.of(d["metric"]):
        return "no gain"
    return "open"


def verdict(table: pd.DataFrame) -> Verdict:
    """What the pairs of a claim decide: see docs/reproduction.md, "When a claim is decided"."""
    if table.empty or table["pairs"].min() < FEWEST_SEEDS:
        return "undecided"
    counts = table["outcome"].value_counts()
    better, worse, none = (counts.get(word, 0) for word in ("better", "worse", "no gain"))
    if better > len(table) / 2 and not worse:
        return "reproduced"
    return "not reproduced" if worse + none > len(table) / 2 else "undecided"
