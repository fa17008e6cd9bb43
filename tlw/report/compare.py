"""What differs between scored cells: each weighted loss and its baseline, or all and one."""

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from tlw.report.intervals import CONFIDENCE
from tlw.report.statistics import SMALLEST, Against, Row, Smallest, baselines, differences
from tlw.report.tables import all_scores, read_scores, require_utf8
from tlw.report.typeset import exact_images, headed, mark, notes_of_marks, pipes
from tlw.runtime.errors import one_of
from tlw.runtime.files import written_aside
from tlw.scoring.columns import ROW, guarded

log = logging.getLogger(__name__)

ITSELF = "itself"


def compare(
    cells: Sequence[Path],
    *,
    against: str | None = None,
    confidence: float = CONFIDENCE,
    smallest: Smallest = SMALLEST,
) -> pd.DataFrame:
    """The differences of cells to what they are compared with, see
    `tlw.report.statistics.differences`. What cannot be compared is told in warnings.

    Args:
        cells: folders with scores.csv.
        against: None: each weighted loss is compared with its unweighted baseline. The name of a
            loss: the other losses with it, network by network, seed by seed. "itself": the seeds of
            each row with each other, every first one of two with the second: what is marked there
            is chance. The folder of a scored cell: all cells of its scale with this one.
        confidence: of the intervals, in (0, 1).
        smallest: differences below these carry no mark.

    Raises:
        ValueError: as `tlw.report.tables.all_scores` does; where nothing can be compared.
    """
    require_utf8([against or "", *(folder.name for folder in cells)])
    folder = None if against is None else Path(against)
    if folder is not None and (folder / "scores.csv").is_file():
        if folder.resolve() not in [cell.resolve() for cell in cells]:
            cells = [*cells, folder]
        scores = all_scores(cells)
        pairs = _against_cell(scores, folder)
    else:
        scores = all_scores(cells)
        if against == ITSELF:
            pairs = _against_itself(scores)
        else:
            pairs = baselines(cells) if against is None else _against_loss(scores, against)
    found = differences(scores, pairs, confidence, smallest)
    reasons = list(_left_out(scores, pairs, found))
    if found.empty:
        raise ValueError("; ".join([f"nothing to compare: {_expected(against)}", *reasons[:3]]))
    for reason in reasons:
        log.warning("not compared: %s", reason)
    return found


def _expected(against: str | None) -> str:
    if against is None:
        return "expected the cells of a weighted loss and of its baseline, each with its cell.json"
    if against == ITSELF:
        return "expected two seeds or more of a network"
    return f"expected other cells beside those of {against}"


def _left_out(
    scores: pd.DataFrame, pairs: Mapping[Row, Against], found: pd.DataFrame
) -> Iterator[str]:
    """What could not be compared, and why: other scales, benchmarks, seeds."""
    has: dict[tuple, dict[str, None]] = defaultdict(dict)
    seeds: dict[tuple, dict[str, None]] = defaultdict(dict)
    lines = scores[[*ROW, "benchmark", "seed"]].drop_duplicates()
    for *row, benchmark, seed in lines.itertuples(index=False, name=None):
        has[tuple(row)][benchmark] = seeds[tuple(row)][seed] = None
    done = set(found[[*ROW, "benchmark"]].itertuples(index=False, name=None))
    for row, other in pairs.items():
        told, sides = f"{_named(row)} with {other.name}", (has[row], has[other.row])
        if row[0] != other.row[0]:
            yield f"{told}, of another scale"
        elif not set(sides[0]) & set(sides[1]):
            yield f"{told}, which have no benchmark in common: {' and '.join(map(_list, sides))}"
        elif not any((*row, benchmark) in done for benchmark in sides[0]):
            ours, theirs = _list(seeds[row]), _list(seeds[other.row])
            yield f"{told}, which have no seed in common: {ours} and {theirs}"
        else:
            for which, lacks, has_it in ((row, *sides), (other.row, *sides[::-1])):
                missing = [benchmark for benchmark in has_it if benchmark not in lacks]
                if missing:
                    yield f"{told} on {', '.join(missing)}, which {_named(which)} lacks"
            alone = [] if other.seeds else sorted(set(seeds[row]) ^ set(seeds[other.row]))
            if alone:
                yield f"{told} at seed {', '.join(alone)}, which only one of them has"


def _named(row: Row) -> str:
    scale, backbone, loss = row
    return f"{backbone} x{scale} {loss}".rstrip()


def _list(names: Mapping[str, None]) -> str:
    return ", ".join(filter(None, names)) or "none"


