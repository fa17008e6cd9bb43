"""How tables are printed, Markdown for the eye and LaTeX for a paper, with marks and notes.

The notes say what the marks mean, how many there are, and what the numbers rest on.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
from tabulate import tabulate

from tlw.report.intervals import CONFIDENCE
from tlw.report.statistics import FEWEST, SMALLEST, Smallest, by_chance
from tlw.scoring.columns import METRICS, NUMBER

MARKS = {"better": "▲", "worse": "▼"}  # significant
OPEN_MARKS = {"better": "△", "worse": "▽"}  # on other images, for these networks
CORRECTED = "†"
LATEX = {
    **{"±": r"$\pm$", "×": r"$\times$", "†": r"$\dagger$"},
    **{"▲": r"$\blacktriangle$", "▼": r"$\blacktriangledown$"},
    **{"△": r"$\vartriangle$", "▽": r"$\triangledown$"},
}


def to_markdown(
    table: pd.DataFrame,
    title: str,
    left_out: Sequence[str] = (),
    smallest: Smallest = SMALLEST,
) -> str:
    """Markdown: for each scale a table of each metric."""

    def show(number: pd.Series) -> str:
        ours = f"**{_ours(number)}**" if number["best"] else _ours(number)
        ours = f"{ours} {mark(number)}".rstrip()
        return f"{ours} ({', '.join(_paper(number))})" if _has_paper(number) else ours

    parts = [f"# {title}", *_notes(table, left_out, smallest)]
    for scale, of_scale in table.groupby("scale"):
        parts.append(f"## ×{scale}")
        for metric, part in of_scale.groupby("metric", sort=False):
            wide = _wide(part, show)
            rows = [
                [backbone, loss or "–", *row] for (_, backbone, loss), *row in wide.itertuples()
            ]
            heads = [f"{benchmark} {headed(metric)}" for benchmark, _ in wide.columns]
            parts.append(pipes(["Network", "Loss", *heads], rows))
    return "\n\n".join(parts) + "\n"


def to_latex(
    table: pd.DataFrame,
    title: str,
    left_out: Sequence[str] = (),
    smallest: Smallest = SMALLEST,
) -> str:
    """LaTeX with booktabs: ours, below it the paper's number and the difference."""

    def show(number: pd.Series) -> str:
        ours = _escape(_ours(number))
        ours = rf"\textbf{{{ours}}}" if number["best"] else ours
        beside = _escape(mark(number))
        ours += rf"\rlap{{\,\tiny{beside}}}" if beside else ""  # beside the column of digits
        if not _has_paper(number):
            return ours
        paper, difference = _paper(number)
        return rf"\shortstack{{{ours}\\{{\tiny {paper} (${difference}$)}}}}"

    wide = _wide(table, show).replace("–", "--")
    rows = [(rf"$\times{s}$", _escape(name), _escape(loss) or "--") for s, name, loss in wide.index]
    wide.index = pd.MultiIndex.from_tuples(rows, names=["Scale", "Network", "Loss"])
    arrows = {True: r"$\uparrow$", False: r"$\downarrow$"}
    wide.columns = pd.MultiIndex.from_tuples(
        (_escape(name), f"{METRICS[metric].head} {arrows[METRICS[metric].more_is_better]}")
        for name, metric in wide.columns
    )
    text = wide.style.to_latex(
        column_format="lll" + "r" * len(wide.columns),
        multicol_align="c",
        multirow_align="naive",
        hrules=True,
        environment="table*",
        position_float="centering",
        caption=_escape(" ".join([f"{title}.", *_notes(table, left_out, smallest)])),
    )
    small = text.replace("\\centering\n", "\\centering\\scriptsize\n", 1)
    return f"% needs \\usepackage{{booktabs,amssymb}}\n{small}"


