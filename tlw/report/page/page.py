"""One HTML file of a run's scored cells, that opens alone and offline.

Template, styles and script stand beside this file. The page's numbers are those of
`tlw.report.means` and `tlw.report.claims`; the script only sorts, shows and compares.
"""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

import tlw
from tlw.report.cite import cite
from tlw.report.claims import CLAIMS, compared
from tlw.report.page.background import image_sets, settings
from tlw.report.page.quality import quality
from tlw.report.statistics import baselines
from tlw.report.tables import PUBLISHED, all_scores, read_published, scores_table
from tlw.runtime.files import written_aside
from tlw.scoring.columns import METRICS, ROW
from tlw.scoring.shown import read_pictures

LARGEST = 25 * 2**20  # bytes
_PLACES = {"psnr_y": 3}


class Shown(NamedTuple):
    """What the page is made of.

    Args:
        cells: folders of a run's cells, in row order; those without scores.csv are told as not
            finished.
        title: the page's.
        pictures: index.json files of `tlw pictures`.
        figures: folders of `tlw figures`.
        number: of the paper's table to show beside, or None.
        note: said below the title.
        pairs: the run's pairs files, for what is told of the image sets.
        registry: of image sets of the user's own.
    """

    cells: Sequence[Path]
    title: str
    pictures: Sequence[Path] = ()
    figures: Sequence[Path] = ()
    number: int | None = None
    note: str = ""
    pairs: Sequence[Path] = ()
    registry: Path | None = None


def write_report(shown: Shown, output: Path) -> None:
    """Writes the page.

    Raises:
        ValueError: for cells that do not compare, for none that is scored, for files that are no
            pictures or figures, and for a page that would be larger than `LARGEST`.
    """
    text = render(shown)
    size = len(text.encode())
    if size > LARGEST:
        raise ValueError(
            f"{output}: the page would have {size / 2**20:.1f} MB, at most {LARGEST >> 20} are "
            "useful; give it fewer --pictures or --figures"
        )
    with written_aside(output) as aside:
        aside.write_text(text, encoding="utf-8")


