"""The paper's tables from scored cells, with the paper's own numbers and the difference beside.

A table is one long frame, a row for each number of the printed table. Nothing is rounded before it
is printed, see `tlw.report.typeset`.
"""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import SafetensorError, safe_open

from tlw.config.config import Imported
from tlw.config.record import read_record
from tlw.report import cost_table, on_record
from tlw.report.means import table_of
from tlw.report.statistics import SMALLEST, Smallest, baselines
from tlw.report.typeset import to_latex, to_markdown
from tlw.runtime.files import written_aside
from tlw.scoring.columns import METRICS, ROW, guarded, unguarded

PUBLISHED = Path(__file__).with_name("published.csv")  # this paper's Tables I and II


def read_scores(path: Path) -> pd.DataFrame:
    """A CSV of `tlw evaluate`, see `tlw.scoring.evaluate`; ValueError for another file, or a lost
    score.
    """
    text = ["backbone", "loss", "seed", "protocol", "benchmark", "image"]
    if not path.is_file():
        raise ValueError(f"{path}: no such file; `tlw evaluate` makes it")
    scores = _read_csv(path, "scores", dict.fromkeys(text, str))
    metrics = [metric for metric in METRICS if metric in scores.columns]
    missing = [column for column in ["scale", *text] if column not in scores.columns]
    if missing or not metrics or scores.empty:
        lacks = ", ".join(missing) or ("images" if metrics else "a metric")
        raise ValueError(f"{path}: no scores of `tlw evaluate`: lacks {lacks}")
    for column in text:
        scores[column] = unguarded(scores[column])
    if not scores["scale"].isin((2, 3, 4)).all():
        found = scores["scale"][~scores["scale"].isin((2, 3, 4))].iloc[0]
        raise ValueError(f"{path}: expected 2, 3 or 4 as scale, found '{found}'")
    for metric in metrics:
        _require_numbers(scores, metric, path, of="image", infinite=metric == "psnr_y")
    return scores


def _read_csv(path: Path, what: str, types: dict[str, type] | None = None) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, keep_default_na=False, dtype=types)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as {what}: {error}") from None
    if not isinstance(table.index, pd.RangeIndex):  # pandas takes the first fields for names
        raise ValueError(f"{path}: cannot be read as {what}: a line has more fields than the head")
    return table


def _require_numbers(
    table: pd.DataFrame, column: str, path: Path, *, of: str, infinite: bool = False
) -> None:
    """Raises ValueError for what is no finite number; `infinite` allows a PSNR of infinity."""
    numbers = pd.to_numeric(table[column], errors="coerce")
    wrong = ~(numbers.abs() < math.inf) & ~(infinite & (numbers == math.inf))
    if wrong.any():
        found, where = (table.loc[wrong, key].iloc[0] for key in (column, of))
        raise ValueError(f"{path}: expected numbers as {column}, found '{found}' for {where}")


def read_published(path: Path, number: int) -> pd.DataFrame:
    """The paper's Table I (1) or II (2), and its bicubic rows, in the long form of a table.

    Raises:
        ValueError: for a file without the columns of tlw/report/published.csv.
    """
    columns = ["table", "scale", "backbone", "loss", "dataset", "psnr_y", "lpips"]
    published = _read_csv(path, "the paper's numbers")
    if list(published.columns) != columns:
        raise ValueError(f"{path}: expected columns {columns}, found {list(published.columns)}")
    for column in ("table", "scale", "psnr_y", "lpips"):
        _require_numbers(published, column, path, of="dataset")
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
        imported = Imported.parse(json.loads(metadata["imported"]), "imported", imports=False)
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
    check_images(scores)
    return scores


def scores_table(
    cells: Sequence[Path], published: pd.DataFrame | None = None, smallest: Smallest = SMALLEST
) -> pd.DataFrame:
    """The numbers of scored cells, see `tlw.report.means.table_of`.

    Args:
        cells: folders with scores.csv, in the order in which the rows of a scale are to stand;
            weighted losses are compared with their unweighted baselines.
        published: the paper's numbers, from `read_published`.
        smallest: the smallest differences of interest.

    Raises:
        ValueError: as `all_scores` does.
    """
    return table_of(all_scores(cells), baselines(cells), published, smallest)


def check_images(scores: pd.DataFrame) -> None:
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


def write_tables(
    cells: Sequence[Path],
    output: Path,
    *,
    title: str,
    published: Path = PUBLISHED,
    number: int | None,
    left_out: Sequence[str] = (),
    note: str = "",
    smallest: Smallest = SMALLEST,
) -> str:
    """Writes OUTPUT.csv, .md, .tex and OUTPUT_cells.csv; the Markdown is returned, too.

    Args:
        cells: folders in the order of the rows.
        output: path without suffix.
        title: the caption.
        published: CSV of the paper's numbers.
        number: the paper's table to compare with, 1 or 2; None for none.
        left_out: benchmarks whose images are not at hand, which the tables say.
        note: a sentence below the table, in LaTeX part of its caption.
        smallest: differences below these carry no mark.

    Raises:
        ValueError: as `all_scores` and `read_costs` do; for scores of a benchmark that is left out;
            for a title or a folder whose name is no UTF-8.
    """
    require_utf8([title, *left_out, *(folder.name for folder in cells)])
    known = None if number is None else read_published(published, number)
    table, records = scores_table(cells, known, smallest), read_records(cells)
    stale = set(left_out) & set(table["benchmark"])
    if stale:
        raise ValueError(f"--left-out: the cells have scores of {', '.join(sorted(stale))}")
    text = to_markdown(table, title, left_out, smallest) + on_record.to_markdown(records)
    text += cost_table.to_markdown(cost_table.read_costs(cells))
    text += f"\n{note}\n" if note else ""
    caption = f"{title}. {note.rstrip('.')}" if note else title
    for suffix, content in {
        ".csv": guarded(table).to_csv(index=False),
        ".md": text,
        ".tex": to_latex(table, caption, left_out, smallest),
        "_cells.csv": guarded(records).to_csv(index=False),
    }.items():
        with written_aside(output.with_name(output.name + suffix)) as aside:
            aside.write_text(content, encoding="utf-8")
    return text


def require_utf8(names: Iterable[str]) -> None:
    """Raises ValueError, before any work, for a name that no file of ours could hold."""
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ValueError(f"expected a name in UTF-8, found {name!r}; rename it") from None