def write_comparison(
    cells: Sequence[Path],
    output: Path | None,
    *,
    against: str | None = None,
    confidence: float = CONFIDENCE,
    smallest: Smallest = SMALLEST,
) -> str:
    """Writes the differences of `compare` as CSV, if there is an `output`; returns Markdown."""
    found = compare(cells, against=against, confidence=confidence, smallest=smallest)
    if output is not None:
        with written_aside(output) as aside:
            guarded(found).to_csv(aside, index=False)
    return to_markdown(found, confidence, smallest)


def to_markdown(differences: pd.DataFrame, confidence: float, smallest: Smallest) -> str:
    """Markdown of differences with their intervals: for each scale a table, a column a metric.

    Args:
        differences: from `tlw.report.statistics.differences`, not empty.
        confidence: of their intervals.
        smallest: what they were judged by.
    """

    def show(number: pd.Series) -> str:
        if pd.isna(number["change"]):
            return "–"
        spread = f" ± {number['change_std']:.4f}" if number["pairs"] > 1 else ""
        change = f"{number['change']:+z.4f}{spread}"
        if pd.isna(number["low"]):
            return change
        span = f"[{number['low']:+z.4f}, {number['high']:+z.4f}]"
        return f"{change} {span} {mark(number, confidence)}".rstrip()

    level = f"{100 * confidence:.4g} %"
    parts = [
        f"# Differences with {level} intervals",
        "The mean over the images of a benchmark, minus that of what stands under Against, on the "
        f"seeds that both have. In brackets its {level} interval.",
        *notes_of_marks(differences, confidence, smallest),
        *exact_images(differences),
    ]
    keys = ["backbone", "loss", "against", "benchmark"]
    for scale, part in differences.groupby("scale"):
        shown = part.assign(shown=part.apply(show, axis=1))
        wide = shown.pivot(index=keys, columns="metric", values="shown")
        metrics = list(dict.fromkeys(part["metric"]))
        heads = ["Network", "Loss", "Against", "Benchmark", "Images", "Seeds"]
        lines = []
        for row, numbers in part.groupby(keys, sort=False):
            images = numbers["common_images"].max()
            told = [row[0], row[1] or "–", *row[2:], images, _seeds(numbers.iloc[0])]
            lines.append([*told, *wide.loc[row, metrics]])
        parts += [f"## ×{scale}", pipes([*heads, *map(headed, metrics)], lines)]
    return "\n\n".join(parts) + "\n"


def _seeds(number: pd.Series) -> str:
    """How many trained networks stand on each side: one number where they are as many."""
    ours, theirs = number["pairs"], number["against_seeds"]
    return f"{ours}" if ours == theirs else f"{ours} against {theirs or 'none'}"


def _against_loss(scores: pd.DataFrame, loss: str) -> dict[Row, Against]:
    rows = _rows(scores)
    losses = list(dict.fromkeys(row[2] for row in rows if row[2]))
    if loss not in losses:
        raise ValueError(
            f"--against: {one_of(loss, losses)}; or {ITSELF}; or the folder of a scored cell, with "
            "scores.csv"
        )
    pairs = {row: Against((*row[:2], loss), loss) for row in rows if row[2] != loss}
    return {row: other for row, other in pairs.items() if other.row in rows}


def _against_cell(scores: pd.DataFrame, folder: Path) -> dict[Row, Against]:
    first = read_scores(folder / "scores.csv").iloc[0]
    row, seed = tuple(first[ROW]), first["seed"]
    pairs = {
        mine: tuple((other, seed) for other in seeds if (mine, other) != (row, seed))
        for mine, seeds in _seeds_of(scores).items()
    }
    name = folder.resolve().name
    return {mine: Against(row, name, seeds) for mine, seeds in pairs.items() if seeds}


def _against_itself(scores: pd.DataFrame) -> dict[Row, Against]:
    seeds_of = {row: seeds for row, seeds in _seeds_of(scores).items() if len(seeds) > 1}
    return {
        row: Against(row, ITSELF, tuple(zip(seeds[::2], seeds[1::2], strict=False)))
        for row, seeds in seeds_of.items()
    }


def _seeds_of(scores: pd.DataFrame) -> dict[Row, list[str]]:
    return {
        row: list(scores["seed"][(scores[ROW] == list(row)).all(axis=1)].unique())
        for row in _rows(scores)
    }


def _rows(scores: pd.DataFrame) -> list[Row]:
    return list(scores[ROW].drop_duplicates().itertuples(index=False, name=None))
