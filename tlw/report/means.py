"""The numbers of a table: means over images and seeds, the best of them, and what they rest on."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from tlw.report.statistics import SMALLEST, Against, Row, Smallest, corrected, differences
from tlw.scoring.columns import METRICS, NUMBER, ROW


def table_of(
    scores: pd.DataFrame,
    against: Mapping[Row, Against],
    published: pd.DataFrame | None = None,
    smallest: Smallest = SMALLEST,
) -> pd.DataFrame:
    """Scores averaged over images, then over seeds, a row for each number of the printed table.

    An image whose PSNR is infinite at one of a row's seeds is left out of that row's PSNR.

    Args:
        scores: of all cells, checked by `tlw.report.tables.all_scores`.
        against: what rows are compared with, as for `differences`.
        published: the paper's numbers, from `tlw.report.tables.read_published`.
        smallest: what is nearer to the best number than this is best, too, and is never marked.

    Returns:
        Columns scale, backbone, loss, benchmark, metric, ours (infinite where every image is left
        out), seeds (how many; 0 for what was not trained here), of_seeds (which), std (over the
        seeds, NaN for one), images (how many the mean is over), left_out (names of the others),
        paper, difference (ours - paper, NaN where the paper has none), best (of the losses of a
        backbone at a scale), protocol; then the columns of `differences`, NaN where nothing is
        compared. What rests on different seeds or images is neither best nor compared.
    """
    protocol = scores["protocol"].iloc[0]
    table = _means(scores)
    table["seeds"] *= _are_trained(table, scores)
    paper = {}
    if published is not None and protocol == "paper":
        paper = published.set_index(NUMBER)["paper"].to_dict()
    table["paper"] = [paper.get(key, np.nan) for key in _keys(table)]
    table["difference"] = (table["ours"] - table["paper"]).where(np.isfinite(table["ours"]))
    table["best"] = _is_best(table, smallest)
    table["protocol"] = protocol
    found = _of_the_same(differences(scores, against, smallest=smallest), table, against)
    table = table.merge(found.drop(columns=["common_images", "left_out"]), on=NUMBER, how="left")
    table = table.astype({"pairs": "Int64", "against_seeds": "Int64"})  # not 5.0 in the CSV
    return table.sort_values("scale", kind="stable", ignore_index=True)


def _keys(table: pd.DataFrame) -> list[tuple]:
    return list(table[NUMBER].itertuples(index=False, name=None))


def _means(scores: pd.DataFrame) -> pd.DataFrame:
    metrics = [metric for metric in METRICS if metric in scores.columns]
    long = scores.melt([*ROW, "seed", "benchmark", "image"], metrics, "metric", "ours")
    exact = np.isinf(long["ours"])
    exact = exact.groupby([long[key] for key in [*NUMBER, "image"]]).transform("any")
    long["left_out"] = long["image"].where(exact, "")
    long["ours"] = long["ours"].mask(exact)
    of_seed = long.groupby([*NUMBER, "seed"], sort=False)["ours"].mean()
    table = of_seed.groupby(level=NUMBER, sort=False).agg(["mean", "size", "std"])
    table.columns = ["ours", "seeds", "std"]
    table["ours"] = table["ours"].fillna(np.inf)
    of_number = long.groupby(NUMBER, sort=False)
    table.insert(2, "of_seeds", of_number["seed"].unique().map(" ".join))
    table["images"] = long[~exact].groupby(NUMBER)["image"].nunique().reindex(table.index).fillna(0)
    table["left_out"] = of_number["left_out"].unique().map(lambda x: ", ".join(filter(None, x)))
    return table.astype({"images": int}).reset_index()


def _are_trained(table: pd.DataFrame, scores: pd.DataFrame) -> list[bool]:
    """Whether a number is of networks trained here: these have seeds, and no others beside them."""
    without = scores["seed"] == ""
    foreign, trained = (
        set(part[ROW].itertuples(index=False, name=None))
        for part in (scores[without], scores[~without])
    )
    for scale, backbone, loss in foreign & trained:
        raise ValueError(
            f"{backbone} x{scale} {loss} was trained here, with a seed, and comes from elsewhere, "
            "too: give one of them another name"
        )
    return [row in trained for row in table[ROW].itertuples(index=False, name=None)]


def _is_best(table: pd.DataFrame, smallest: Smallest) -> pd.Series:
    """Whether a number is the best of its backbone's losses, or as good as that.

    A lone row is not called best, nor is any where the rows rest on different seeds or images.
    """
    groups = table.groupby(["scale", "backbone", "benchmark", "metric"], sort=False)
    high, low, size = (groups["ours"].transform(f) for f in ("max", "min", "size"))
    more = table["metric"].map({name: metric.more_is_better for name, metric in METRICS.items()})
    away = (table["ours"] - high.where(more, low)).abs()
    near = (away == 0) | (away < table["metric"].map(smallest.of))
    alike = groups[["of_seeds", "left_out"]].transform("nunique").eq(1).all(axis=1)
    return near & (size > 1) & alike


def _of_the_same(
    found: pd.DataFrame, table: pd.DataFrame, against: Mapping[Row, Against]
) -> pd.DataFrame:
    """The differences whose two sides rest on the same seeds and images, as their means do."""
    rests = table.set_index(NUMBER)[["of_seeds", "left_out"]]
    same = [
        tuple(rests.loc[key]) == tuple(rests.loc[*against[key[:3]].row, *key[3:]])
        for key in _keys(found)
    ]
    return corrected(found[np.array(same, dtype=bool)])
