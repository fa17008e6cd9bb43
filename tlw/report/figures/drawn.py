"""All figures of a grid: which there are, what each needs, and their captions."""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tlw.config.config import Cell, read_cell
from tlw.config.settings import TLWSettings
from tlw.report.figures.comparison import comparison
from tlw.report.figures.cost import cost_bars
from tlw.report.figures.curves import training_curves
from tlw.report.figures.example import example
from tlw.report.figures.fixed_sum import fixed_sum_curves
from tlw.report.figures.forest import forest
from tlw.report.figures.over_training import watched_images, weights_over_training
from tlw.report.figures.settings import settings_of_weights
from tlw.report.figures.style import save, styled
from tlw.report.figures.time import time_of_steps
from tlw.report.figures.tradeoff import tradeoff
from tlw.report.figures.weights import weight_stages
from tlw.report.statistics import baselines, differences
from tlw.report.tables import PUBLISHED, all_scores, read_published, scores_table
from tlw.runtime.errors import one_of
from tlw.runtime.files import written_aside
from tlw.scoring.shown import read_pictures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)


class Source(NamedTuple):
    """What figures are drawn from."""

    cells: Sequence[Path]  # folders of scored rows, bicubic's among them
    pictures: Sequence[Path]  # index.json of `tlw pictures`
    number: int | None  # of the paper's table to show beside


class Drawn(NamedTuple):
    """A figure, its file's name without suffix, and one sentence about it."""

    name: str
    caption: str
    figure: "Figure"


def _fixed_sum(source: Source) -> Iterator[Drawn]:
    yield Drawn(
        "fixed_sum",
        "FixedSum (Eq. 5): where it moves a weight when 1,000 weights sum to S, for one k and "
        "several S, and for one S and several k.",
        fixed_sum_curves(),
    )


def _weighted(source: Source) -> Iterator[tuple[Cell, Path, dict]]:
    """Cells whose weighting network was trained and kept, each with a picture of theirs."""
    kept = [c for c in source.cells if (c / "weight_net.safetensors").exists()]
    for index in source.pictures:
        picture = read_pictures(index)["pictures"][0]
        for folder in kept:
            cell = read_cell(folder / "cell.json")
            trained = isinstance(cell.loss, TLWSettings) and cell.loss.weighting == "trained"
            shown = f"{cell.backbone_name}/{cell.loss_name}" in picture["files"]
            if trained and shown and cell.scale == picture["scale"]:
                yield cell, folder, picture


def _weights(source: Source) -> Iterator[Drawn]:
    for cell, folder, picture in islice(_weighted(source), 1):
        files, image = picture["files"], Path(picture["image"]).stem
        yield Drawn(
            "weights",
            f"The weights of {cell.backbone_name} ×{cell.scale} with {cell.loss_name} at the end "
            f"of its training, for {image}: what the weighting network gives, what FixedSum makes "
            "of it, and a sample.",
            weight_stages(
                cell, folder, files["hr"], files[f"{cell.backbone_name}/{cell.loss_name}"]
            ),
        )


def _settings(source: Source) -> Iterator[Drawn]:
    for cell, folder, picture in islice(_weighted(source), 1):
        files = picture["files"]
        yield Drawn(
            "settings",
            f"What the settings of {cell.loss_name} do to the weights of "
            f"{Path(picture['image']).stem}: the share k to the mean of their distribution, the "
            "temperature to a sample, the number of samples T to the mean of these (means over "
            "the three channels).",
            settings_of_weights(
                cell, folder, files["hr"], files[f"{cell.backbone_name}/{cell.loss_name}"]
            ),
        )


def _over_training(source: Source) -> Iterator[Drawn]:
    for folder in source.cells:
        for image in watched_images(folder):
            cell = read_cell(folder / "cell.json")
            yield Drawn(
                f"weights_over_training_{cell.name}_{image}",
                f"{image} while {cell.backbone_name} ×{cell.scale} was trained with "
                f"{cell.loss_name}: what the network made of it, and the mean of the weights.",
                weights_over_training(folder, image),
            )