def _wide(table: pd.DataFrame, show: Callable[[pd.Series], str]) -> pd.DataFrame:
    """A row for each (scale, backbone, loss), a column for each (benchmark, metric), as text."""
    shown = table.assign(shown=table.apply(show, axis=1)).set_index(NUMBER)["shown"]
    rows = list(dict.fromkeys(key[:3] for key in shown.index))
    benchmarks, metrics = table["benchmark"].unique(), table["metric"].unique()
    columns = [(benchmark, metric) for benchmark in benchmarks for metric in metrics]
    numbers = [[shown.get((*row, *column), "–") for column in columns] for row in rows]
    return pd.DataFrame(numbers, pd.Index(rows, tupleize_cols=False), columns)


def _notes(table: pd.DataFrame, left_out: Sequence[str], smallest: Smallest) -> list[str]:
    """What has to be said about a table, a paragraph each."""
    compared = table[table["against"].notna()]
    notes = [_note(table, smallest)]
    if len(compared):
        losses = compared.drop_duplicates(["loss", "against"]).groupby("against", sort=False)
        which = ", ".join(f"{' and '.join(part['loss'])} with {name}" for name, part in losses)
        notes.append(f"Compared are weighted losses and their unweighted baseline: {which}.")
        notes += notes_of_marks(compared, CONFIDENCE, smallest)
    notes += _unequal_seeds(table)
    for exact in exact_images(table):
        notes.append(f"{exact} Means over different images are neither bold nor marked.")
    if left_out:
        notes.append(
            f"Left out: {', '.join(left_out)} (images not at hand; tlw fetch tells how to get "
            "them)."
        )
    return notes


def _note(table: pd.DataFrame, smallest: Smallest) -> str:
    seeds = sorted(table["seeds"][table["seeds"] > 0].unique())
    note = f"Protocol {table['protocol'].iloc[0]}. Means over the images of a benchmark"
    if seeds and seeds[-1] > 1:
        several = " to ".join(str(count) for count in dict.fromkeys([seeds[0], seeds[-1]]))
        note += f" and over {several} seeds, ± their standard deviation"
    note += f". Bold: the best loss of a network at a scale, and what is {_within(smallest)} of it."
    if table["paper"].notna().any():
        note += " Beside ours: the paper's number, and ours minus the paper's."
    foreign = table["backbone"][(table["seeds"] == 0) & (table["backbone"] != "bicubic")].unique()
    if len(foreign):
        note += f" Not trained here: {', '.join(foreign)}."
    return note


def _within(smallest: Smallest) -> str:
    return f"within {smallest.decibels:g} dB, or {smallest.others:g} of SSIM and LPIPS,"


def mark(number: pd.Series, confidence: float = CONFIDENCE) -> str:
    """The mark of a difference, "" where there is none."""
    found = MARKS.get(number["significant"]) or OPEN_MARKS.get(number["on_other_images"], "")
    return found + CORRECTED if found and number["p_corrected"] <= 1 - confidence else found


def notes_of_marks(compared: pd.DataFrame, confidence: float, smallest: Smallest) -> list[str]:
    """What marks mean, what they do not, and how many there are, a paragraph each.

    Args:
        compared: differences, not empty.
        confidence: of their intervals.
        smallest: below it nothing is marked.
    """
    level = f"{100 * confidence:.4g} %"
    limit = f"{smallest.decibels:g} dB, or {smallest.others:g} of SSIM and LPIPS,"
    several, single = (compared[compared[c] != ""] for c in ("significant", "on_other_images"))
    notes = []
    if len(several):
        notes.append(
            f"▲ better, ▼ worse: significant, since the {level} t interval of the mean "
            f"difference over images and seeds leaves 0 out; differences under {limit} are never "
            f"marked. {_counted(several, 'significant', confidence)}"
        )
        fewest = several["pairs"].min()
        if fewest < 3:
            notes[-1] += " Two seeds show next to nothing: train three at least, better five."
    if len(single):
        notes.append(
            f"△ better, ▽ worse on other images, for these trained networks alone: the {level} t "
            "interval of the mean difference over images leaves 0 out. One trained network on a "
            "side says nothing about other trainings, so nothing of this is significant; train "
            f"three seeds at least, better five. Differences under {limit} are never marked. "
            f"{_counted(single, 'on_other_images', confidence)}"
        )
    without = compared[compared["p"].isna()]
    if len(without):
        names = ", ".join(without["benchmark"].unique())
        notes.append(f"No interval, since under {FEWEST} images are compared: {names}.")
    return notes


