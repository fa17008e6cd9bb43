"""What differs between scored cells: each weighted loss and its twin, or all and one."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from tlw.report.marks import MARKS, limits, resampled
from tlw.report.statistics import CONFIDENCE, Against, Row, differences, twins
from tlw.report.tables import all_scores, read_scores
from tlw.report.typeset import headed, pipes
from tlw.runtime.errors import one_of
from tlw.runtime.files import written_aside
from tlw.scoring.columns import ROW

log = logging.getLogger(__name__)


def compare(
    cells: Sequence[Path], *, against: str | None = None, confidence: float = CONFIDENCE
) -> pd.DataFrame:
    """The differences of cells to what they are compared with, see
    `tlw.report.statistics.differences`.

    Args:
        cells: folders with scores.csv.
        against: None: each weighted loss is compared with its unweighted twin. The name of a loss:
            the other losses with it, network by network, seed by seed. The folder of a scored
            cell: all cells of its scale with this one.
        confidence: of the intervals, in (0, 1).

    Raises:
        ValueError: as `tlw.report.tables.all_scores` does; where nothing can be compared.
    """
    folder = None if against is None else Path(against)
    if folder is not None and (folder / "scores.csv").is_file():
        if folder.resolve() not in [cell.resolve() for cell in cells]:
            cells = [*cells, folder]
        scores = all_scores(cells)
        pairs = _against_cell(scores, folder)
    else:
        scores = all_scores(cells)
        pairs = twins(cells) if against is None else _against_loss(scores, against)
    found = differences(scores, pairs, confidence)
    if found.empty:
        expected = (
            "the cells of a weighted loss and of its unweighted twin, each with its cell.json"
            if against is None
            else f"other cells beside those of {against}"
        )
        raise ValueError(
            f"nothing to compare: expected {expected}; of the same scale, and, unless compared "
            "with a folder, of the same network and seed"
        )
    done = set(_rows(found))
    skipped = [
        f"{b} x{scale} {loss}".rstrip() for scale, b, loss in pairs if (scale, b, loss) not in done
    ]
    if skipped:
        more = f" and {len(skipped) - 3} more" if len(skipped) > 3 else ""
        log.warning("not compared, of another scale or seed: %s%s", ", ".join(skipped[:3]), more)
    return found


def write_comparison(
    cells: Sequence[Path],
    output: Path | None,
    *,
    against: str | None = None,
    confidence: float = CONFIDENCE,
) -> str:
    """Writes the differences of `compare` as CSV, if there is an `output`; returns Markdown."""
    found = compare(cells, against=against, confidence=confidence)
    if output is not None:
        with written_aside(output) as aside:
            found.to_csv(aside, index=False)
    return to_markdown(found, confidence)


def to_markdown(differences: pd.DataFrame, confidence: float) -> str:
    """Markdown of differences with their intervals: for each scale a table, a column a metric.

    Args:
        differences: from `tlw.report.statistics.differences`, not empty.
        confidence: of their intervals.
    """

    def show(number: pd.Series) -> str:
        spread = f" ± {number['change_std']:.4f}" if number["pairs"] > 1 else ""
        change = f"{number['change']:+z.4f}{spread}" if pd.notna(number["change"]) else "–"
        if pd.isna(number["low"]):
            return change
        span = f"[{number['low']:+z.4f}, {number['high']:+z.4f}]"
        return f"{change} {span} {MARKS.get(number['real'], '')}".rstrip()

    counts = differences["real"].value_counts()
    given = differences["low"].notna().sum()
    over = resampled(differences)
    parts = [
        f"# Differences with {100 * confidence:.4g} % intervals",
        "The mean over the images of a benchmark, minus that of what stands under Against. In "
        f"brackets its {100 * confidence:.4g} % interval, a paired bootstrap over {over}. "
        f"▲ better, ▼ worse: the interval leaves 0 out. {limits(differences)}",
    ]
    if given:
        parts.append(
            f"Of {given} differences {counts.get('better', 0)} are really better and "
            f"{counts.get('worse', 0)} really worse. Were there none at all, about "
            f"{(1 - confidence) * given:.0f} would be marked nevertheless."
        )
    keys = ["backbone", "loss", "against", "benchmark", "images"]
    for scale, part in differences.groupby("scale"):
        shown = part.assign(shown=part.apply(show, axis=1))
        wide = shown.pivot(index=keys, columns="metric", values="shown")
        rows = dict.fromkeys(part[keys].itertuples(index=False, name=None))
        metrics = list(dict.fromkeys(part["metric"]))
        heads = ["Network", "Loss", "Against", "Benchmark", "Images", *map(headed, metrics)]
        lines = [[row[0], row[1] or "–", *row[2:], *wide.loc[row, metrics]] for row in rows]
        parts += [f"## ×{scale}", pipes(heads, lines)]
    return "\n\n".join(parts) + "\n"


def _against_loss(scores: pd.DataFrame, loss: str) -> dict[Row, Against]:
    rows = _rows(scores)
    losses = list(dict.fromkeys(row[2] for row in rows if row[2]))
    if loss not in losses:
        raise ValueError(
            f"--against: {one_of(loss, losses)}; or the folder of a scored cell, with scores.csv"
        )
    pairs = {row: Against((*row[:2], loss), loss) for row in rows if row[2] != loss}
    return {row: other for row, other in pairs.items() if other.row in rows}


def _against_cell(scores: pd.DataFrame, folder: Path) -> dict[Row, Against]:
    first = read_scores(folder / "scores.csv").iloc[0]
    other = Against(tuple(first[ROW]), folder.resolve().name, first["seed"])
    return {row: other for row in _rows(scores) if row != other.row}


def _rows(scores: pd.DataFrame) -> list[Row]:
    return list(scores[ROW].drop_duplicates().itertuples(index=False, name=None))