def _example(source: Source) -> Iterator[Drawn]:
    for cell, folder, picture in islice(_weighted(source), 1):
        yield Drawn(
            "example",
            f"{Path(picture['image']).stem} of {picture['benchmark']} at ×{cell.scale}: lr, "
            f"bicubic, {cell.backbone_name} trained without and with weights, hr, and the weights.",
            example(cell, folder, picture["files"]),
        )


def _comparison(source: Source) -> Iterator[Drawn]:
    scores = all_scores(source.cells)
    for index in source.pictures:
        content = read_pictures(index)
        pictures = content["pictures"]
        scale = pictures[0]["scale"]
        names = [name.split("/")[0] for name in pictures[0]["files"] if "/" in name]
        for backbone in dict.fromkeys(names):
            yield Drawn(
                f"comparison_{backbone}_x{scale}",
                f"What {backbone} ×{scale} makes of an image with each loss, with the scores of "
                "the whole image, and its errors.",
                comparison(pictures, scores, backbone, content["rule"]),
            )


def _curves(source: Source) -> Iterator[Drawn]:
    words = "Loss, weight criterion and mean weight over the training, a thin line each seed."
    yield Drawn("curves", words, training_curves(source.cells))


def _tradeoff(source: Source) -> Iterator[Drawn]:
    published = read_published(PUBLISHED, source.number) if source.number else None
    words = "PSNR against LPIPS on each benchmark; better is up and to the right."
    yield Drawn("tradeoff", words, tradeoff(scores_table(source.cells, published)))


def _forest(source: Source) -> Iterator[Drawn]:
    found = differences(all_scores(source.cells), baselines(source.cells))
    yield Drawn(
        "forest",
        "Each loss minus its baseline with 95 % intervals, better to the right; filled points are "
        "significant after correction for their number, the grey band is too small to matter.",
        forest(found),
    )


def _time(source: Source) -> Iterator[Drawn]:
    words = "What a training step takes with each loss, a point each training."
    yield Drawn("time", words, time_of_steps(source.cells))


def _cost(source: Source) -> Iterator[Drawn]:
    words = "What the networks cost: weights and operations, and on each device time and memory."
    yield Drawn("cost", words, cost_bars(source.cells))


FIGURES: dict[str, Callable[[Source], Iterator[Drawn]]] = {
    **{
        "fixed_sum": _fixed_sum,
        "weights": _weights,
        "settings": _settings,
        "weights_over_training": _over_training,
        "example": _example,
        "comparison": _comparison,
    },
    **{"curves": _curves, "tradeoff": _tradeoff, "forest": _forest, "time": _time},
    "cost": _cost,
}


def draw(source: Source, folder: Path, only: Sequence[str] = ()) -> dict[str, str]:
    """Draws a grid's figures as PDF and PNG, and writes their captions as captions.json.

    Args:
        source: what they are drawn from.
        folder: gets the files.
        only: those asked for, of `FIGURES`; without, all that there is something to draw for: what
            a figure lacks is told and the others are drawn.

    Returns:
        The captions, by file name without suffix.

    Raises:
        ValueError: for an unknown figure, and for one asked for that lacks something.
    """
    for name in only:
        if name not in FIGURES:
            raise ValueError(f"figure: {one_of(name, FIGURES)}")
    captions = {}
    with styled():
        for name in only or FIGURES:
            try:
                for drawn in FIGURES[name](source):
                    save(drawn.figure, folder / drawn.name)
                    captions[drawn.name] = drawn.caption
            except ValueError as error:
                if only:
                    raise
                log.info("%s: not drawn: %s", name, error)
    with written_aside(folder / "captions.json") as aside:
        aside.write_text(
            json.dumps(captions, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    return captions
