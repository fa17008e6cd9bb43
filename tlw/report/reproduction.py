"""The part of docs/reproduction.md that a command makes from the scores, and only that command.

Each study is told by itself: what was trained, which claims its numbers decide, what the controls
say, and the numbers. A study <name>-again holds trainings of study <name> that were done once more,
which shows how much of a difference another device makes.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from tlw.report.claims import CLAIMS, CONTROLS, OUTCOMES, Claim, compared, verdict
from tlw.report.figures.forest import forest
from tlw.report.figures.style import save, styled
from tlw.report.plain_table import markdown_table
from tlw.report.reproduced import in_study, metrics_of, trainings
from tlw.report.tables import PUBLISHED, read_published
from tlw.runtime.files import written_aside
from tlw.scoring.columns import METRICS, NUMBER, ROW

BEGIN = "<!-- made by `tlw reproduce` from the scores; edits are lost -->"
END = "<!-- end of what `tlw reproduce` makes -->"
METRICS_SHOWN = ("psnr_y", "lpips_vgg")
AGAIN = "-again"
GATE = {"psnr_y": 0.15, "lpips_vgg": 0.01}  # see docs/reproduction.md, "The gate beside"


def write_page(scores: pd.DataFrame, page: Path, figures: Path) -> None:
    """Puts the results between the page's two marks, and their figures into a folder beside it.

    Raises:
        ValueError: for a page without the marks.
    """
    put(page, results(scores, figures.relative_to(page.parent).as_posix()))
    for study in studies(scores):
        draw(in_study(scores, study), figures / f"{study}-claims")


def put(page: Path, made: str) -> None:
    """Puts Markdown between a page's two marks; ValueError for a page without them."""
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"{page}: expected the lines {BEGIN} and {END}, in this order, each once")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    with written_aside(page) as aside:
        aside.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{after}", encoding="utf-8")


def summary(scores: pd.DataFrame) -> str:
    """The verdicts alone, a row a claim and a column a study, for a front page."""
    told = studies(scores)
    rows = []
    for claim in CLAIMS:
        row = [claim.words, claim.published]
        for study in told:
            table = compared(in_study(scores, study), claim.pairs, claim.metrics)
            counts = table["outcome"].value_counts()
            each = [f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if outcome in counts]
            row.append(f"**{verdict(table)}** ({', '.join(each) or 'no pairs'})")
        rows.append(row)
    heads = [
        "Claim",
        "In the paper",
        *(f"{study} study here, pairs".capitalize() for study in told),
    ]
    return markdown_table(heads, rows)


def draw(scores: pd.DataFrame, path: Path) -> None:
    """The forest plot of a study's claims, if it has two losses that a claim compares."""
    pairs = list(dict.fromkeys(pair for claim in CLAIMS for pair in claim.pairs))
    table = compared(scores, pairs, METRICS_SHOWN)
    if table["low"].notna().any():
        with styled():
            save(forest(table), path, formats=("svg",))


def results(scores: pd.DataFrame, figures: str) -> str:
    """The results of every study, as Markdown; figures are in a folder of that name."""
    if scores.empty:
        return "No training has been scored yet."
    return "\n\n".join(_of_study(study, scores, figures) for study in studies(scores))


def studies(scores: pd.DataFrame) -> list[str]:
    """Those that are told by themselves."""
    return [name for name in dict.fromkeys(scores["study"]) if not name.endswith(AGAIN)]


def _of_study(study: str, whole: pd.DataFrame, figures: str) -> str:
    scores, again = in_study(whole, study), in_study(whole, study + AGAIN)
    tables = {claim.name: compared(scores, claim.pairs, claim.metrics) for claim in CLAIMS}
    verdicts = "\n".join(
        f"- **{claim.name}, {claim.words}: {verdict(tables[claim.name])}** in the {study} study."
        for claim in CLAIMS
    )
    picture = (
        f"![Gains of each weighted loss, with their intervals]({figures}/{study}-claims.svg)"
        if any(len(table) for table in tables.values())
        else ""
    )
    parts = [
        f"### The {study} study",
        verdicts,
        _counts(tables),
        picture,
        "Gains with their 95 % intervals over images and seeds, better to the right. Filled points "
        "are significant after correction over all that is shown, which is stricter than over one "
        "claim; the grey band is too small to be of interest."
        if picture
        else "",
        _gate(scores),
        "#### Controls",
        _controls(scores),
        _beside(whole[whole["study"] == study]),
        "#### What was trained",
        _trained(scores),
        _repeated(scores, again),
        "#### The numbers",
        _means(scores),
        *(_pairs(claim, tables[claim.name]) for claim in CLAIMS),
    ]
    return "\n\n".join(part for part in parts if part)


