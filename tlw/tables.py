"""The paper's tables from scored cells, with the paper's own numbers and the difference beside.

A table is one long frame, a row for each number of the printed table. Nothing is rounded before it
is printed.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from tlw.evaluate import read_scores
from tlw.files import written_aside

# How a metric is headed, its decimals, and whether more is better.
METRICS = {
    "psnr_y": ("PSNR", 4, True),
    "ssim_y": ("SSIM", 4, True),
    "lpips_alex": ("LPIPS alex", 4, False),
    "lpips_vgg": ("LPIPS vgg", 4, False),
}
_ROW = ["scale", "backbone", "loss"]
_NUMBER = [*_ROW, "benchmark", "metric"]


def scores_table(cells: Sequence[Path], published: pd.DataFrame | None = None) -> pd.DataFrame:
    """Scores of cells, averaged over images, then over seeds.

    Args:
        cells: folders with scores.csv, in the order in which the rows are to stand.
        published: the paper's numbers, from `read_published`.

    Returns:
        Columns scale, backbone, loss, benchmark, metric, ours, seeds (how many), std (over the
        seeds, NaN for one), paper, difference (ours - paper, NaN where the paper has none), best
        (of the losses of a backbone at a scale), protocol.

    Raises:
        ValueError: for scores of different protocols, or a file that holds none.
    """
    scores = pd.concat([read_scores(folder / "scores.csv") for folder in cells], ignore_index=True)
    protocols = list(scores["protocol"].unique())
    if len(protocols) != 1:
        raise ValueError(f"scores of different protocols do not compare: {', '.join(protocols)}")
    metrics = [metric for metric in METRICS if metric in scores.columns]
    long = scores.melt([*_ROW, "seed", "benchmark"], metrics, "metric", "ours")
    of_seed = long.groupby([*_NUMBER, "seed"], sort=False)["ours"].mean()
    table = of_seed.groupby(level=_NUMBER, sort=False).agg(["mean", "count", "std"])
    table.columns = ["ours", "seeds", "std"]
    table = table.reset_index()
    comparable = published is not None and protocols[0] == "paper"
    paper = published.set_index(_NUMBER)["paper"].to_dict() if comparable else {}
    keys = table[_NUMBER].itertuples(index=False, name=None)
    table["paper"] = [paper.get(key, float("nan")) for key in keys]
    table["difference"] = table["ours"] - table["paper"]
    table["best"] = _is_best(table)
    table["protocol"] = protocols[0]
    return table


def read_published(path: Path, number: int) -> pd.DataFrame:
    """The paper's Table I (1) or II (2), and its bicubic rows, in the long form of a table.

    Raises:
        ValueError: for a file without the columns of resources/published.csv.
    """
    published = pd.read_csv(path, keep_default_na=False)
    columns = ["table", "scale", "backbone", "loss", "dataset", "psnr_y", "lpips"]
    if list(published.columns) != columns:
        raise ValueError(f"{path}: expected columns {columns}, found {list(published.columns)}")
    chosen = published[(published["table"] == number) | (published["backbone"] == "bicubic")]
    chosen = chosen.rename(columns={"dataset": "benchmark", "lpips": "lpips_vgg"})
    return chosen.melt([*_ROW, "benchmark"], ["psnr_y", "lpips_vgg"], "metric", "paper")


def read_records(cells: Sequence[Path]) -> pd.DataFrame:
    """What is on record of each trained cell: its row of `record.json`, versions in one column."""
    rows = []
    for folder in cells:
        path = folder / "record.json"
        if path.exists():  # bicubic was not trained
            record = json.loads(path.read_text())
            record["versions"] = " ".join(f"{k} {v}" for k, v in record["versions"].items())
            record["pairs"] = " ".join(f"{k} {v[:12]}" for k, v in record["pairs"].items())
            rows.append(record)
    return pd.DataFrame(rows)


def write_tables(
    cells: Sequence[Path], output: Path, *, title: str, published: Path | None, number: int | None
) -> str:
    """Writes OUTPUT.csv, .md, .tex and OUTPUT_cells.csv; the Markdown is returned, too.

    Args:
        cells: folders in the order of the rows.
        output: path without suffix.
        title: the caption.
        published: CSV of the paper's numbers.
        number: the paper's table to compare with, 1 or 2; None for none.
    """
    known = read_published(published, number) if published and number else None
    table, records = scores_table(cells, known), read_records(cells)
    text = to_markdown(table, records, title)
    for suffix, content in {
        ".csv": table.to_csv(index=False),
        ".md": text,
        ".tex": to_latex(table, title),
        "_cells.csv": records.to_csv(index=False),
    }.items():
        with written_aside(output.with_name(output.name + suffix)) as aside:
            aside.write_text(content)
    return text


def to_markdown(table: pd.DataFrame, records: pd.DataFrame, title: str) -> str:
    """The table as Markdown: "**ours** (paper, difference)", and the cells' records below it."""

    def show(number: pd.Series) -> str:
        ours = _ours(number)
        ours = f"**{ours}**" if number["best"] else ours
        return f"{ours} ({', '.join(_paper(number))})" if _has_paper(number) else ours

    wide = _wide(table, show)
    wide.columns = [f"{benchmark} {METRICS[metric][0]}" for benchmark, metric in wide.columns]
    wide = wide.reset_index()
    wide["scale"] = "x" + wide["scale"].astype(str)
    wide["loss"] = wide["loss"].replace("", "–")
    parts = [f"# {title}", _note(table), _pipes(wide)]
    if len(records):
        shown = ["cell", "preset", "seed", "parameters", "steps", "training_seconds"]
        shown += ["precision", "device", "commit", "digest"]
        common = records["versions"].iloc[0]
        parts += ["## How these numbers came about", _pipes(records[shown]), f"Versions: {common}."]
    return "\n\n".join(parts) + "\n"