def _counted(family: pd.DataFrame, column: str, confidence: float) -> str:
    """How many differences are marked, raw and corrected, and how many of them by chance."""
    marked = family[family[column].isin(MARKS)]
    kept = marked[marked["p_corrected"] <= 1 - confidence]
    better, worse = (int((part == word).sum()) for word in MARKS for part in [marked[column]])
    told = f"Marked are {better} better and {worse} worse of {len(family)} differences"
    if marked.empty:
        return f"{told}."
    return (
        f"{told}, {len(kept)} of them (†) also after Benjamini and Hochberg's correction for "
        f"{len(family)} comparisons. By their p-values no more than "
        f"{max(by_chance(marked), 0.1):.1f} marks are to be expected by chance alone."
    )


def exact_images(numbers: pd.DataFrame) -> list[str]:
    """Which images are left out, since their PSNR is infinite: none, or one paragraph."""
    found = numbers[numbers["left_out"] != ""]
    if found.empty:
        return []
    named = [
        f"{row['backbone']} ×{row['scale']} {row['loss']}".rstrip()
        + f", {row['benchmark']}: {row['left_out']} ({_images(row)})"
        for _, row in found.iterrows()
    ]
    return [
        "Images that a network gives exactly, so that their PSNR is infinite, are left out of "
        f"PSNR: {'; '.join(dict.fromkeys(named))}."
    ]


def _images(number: pd.Series) -> str:
    left = number["images"] if "images" in number else number["common_images"]
    return f"{left} images left" if left != 1 else "1 image left"


def _unequal_seeds(table: pd.DataFrame) -> list[str]:
    """Which networks' losses have not the same seeds: none, or one paragraph."""
    told: dict[str, None] = {}
    for (scale, backbone), part in table.groupby(["scale", "backbone"], sort=False):
        seeds = part.groupby("loss", sort=False)["of_seeds"].unique().map(", ".join)
        if seeds.nunique() > 1:
            losses = ", ".join(f"{loss or '–'}: {which or 'none'}" for loss, which in seeds.items())
            told[f"{backbone} ×{scale} ({losses})"] = None
    if not told:
        return []
    return [
        "Means over different seeds do not compare: none is bold, and none is marked against one "
        f"of other seeds, in {'; '.join(told)}."
    ]


def headed(metric: str) -> str:
    """A metric's heading, with an arrow to where it is better."""
    return f"{METRICS[metric].head} {'↑' if METRICS[metric].more_is_better else '↓'}"


def _ours(number: pd.Series) -> str:
    if not number["images"]:
        return "exact"
    spread = f" ± {number['std']:.4f}" if number["seeds"] > 1 else ""
    return f"{number['ours']:.4f}{spread}"


def _has_paper(number: pd.Series) -> bool:
    return pd.notna(number["difference"])


def _paper(number: pd.Series) -> tuple[str, str]:
    return f"{number['paper']:.4f}", f"{number['difference']:+z.4f}"


def pipes(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table whose columns stand below each other in the text, too."""
    lines = [[str(cell).replace("|", r"\|") for cell in line] for line in [heads, *rows]]
    return tabulate(lines[1:], lines[0], tablefmt="github", disable_numparse=True)


def _escape(text: str) -> str:
    named = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    marked = {character: f"\\{character}" for character in "&%$#_{}"}
    signs: dict[str, str | int | None] = {**named, **marked, **LATEX}
    return text.translate(str.maketrans(signs))
