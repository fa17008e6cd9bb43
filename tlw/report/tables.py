"""The paper's tables from scored cells, with the paper's own numbers and the difference beside.

A table is one long frame, a row for each number of the printed table. Nothing is rounded before it
is printed, see `tlw.report.typeset`.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import SafetensorError, safe_open

from tlw.config.config import Imported
from tlw.config.record import read_record
from tlw.report.statistics import Against, Row, differences, twins
from tlw.report.typeset import to_latex, to_markdown
from tlw.runtime.files import written_aside
from tlw.scoring.columns import METRICS, NUMBER, ROW


def read_scores(path: Path) -> pd.DataFrame:
    """A CSV of `tlw evaluate`, see `tlw.scoring.evaluate`; ValueError for another file, or a lost
    score.
    """
    text = ["backbone", "loss", "seed", "protocol", "benchmark", "image"]
    if not path.is_file():
        raise ValueError(f"{path}: no such file; `tlw evaluate` makes it")
    try:
        scores = pd.read_csv(path, keep_default_na=False, dtype=dict.fromkeys(text, str))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as scores: {error}") from None
    metrics = [metric for metric in METRICS if metric in scores.columns]
    missing = [column for column in ["scale", *text] if column not in scores.columns]
    if missing or not metrics or scores.empty:
        lacks = ", ".join(missing) or ("images" if metrics else "a metric")
        raise ValueError(f"{path}: no scores of `tlw evaluate`: lacks {lacks}")
    for metric in metrics:
        numbers = pd.to_numeric(scores[metric], errors="coerce")
        if numbers.isna().any():
            image = scores["image"][numbers.isna()].iloc[0]
            raise ValueError(f"{path}: expected numbers as {metric}, found none for {image}")
    return scores


def read_published(path: Path, number: int) -> pd.DataFrame:
    """The paper's Table I (1) or II (2), and its bicubic rows, in the long form of a table.

    Raises:
        ValueError: for a file without the columns of resources/published.csv.
    """
    columns = ["table", "scale", "backbone", "loss", "dataset", "psnr_y", "lpips"]
    try:
        published = pd.read_csv(path, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as the paper's numbers: {error}") from None
    if list(published.columns) != columns:
        raise ValueError(f"{path}: expected columns {columns}, found {list(published.columns)}")
    chosen = published[(published["table"] == number) | (published["backbone"] == "bicubic")]
    chosen = chosen.rename(columns={"dataset": "benchmark", "lpips": "lpips_vgg"})
    return chosen.melt([*ROW, "benchmark"], ["psnr_y", "lpips_vgg"], "metric", "paper")


def read_records(cells: Sequence[Path]) -> pd.DataFrame:
    """What is on record of each trained cell, see `tlw.config.record`.

    Imported weights say themselves where they come from, in the columns source and sha256.

    Raises:
        ValueError: for a file that is no record of `tlw train`, or no weights.
    """
    rows = []
    for path in (folder / "record.json" for folder in cells):
        if not path.exists():  # it was not trained here
            rows += _imported(path.with_name("weights.safetensors"))
        else:
            rows.append(read_record(path).row())
    return pd.DataFrame(rows, dtype=object)  # whole numbers stay whole beside what has none


def _imported(weights: Path) -> list[dict[str, Any]]:
    """Where imported weights come from, in a row; none for others, or without a file."""
    if not weights.exists():
        return []
    try:
        with safe_open(weights, framework="numpy") as file:
            metadata = file.metadata() or {}
            shapes = [file.get_slice(key).get_shape() for key in file.keys()]  # noqa: SIM118
        if "imported" not in metadata:
            return []
        imported = Imported.parse(json.loads(metadata["imported"]), "imported")
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{weights}: cannot be read as weights: {error}") from None
    origin = {"source": imported.source, "sha256": imported.sha256}
    return [{"cell": weights.parent.name, "parameters": sum(map(math.prod, shapes))} | origin]


def all_scores(cells: Sequence[Path]) -> pd.DataFrame:
    """The scores of several cells, which compare.

    Raises:
        ValueError: for scores of different protocols or of different images, the same cell twice,
            a row with seeds and without, or a file that holds no scores.
    """
    scores = pd.concat([read_scores(folder / "scores.csv") for folder in cells], ignore_index=True)
    protocols = list(scores["protocol"].unique())
    if len(protocols) != 1:
        raise ValueError(f"scores of different protocols do not compare: {', '.join(protocols)}")
    _check_images(scores)
    return scores


def scores_table(cells: Sequence[Path], published: pd.DataFrame | None = None) -> pd.DataFrame:
    """Scores of cells, averaged over images, then over seeds.

    Args:
        cells: folders with scores.csv, in the order in which the rows of a scale are to stand.
        published: the paper's numbers, from `read_published`.

    Returns:
        Columns scale, backbone, loss, benchmark, metric, ours, seeds (how many; 0 for what was not
        trained here), std (over the seeds, NaN for one), paper, difference (ours - paper, NaN where
        the paper has none), best (of the losses of a backbone at a scale), protocol; and of
        weighted losses against their unweighted twins the columns of
        `tlw.report.statistics.differences`, NaN where there is no twin.

    Raises:
        ValueError: as `all_scores` does.
    """
    return table_of(all_scores(cells), twins(cells), published)


def table_of(
    scores: pd.DataFrame, against: Mapping[Row, Against], published: pd.DataFrame | None = None
) -> pd.DataFrame:
    """`scores_table` of scores that are in memory; `against` as for `differences`."""
    protocol = scores["protocol"].iloc[0]
    metrics = [metric for metric in METRICS if metric in scores.columns]
    long = scores.melt([*ROW, "seed", "benchmark"], metrics, "metric", "ours")
    of_seed = long.groupby([*NUMBER, "seed"], sort=False)["ours"].mean()
    table = of_seed.groupby(level=NUMBER, sort=False).agg(["mean", "count", "std"])
    table.columns = ["ours", "seeds", "std"]
    table = table.reset_index()
    table["seeds"] *= _are_trained(table, scores)
    comparable = published is not None and protocol == "paper"
    paper = published.set_index(NUMBER)["paper"].to_dict() if comparable else {}
    keys = table[NUMBER].itertuples(index=False, name=None)
    table["paper"] = [paper.get(key, float("nan")) for key in keys]
    table["difference"] = table["ours"] - table["paper"]
    table["best"] = _is_best(table)
    table["protocol"] = protocol
    table = table.merge(differences(scores, against), on=NUMBER, how="left")
    table = table.astype({"images": "Int64", "pairs": "Int64"})  # not 5.0 in the CSV
    return table.sort_values("scale", kind="stable", ignore_index=True)


def _check_images(scores: pd.DataFrame) -> None:
    """Means compare only where every cell was scored once, and on the same images."""
    images_of: dict[tuple, tuple[str, list[str]]] = {}
    for (*row, seed, benchmark), part in scores.groupby([*ROW, "seed", "benchmark"], sort=False):
        scale, backbone, loss = row
        cell = " ".join([backbone, f"x{scale}", *filter(None, [loss, seed and f"seed {seed}"])])
        images = sorted(part["image"])
        if len(set(images)) != len(images):
            raise ValueError(
                f"{cell} has two scores for an image of {benchmark}: is it there twice?"
            )
        first, expected = images_of.setdefault((scale, benchmark), (cell, images))
        if images != expected:
            raise ValueError(
                f"{first} and {cell} were scored on different images of {benchmark}: "
                f"{len(expected)} and {len(images)} of them; evaluate them on the same pairs"
            )


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


def _is_best(table: pd.DataFrame) -> list[bool]:
    """Whether a number is the best of its backbone's losses; a lone row is not called best."""
    groups = table.groupby(["scale", "backbone", "benchmark", "metric"], sort=False)["ours"]
    high, low, size = (groups.transform(f) for f in ("max", "min", "size"))
    more = table["metric"].map({name: metric.more_is_better for name, metric in METRICS.items()})
    return ((table["ours"] == high.where(more, low)) & (size > 1)).tolist()