def render(shown: Shown) -> str:
    """The page's text, see `write_report`."""
    scored = [cell for cell in shown.cells if (cell / "scores.csv").exists()]
    if not scored:
        raise ValueError(
            f"{shown.title}: expected scored cells, found none among {len(shown.cells)} folders; "
            "`tlw evaluate` scores them"
        )
    scores = all_scores(scored)
    published = read_published(PUBLISHED, shown.number) if shown.number else None
    numbers = scores_table(scored, published)
    environment = Environment(
        loader=PackageLoader("tlw.report.page", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    trained = [cell for cell in scored if (cell / "record.json").exists()]
    home = files("tlw.report.page")
    return environment.get_template("page.html.j2").render(
        title=shown.title,
        note=shown.note,
        version=tlw.__version__,
        claims=claims(scores),
        tables=[_table(scale, part) for scale, part in numbers.groupby("scale", sort=True)],
        has_paper=bool(numbers["paper"].notna().any()),
        figures=[figure for folder in shown.figures for figure in _figures(folder)],
        rules=[read_pictures(index)["rule"] for index in shown.pictures][:1],
        quality=quality(trained, [cell for cell in shown.cells if cell not in scored]),
        images=image_sets(shown.pairs, shown.registry),
        settings=settings(trained),
        citation=cite(trained, list(scores["benchmark"].unique())) if trained else "",
        style=(home / "page.css").read_text(encoding="utf-8"),
        script=(home / "page.js").read_text(encoding="utf-8"),
        # "<" would let a name end the script that holds it
        data=json.dumps(_data(scores, scored, shown.pictures)).replace("<", "\\u003c"),
    )


def claims(scores: pd.DataFrame) -> list[str]:
    """One sentence for each weighted loss and network: on how many benchmarks it is better.

    p-values are corrected over everything that is said here of a metric.
    """
    pairs = list(dict.fromkeys(pair for claim in CLAIMS for pair in claim.pairs))
    metrics = [metric for metric in METRICS if metric in scores.columns]
    table = pd.concat([compared(scores, pairs, [metric]) for metric in metrics])
    told = []
    for (loss, against, backbone, scale), part in table.groupby(
        ["loss", "against", "backbone", "scale"], sort=False
    ):
        each = "; ".join(_count(metric, part[part["metric"] == metric]) for metric in metrics)
        told.append(f"{loss} against {against} on {backbone} ×{scale}: {each}.")
    return told


def _count(metric: str, part: pd.DataFrame) -> str:
    gains = part["change"] if METRICS[metric].more_is_better else -part["change"]
    counts = part["outcome"].value_counts()
    words = [f"{METRICS[metric].head} better on {(gains > 0).sum()} of {len(part)} benchmarks"]
    words += [
        f"significantly {outcome} on {counts[outcome]}"
        for outcome in ("better", "worse")
        if outcome in counts
    ]
    return ", ".join(words if len(words) > 1 else [*words, "significantly on none"])


# --- tables -----------------------------------------------------------------------------------


def _table(scale: Any, numbers: pd.DataFrame) -> dict[str, Any]:
    """A scale's table: heads, and rows of cells with what is shown of each number."""
    columns = list(numbers[["benchmark", "metric"]].drop_duplicates().itertuples(index=False))
    rows = []
    for (backbone, loss), part in numbers.groupby(["backbone", "loss"], sort=False):
        found = {(n["benchmark"], n["metric"]): n for _, n in part.iterrows()}
        cells = [_cell(found[tuple(column)]) for column in columns]
        seeds = int(part["seeds"].max())
        rows.append({"backbone": backbone, "loss": loss, "seeds": seeds, "cells": cells})
    heads = [
        {"benchmark": c.benchmark, "metric": c.metric, "head": METRICS[c.metric].head}
        for c in columns
    ]
    return {"scale": int(scale), "heads": heads, "rows": rows}


def _cell(number: pd.Series) -> dict[str, Any]:
    metric = number["metric"]
    places = _PLACES.get(metric, 4)

    def text(value: float, sign: str = "") -> str:
        return "–" if pd.isna(value) else f"{value:{sign}.{places}f}"

    interval = "–"
    if not pd.isna(number["low"]):
        interval = f"{text(number['low'], '+')} to {text(number['high'], '+')}"
    is_open, said = not number["significant"], number["significant"] or number["on_other_images"]
    mark = {"better": "▲△", "worse": "▼▽"}.get(said)
    return {
        "benchmark": number["benchmark"],
        "metric": metric,
        "ours": text(number["ours"]),
        "spread": "" if pd.isna(number["std"]) else f"± {text(number['std'])}",
        "best": bool(number["best"]),
        "change": text(number["change"], "+"),
        "against": "" if pd.isna(number["against"]) else number["against"],
        "interval": interval,
        "word": said if mark else "",
        "mark": mark[is_open] if mark else "",
        "paper": text(number["paper"]),
        "sort": {
            key: None if pd.isna(number[column]) else float(number[column])
            for key, column in (
                ("ours", "ours"), ("change", "change"), ("interval", "low"), ("paper", "paper")
            )
        },
    }  # fmt: skip


# --- what the script shows --------------------------------------------------------------------


def _data(scores: pd.DataFrame, cells: Sequence[Path], pictures: Sequence[Path]) -> dict[str, Any]:
    """Scores image by image, means over seeds, and the pictures with all that is drawn of them."""
    metrics = [metric for metric in METRICS if metric in scores.columns]
    mean = scores.groupby([*ROW, "benchmark", "image"], sort=False)[metrics].mean()
    images: dict[str, dict[str, Any]] = {}
    for (scale, backbone, loss, benchmark, image), values in mean.iterrows():
        row = images.setdefault(_key(scale, backbone, loss), {}).setdefault(benchmark, {})
        row[image] = {metric: _finite(values[metric]) for metric in metrics}
    against = {
        _key(*row): {"row": _key(*other.row), "name": other.name}
        for row, other in baselines(cells).items()
    }
    return {
        "images": images,
        "against": against,
        "metrics": {
            metric: {"head": METRICS[metric].head, "more": METRICS[metric].more_is_better,
                     "places": _PLACES.get(metric, 4)}
            for metric in metrics
        },
        "pictures": [picture for index in pictures for picture in _pictures(index)],
    }  # fmt: skip


def _key(scale: int, backbone: str, loss: str) -> str:
    return f"{scale}|{backbone}|{loss}"


def _finite(value: float) -> float | None:
    """JSON has no infinity; an image without an error has that as its PSNR."""
    return float(value) if abs(value) < float("inf") else None


def _pictures(index: Path) -> Iterator[Mapping[str, Any]]:
    for picture in read_pictures(index)["pictures"]:
        known = {key: picture[key] for key in ("benchmark", "image", "scale", "why")}
        yield {**known, "files": {name: _embedded(at) for name, at in picture["files"].items()}}


def _figures(folder: Path) -> Iterator[dict[str, str]]:
    try:
        captions = json.loads((folder / "captions.json").read_text(encoding="utf-8"))
        for name, caption in captions.items():
            image = _embedded(folder / f"{name}.webp")
            yield {"name": name, "caption": str(caption), "image": image}
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{folder}: no folder of `tlw figures`: {error}") from None


def _embedded(path: Path) -> str:
    """A picture as text that a page can hold."""
    content = base64.b64encode(path.read_bytes()).decode()
    return f"data:image/{path.suffix[1:]};base64,{content}"
