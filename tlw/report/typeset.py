"""How a table of scores is printed: Markdown for the eye, LaTeX for a paper."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from tlw.report.marks import MARKS, note_of_marks
from tlw.scoring.columns import METRICS, NUMBER

# What a record says: of each cell, and what is told once when it is the same for all of them.
OF_CELL = ["cell", "seed", "parameters", "steps", "training_seconds", "digest"]
OF_ALL = ["preset", "protocol", "precision", "device", "commit", "versions"]
LATEX = {"±": r"$\pm$", "▲": r"$\blacktriangle$", "▼": r"$\blacktriangledown$"}


def to_markdown(
    table: pd.DataFrame,
    title: str,
    records: pd.DataFrame | None = None,
    left_out: Sequence[str] = (),
) -> str:
    """Markdown: for each scale a table of each metric, and below them what is on record."""

    def show(number: pd.Series) -> str:
        ours = f"**{_ours(number)}**" if number["best"] else _ours(number)
        mark = MARKS.get(number["real"])
        ours = f"{ours} {mark}" if mark else ours
        return f"{ours} ({', '.join(_paper(number))})" if _has_paper(number) else ours

    parts = [f"# {title}", *_notes(table, left_out)]
    for scale, of_scale in table.groupby("scale"):
        parts.append(f"## ×{scale}")
        for metric, part in of_scale.groupby("metric", sort=False):
            wide = _wide(part, show)
            rows = [
                [backbone, loss or "–", *row] for (_, backbone, loss), *row in wide.itertuples()
            ]
            heads = [f"{benchmark} {headed(metric)}" for benchmark, _ in wide.columns]
            parts.append(pipes(["Network", "Loss", *heads], rows))
    if records is not None and len(records):
        parts += ["## How these numbers came about", *_provenance(records)]
    return "\n\n".join(parts) + "\n"


def to_latex(table: pd.DataFrame, title: str, left_out: Sequence[str] = ()) -> str:
    """LaTeX with booktabs: ours, below it the paper's number and the difference."""

    def show(number: pd.Series) -> str:
        ours = _escape(_ours(number))
        ours = rf"\textbf{{{ours}}}" if number["best"] else ours
        mark = MARKS.get(number["real"])
        ours += rf"\rlap{{\,\tiny{LATEX[mark]}}}" if mark else ""  # beside the column of digits
        if not _has_paper(number):
            return ours
        paper, difference = _paper(number)
        return rf"\shortstack{{{ours}\\{{\tiny {paper} (${difference}$)}}}}"

    wide = _wide(table, show).replace("–", "--")
    benchmarks = list(dict.fromkeys(benchmark for benchmark, _ in wide.columns))
    span = len(wide.columns) // len(benchmarks)
    metrics = [METRICS[metric] for _, metric in wide.columns]
    arrows = [r"$\uparrow$" if metric.more_is_better else r"$\downarrow$" for metric in metrics]
    over = [rf"\multicolumn{{{span}}}{{c}}{{{_escape(name)}}}" for name in benchmarks]
    heads = [f"{metric.head} {arrow}" for metric, arrow in zip(metrics, arrows, strict=True)]
    lines = [
        r"% needs \usepackage{booktabs,amssymb}",
        r"\begin{table*}",
        r"\centering\scriptsize",
        rf"\caption{{{_escape(' '.join([f'{title}.', *_notes(table, left_out)]))}}}",
        rf"\begin{{tabular}}{{lll{'r' * len(wide.columns)}}}",
        r"\toprule",
        " & ".join(["", "", "", *over]) + r" \\",
        " & ".join(["Scale", "Network", "Loss", *heads]) + r" \\",
    ]
    group = None
    for (scale, backbone, loss), *values in wide.itertuples():
        if (scale, backbone) != group:
            group = (scale, backbone)
            lines.append(r"\midrule")
        first = [rf"$\times{scale}$", _escape(backbone), _escape(loss) or "--"]
        lines.append(" & ".join([*first, *values]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table*}"]) + "\n"


def _wide(table: pd.DataFrame, show: Callable[[pd.Series], str]) -> pd.DataFrame:
    """A row for each (scale, backbone, loss), a column for each (benchmark, metric), as text."""
    shown = table.assign(shown=table.apply(show, axis=1)).set_index(NUMBER)["shown"]
    rows = list(dict.fromkeys(key[:3] for key in shown.index))
    benchmarks, metrics = table["benchmark"].unique(), table["metric"].unique()
    columns = [(benchmark, metric) for benchmark in benchmarks for metric in metrics]
    numbers = [[shown.get((*row, *column), "–") for column in columns] for row in rows]
    return pd.DataFrame(numbers, pd.Index(rows, tupleize_cols=False), columns)


def _notes(table: pd.DataFrame, left_out: Sequence[str]) -> list[str]:
    """What has to be said about a table, a paragraph each."""
    notes = [_note(table)]
    if table["against"].notna().any():
        notes.append(note_of_marks(table))
    if left_out:
        notes.append(
            f"Left out: {', '.join(left_out)} (images not at hand; tlw fetch tells how to get "
            "them)."
        )
    return notes


def _note(table: pd.DataFrame) -> str:
    seeds = sorted(table["seeds"][table["seeds"] > 0].unique())
    note = f"Protocol {table['protocol'].iloc[0]}. Means over the images of a benchmark"
    if seeds and seeds[-1] > 1:
        several = " to ".join(str(count) for count in dict.fromkeys([seeds[0], seeds[-1]]))
        note += f" and over {several} seeds, ± their standard deviation"
    note += ". Bold: the best loss of a network at a scale."
    if table["paper"].notna().any():
        note += " Beside ours: the paper's number, and ours minus the paper's."
    foreign = table["backbone"][(table["seeds"] == 0) & (table["backbone"] != "bicubic")].unique()
    if len(foreign):
        note += f" Not trained here: {', '.join(foreign)}."
    return note


def headed(metric: str) -> str:
    """A metric's heading, with an arrow to where it is better."""
    return f"{METRICS[metric].head} {'↑' if METRICS[metric].more_is_better else '↓'}"


def _ours(number: pd.Series) -> str:
    spread = f" ± {number['std']:.4f}" if number["seeds"] > 1 else ""
    return f"{number['ours']:.4f}{spread}"


def _has_paper(number: pd.Series) -> bool:
    return pd.notna(number["paper"])


def _paper(number: pd.Series) -> tuple[str, str]:
    return f"{number['paper']:.4f}", f"{number['difference']:+z.4f}"


def _provenance(records: pd.DataFrame) -> list[str]:
    """The trained cells' records as a table, and as a list what all share; then the imported."""
    imported = records[records["source"].notna()] if "source" in records else records[:0]
    return [*_of_trained(records.drop(imported.index)), *_of_imported(imported)]


def _of_imported(records: pd.DataFrame) -> list[str]:
    if records.empty:
        return []
    shown = records[["cell", "parameters", "source", "sha256"]].copy()
    shown["parameters"] = shown["parameters"].map("{:,}".format)
    heads = ["Imported", "Parameters", "Checkpoint", "SHA-256"]
    told = "Not trained here, but imported from checkpoints:"
    return [told, pipes(heads, shown.values.tolist())]


def _of_trained(records: pd.DataFrame) -> list[str]:
    if records.empty:
        return []
    records = records.fillna("–")
    shared = [key for key in OF_ALL if records[key].nunique() == 1]
    shown = records[OF_CELL + [key for key in OF_ALL if key not in shared]].copy()
    shown["parameters"] = shown["parameters"].map("{:,}".format)
    shown["training_seconds"] = shown["training_seconds"].map(_clock)
    heads = [_label(key) for key in shown.columns]
    same = "\n".join(f"- {_label(key)}: {records[key].iloc[0]}" for key in shared)
    parts = [pipes(heads, shown.astype(str).values.tolist())]
    return [*parts, f"The same for all of them:\n\n{same}"] if shared else parts


def _label(key: str) -> str:
    return "Training (h:mm:ss)" if key == "training_seconds" else key.capitalize()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def pipes(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table whose columns stand below each other in the text, too."""
    lines = [[str(cell).replace("|", r"\|") for cell in line] for line in [heads, *rows]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [
        [cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines
    ]
    rule = ["-" * width for width in widths]
    return "\n".join(f"| {' | '.join(line)} |" for line in [padded[0], rule, *padded[1:]])


def _escape(text: str) -> str:
    named = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    marked = {character: f"\\{character}" for character in "&%$#_{}"}
    return text.translate(str.maketrans({**named, **marked, **LATEX}))