def _counts(tables: dict[str, pd.DataFrame]) -> str:
    rows = []
    for name, table in tables.items():
        counts = table["outcome"].value_counts()
        seeds = f"{table['pairs'].min()} to {table['pairs'].max()}" if len(table) else "–"
        each = [str(counts.get(outcome, 0)) for outcome in OUTCOMES]
        rows.append([name, str(len(table)), seeds, *each, verdict(table)])
    return markdown_table(["Claim", "Pairs", "Seeds", *OUTCOMES, "Verdict"], rows)


def _pairs(claim: Claim, table: pd.DataFrame) -> str:
    if table.empty:
        return ""
    rows = [
        [
            f"{d['loss']} against {d['against']}",
            f"{d['backbone']} x{d['scale']}",
            d["benchmark"],
            METRICS[d["metric"]].head,
            *_difference(d),
            str(d["pairs"]),
            d["outcome"],
        ]
        for _, d in table.iterrows()
    ]
    heads = ["Losses", "Network", "Benchmark", "Metric", "Difference", "95 % interval"]
    return f"{claim.name}, pair by pair:\n\n" + markdown_table(
        [*heads, "Corrected p", "Seeds", "Says"], rows
    )


def _difference(d: pd.Series) -> list[str]:
    places = 3 if d["metric"] == "psnr_y" else 4
    if pd.isna(d["low"]):
        return [f"{d['change']:+.{places}f}", "–", "–"]
    interval = f"{d['low']:+.{places}f} to {d['high']:+.{places}f}"
    return [f"{d['change']:+.{places}f}", interval, f"{d['p_corrected']:.2g}"]


_COUNTED = ["Losses", "Metric", "Mean difference", "Seeds", *OUTCOMES]


def _counted(scores: pd.DataFrame, pair: tuple[str, str], metrics: Sequence[str]) -> list:
    """One loss against another, by how many pairs say what: a row a metric."""
    rows = []
    for metric, part in compared(scores, [pair], metrics).groupby("metric", sort=False):
        counts = part["outcome"].value_counts()
        rows.append(
            [
                f"{pair[0]} against {pair[1]}",
                METRICS[str(metric)].head,
                f"{part['change'].mean():+.{3 if metric == 'psnr_y' else 4}f}",
                f"{part['pairs'].min()} to {part['pairs'].max()}",
                *(str(counts.get(outcome, 0)) for outcome in OUTCOMES),
            ]
        )
    return rows


def _controls(scores: pd.DataFrame) -> str:
    """Each control against L1, and L1-TLW against each control."""
    pairs = [pair for c in CONTROLS for pair in ((c, "l1"), ("l1-tlw", c))]
    rows = [row for pair in pairs for row in _counted(scores, pair, METRICS_SHOWN)]
    return markdown_table(_COUNTED, rows) if rows else "None has been trained yet."


def _beside(scores: pd.DataFrame) -> str:
    """The claims' pairs by metrics that no claim is about, of the cells that have them."""
    pairs = dict.fromkeys(pair for claim in CLAIMS for pair in claim.pairs)
    rows = []
    for metric in metrics_of(scores):
        if metric not in METRICS_SHOWN:
            others = [other for other in metrics_of(scores) if other != metric]
            scored = scores.drop(columns=others).dropna(subset=[metric])
            rows += [row for pair in pairs for row in _counted(scored, pair, [metric])]
    if not rows:
        return ""
    told = "By metrics that no claim is about; the lower, the better are LPIPS and DISTS:"
    return f"#### Other metrics\n\n{told}\n\n{markdown_table(_COUNTED, rows)}"


def _gate(scores: pd.DataFrame) -> str:
    """How near the unweighted networks of the paper's size come to its numbers; else nothing."""
    published = pd.concat([read_published(PUBLISHED, number) for number in (1, 2)])
    paper = published.drop_duplicates(NUMBER).set_index(NUMBER)["paper"]
    plain = scores[scores["loss"].isin(["l1", "mse"])]
    means = plain.groupby([*ROW, "benchmark"], sort=False)[list(GATE)].mean()
    rows = []
    for key, ours in means.iterrows():
        for metric, most in GATE.items():
            number = (*key, metric)
            if number not in paper.index:
                continue
            scale, backbone, loss, benchmark = key
            places, off = (3 if metric == "psnr_y" else 4), ours[metric] - paper[number]
            shown = [f"{value:.{places}f}" for value in (ours[metric], paper[number])]
            said = "within" if abs(off) <= most else "outside"
            name = [f"{backbone} x{scale}", loss, benchmark, METRICS[metric].head]
            rows.append([*name, *shown, f"{off:+.{places}f}", said])
    if not rows:
        return ""
    heads = ["Network", "Loss", "Benchmark", "Metric", "Ours", "Paper's", "Difference", "Gate"]
    told = f"The gate beside: {GATE['psnr_y']} dB and {GATE['lpips_vgg']} LPIPS of the paper's."
    return (
        f"#### The unweighted networks and the paper's\n\n{told}\n\n{markdown_table(heads, rows)}"
    )