def to_latex(table: pd.DataFrame, title: str) -> str:
    """The table as LaTeX with booktabs: ours, below it the paper's number and the difference."""

    def show(number: pd.Series) -> str:
        ours = _ours(number)
        ours = rf"\textbf{{{ours}}}" if number["best"] else ours
        if not _has_paper(number):
            return ours
        paper, difference = _paper(number)
        return rf"\shortstack{{{ours}\\{{\tiny {paper} (${difference}$)}}}}"

    wide = _wide(table, show)
    benchmarks = list(dict.fromkeys(benchmark for benchmark, _ in wide.columns))
    span = len(wide.columns) // len(benchmarks)
    heads = [rf"\multicolumn{{{span}}}{{c}}{{{_escape(name)}}}" for name in benchmarks]
    metrics = [METRICS[metric][0] for _, metric in wide.columns]
    lines = [
        r"\begin{table*}",
        r"\centering\scriptsize",
        rf"\caption{{{_escape(title + '. ' + _note(table))}}}",
        rf"\begin{{tabular}}{{lll{'r' * len(wide.columns)}}}",
        r"\toprule",
        " & ".join(["Scale", "Network", "Loss", *heads]) + r" \\",
        " & ".join(["", "", "", *metrics]) + r" \\",
    ]
    group = None
    for (scale, backbone, loss), values in wide.iterrows():
        if (scale, backbone) != group:
            group = (scale, backbone)
            lines.append(r"\midrule")
        first = [rf"$\times{scale}$", _escape(backbone), _escape(loss) or "--"]
        lines.append(" & ".join([*first, *values]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table*}"]) + "\n"


def _is_best(table: pd.DataFrame) -> list[bool]:
    """Whether a number is the best of its backbone's losses; a lone row is not called best."""
    groups = table.groupby(["scale", "backbone", "benchmark", "metric"], sort=False)["ours"]
    high, low, size = (groups.transform(f) for f in ("max", "min", "size"))
    more = table["metric"].map({name: more for name, (_, _, more) in METRICS.items()})
    return ((table["ours"] == high.where(more, low)) & (size > 1)).tolist()


def _wide(table: pd.DataFrame, show: Callable[[pd.Series], str]) -> pd.DataFrame:
    """A row for each cell, a column for each benchmark and metric, in the order of appearance."""
    order = table["scale"].rank(method="dense").astype(int)
    table = table.assign(shown=table.apply(show, axis=1), order=order)
    table = table.sort_values("order", kind="stable")
    rows = list(dict.fromkeys(table[_ROW].itertuples(index=False, name=None)))
    columns = list(dict.fromkeys(table[["benchmark", "metric"]].itertuples(index=False, name=None)))
    wide = table.set_index([*_ROW, "benchmark", "metric"])["shown"].unstack(["benchmark", "metric"])
    return wide.reindex(index=pd.MultiIndex.from_tuples(rows, names=_ROW))[columns].fillna("–")


def _note(table: pd.DataFrame) -> str:
    note = f"Protocol {table['protocol'].iloc[0]}; means over the images of a benchmark"
    seeds = table["seeds"].max()
    note += f" and over {seeds} seeds, ± their standard deviation." if seeds > 1 else ", one seed."
    note += " Bold: the best loss of a network at a scale."
    if table["paper"].notna().any():
        note += " Beside ours: the paper's number, and ours minus the paper's."
    return note


def _ours(number: pd.Series) -> str:
    decimals = METRICS[number["metric"]][1]
    spread = f" ± {number['std']:.{decimals}f}" if number["seeds"] > 1 else ""
    return f"{number['ours']:.{decimals}f}{spread}"


def _has_paper(number: pd.Series) -> bool:
    return pd.notna(number["paper"])


def _paper(number: pd.Series) -> tuple[str, str]:
    decimals = METRICS[number["metric"]][1]
    return f"{number['paper']:.{decimals}f}", f"{number['difference']:+.{decimals}f}"


def _pipes(frame: pd.DataFrame) -> str:
    rows = [list(frame.columns), ["---"] * len(frame.columns), *frame.astype(str).values.tolist()]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _escape(text: str) -> str:
    for character in "&%$#_{}":
        text = text.replace(character, "\\" + character)
    return text.replace("±", r"$\pm$")