def write_tables(
    cells: Sequence[Path],
    output: Path,
    *,
    title: str,
    published: Path,
    number: int | None,
    left_out: Sequence[str] = (),
) -> str:
    """Writes OUTPUT.csv, .md, .tex and OUTPUT_cells.csv; the Markdown is returned, too.

    Args:
        cells: folders in the order of the rows.
        output: path without suffix.
        title: the caption.
        published: CSV of the paper's numbers.
        number: the paper's table to compare with, 1 or 2; None for none.
        left_out: benchmarks whose images are not at hand, which the tables say.

    Raises:
        ValueError: as `all_scores` does; for scores of a benchmark that is left out.
    """
    known = None if number is None else read_published(published, number)
    table, records = scores_table(cells, known), read_records(cells)
    stale = set(left_out) & set(table["benchmark"])
    if stale:
        raise ValueError(f"--left-out: the cells have scores of {', '.join(sorted(stale))}")
    text = to_markdown(table, title, records, left_out)
    for suffix, content in {
        ".csv": table.to_csv(index=False),
        ".md": text,
        ".tex": to_latex(table, title, left_out),
        "_cells.csv": records.to_csv(index=False),
    }.items():
        with written_aside(output.with_name(output.name + suffix)) as aside:
            aside.write_text(content, encoding="utf-8")
    return text