def _trained(scores: pd.DataFrame) -> str:
    """Each loss of each network: seeds, steps, time over the plain loss's, where and by what."""
    cells = trainings(scores)
    rows = []
    for (backbone, scale), network in cells.groupby(["backbone", "scale"], sort=False):
        plain = network[network["loss"] == "l1"].groupby("device")["seconds"].median()
        for loss, part in network.groupby("loss", sort=False):
            ratio = (part["seconds"] / part["device"].map(plain)).median()
            rows.append(
                [
                    f"{backbone} x{scale}",
                    str(loss),
                    " ".join(part["seed"]),
                    f"{part['parameters'].iloc[0]:,}",
                    f"{part['steps'].iloc[0]:,}",
                    "–" if pd.isna(ratio) else f"{ratio:.1f}",
                ]
            )
    devices = " and ".join(f"{n} on {name}" for name, n in cells["device"].value_counts().items())
    commits = ", ".join(sorted(set(cells["commit"])))
    hours = cells["seconds"].sum() / 3600
    told = (
        f"{len(cells)} trainings, {devices}, {hours:.1f} hours together, by commit {commits}; "
        f"preset {', '.join(sorted(set(cells['preset'])))}, protocol "
        f"{', '.join(sorted(set(cells['protocol'])))}. Time is the median training's over that "
        "of l1 on the same device; other work ran beside, so it is rough."
    )
    heads = ["Network", "Loss", "Seeds", "Parameters", "Steps", "Time over l1"]
    return f"{told}\n\n{markdown_table(heads, rows)}"


def _repeated(scores: pd.DataFrame, again: pd.DataFrame) -> str:
    """How far a training's scores are from those of the same one done again, seed and all."""
    if again.empty:
        return ""
    names = ["backbone", "scale", "loss", "seed", "benchmark"]
    metrics = [metric for metric in METRICS_SHOWN if metric in again]
    once, twice = (found.groupby(names, sort=False)[metrics].mean() for found in (scores, again))
    changes = (twice - once).dropna()
    spread = once.groupby(level=["backbone", "scale", "loss", "benchmark"], sort=False).std()
    spread = spread[spread.index.isin(changes.index.droplevel("seed"))]
    rows = []
    for (backbone, scale, benchmark), part in changes.groupby(
        level=["backbone", "scale", "benchmark"], sort=False
    ):
        row = [f"{backbone} x{scale}", str(benchmark), str(len(part))]
        for metric in metrics:
            places = 3 if metric == "psnr_y" else 4
            of_seeds = spread.xs((backbone, scale, benchmark), level=(0, 1, 3))[metric].mean()
            size = part[metric].pow(2).mean() ** 0.5
            row += [f"{part[metric].mean():+.{places}f}", f"{size:.{places}f}"]
            row.append("–" if pd.isna(of_seeds) else f"{of_seeds:.{places}f}")
        rows.append(row)
    heads = ["Network", "Benchmark", "Trainings"]
    for metric in metrics:
        head = METRICS[metric].head
        heads += [f"{head}: mean change", "its size", "seeds' spread"]
    told = (
        f"{len(trainings(again))} trainings were done again, with the same seeds and batches, on "
        f"{', '.join(sorted(set(again['device'])))}. What is drawn at random there is drawn by "
        "another generator, and sums come in another order. The size of a change is its root mean "
        "square; beside it the standard deviation over seeds, the mean over losses:"
    )
    return f"{told}\n\n{markdown_table(heads, rows)}"


def _means(scores: pd.DataFrame) -> str:
    """The mean over images and seeds, and its spread over the seeds."""
    metrics = metrics_of(scores)
    of_seed = scores.groupby([*ROW, "benchmark", "seed"], sort=False)[metrics].mean()
    levels = [*ROW, "benchmark"]
    means = of_seed.groupby(level=levels, sort=False).mean()
    spread = of_seed.groupby(level=levels, sort=False).std()
    rows = []
    for key in means.index:
        scale, backbone, loss, benchmark = key
        shown = [f"{backbone} x{scale}", loss, benchmark]
        for metric in metrics:
            places, sd = (3 if metric == "psnr_y" else 4), spread.loc[key, metric]
            tail = "" if pd.isna(sd) else f" ± {sd:.{places}f}"
            shown.append(f"{means.loc[key, metric]:.{places}f}{tail}")
        rows.append(shown)
    heads = ["Network", "Loss", "Benchmark", *(METRICS[metric].head for metric in metrics)]
    told = "Means over images and seeds, ± the standard deviation over seeds:"
    return f"{told}\n\n{markdown_table(heads, rows)}"
