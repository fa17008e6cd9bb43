"""Pictures to look at: which images, which part of them, and what each network makes of it.

Images are chosen by a rule, or named in the config, never by hand afterwards: per scale and
benchmark the image for which the losses differ most, and the one for which they differ least. The
part shown is where the networks' images differ most from each other.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from tlw.config.config import Cell
from tlw.data.pairs import Pairs
from tlw.imaging.ranges import to_uint8
from tlw.networks.sr_net import load_network, super_resolve
from tlw.runtime.files import written_aside
from tlw.runtime.precision import full_float32
from tlw.scoring.columns import METRICS

SIDE = 128  # of the part shown, in hr pixels
MOST, LEAST, NAMED = "losses differ most", "losses differ least", "named in the config"
RULE = (
    "Of each benchmark and scale the images are those for which the losses' {metric} differ most "
    "and least: the range over the losses, of one seed each, averaged over the networks. The part "
    "shown is where the networks' images differ most from each other."
)


class Chosen(NamedTuple):
    """An image to show, and why."""

    benchmark: str
    image: str
    why: str
    corner: tuple[int, int] | None = None  # top and left of the part, in hr pixels, where named


def choose(scores: pd.DataFrame, named: Collection[str] = ()) -> list[Chosen]:
    """The images to show of one scale, see the module.

    Args:
        scores: of all cells of one scale, as `tlw.scoring.evaluate` gives them.
        named: benchmark/image, shown besides; with @top,left the part of it, too.

    Raises:
        ValueError: for a named image that was not scored, or a corner that is none.
    """
    there = scores[["benchmark", "image"]].drop_duplicates()
    known = {f"{benchmark}/{image}" for benchmark, image in there.itertuples(index=False)}
    chosen = []
    for text in named:
        name, _, corner = text.partition("@")
        if name not in known:
            raise ValueError(f"{name}: expected an image that was scored, as {min(known)}")
        chosen.append(Chosen(*name.partition("/")[::2], NAMED, _corner(text, corner)))
    keys = ["benchmark", "image", "backbone"]
    one = scores.sort_values("seed").drop_duplicates([*keys, "loss"])
    grouped = one[one["loss"] != ""].groupby(keys, sort=False)[metric_of(scores)]
    spread = (grouped.max() - grouped.min()).groupby(level=[0, 1], sort=False).mean()
    for benchmark, part in spread.groupby(level=0, sort=False):
        for why, place in ((MOST, part.argmax()), (LEAST, part.argmin())):
            found = Chosen(str(benchmark), str(part.index[place][1]), why)
            if found[:2] not in [other[:2] for other in chosen]:
                chosen.append(found)
    return chosen


def _corner(text: str, corner: str) -> tuple[int, int] | None:
    if not corner:
        return None
    if not re.fullmatch(r"\d+,\d+", corner):
        raise ValueError(f"{text}: expected the part's top and left, as @60,40, found @{corner}")
    top, left = corner.split(",")
    return int(top), int(left)


def metric_of(scores: pd.DataFrame) -> str:
    """The metric that pictures are chosen by: LPIPS where there is one, else the first."""
    metrics = [metric for metric in METRICS if metric in scores.columns]
    return next((metric for metric in metrics if metric.startswith("lpips")), metrics[0])


def write_pictures(
    weights: Sequence[Path],
    pairs: Sequence[Path],
    scores: pd.DataFrame,
    folder: Path,
    *,
    device: str = "cpu",
    named: Collection[str] = (),
    networks: Collection[str] = (),
) -> Path:
    """Super-resolves the chosen images of one scale, and keeps the parts to show as PNGs.

    Args:
        weights: weights files of one scale; of a network and loss with several seeds the first.
        pairs: the benchmarks' pairs files.
        scores: of these networks, see `choose`.
        folder: gets the PNGs (8 bits; lr as large as it is) and index.json, which says of each
            picture benchmark, image, scale, why, top and left (hr pixels), and its files: hr, lr,
            bicubic, and backbone/loss.

    Returns:
        index.json.
    """
    loaded = _first_seeds(weights, networks)
    sets = {p.image_set: p for p in map(Pairs, pairs)}
    folder.mkdir(parents=True, exist_ok=True)
    entries: list[dict[str, Any]] = []
    for benchmark, image, why, corner in choose(scores, named):
        p = sets[benchmark]
        lr, hr = p[p.names.index(image)]
        with full_float32(deterministic=True), torch.inference_mode():
            made = {name: super_resolve(net.to(device), lr) for name, net in loaded.items()}
            bicubic = p.protocol.upsample_bicubic(lr[None], p.scale)[0]
        top, left, side = where_they_differ(list(made.values()), p.scale)
        if corner is not None:  # as near to it as the square and the scale allow
            most = (length - side for length in hr.shape[1:])
            top, left = (
                min(at, last) // p.scale * p.scale for at, last in zip(corner, most, strict=True)
            )
        parts = {"hr": hr, "bicubic": bicubic, **made}
        shown = {name: x[:, top : top + side, left : left + side] for name, x in parts.items()}
        small = [slice(at // p.scale, (at + side) // p.scale) for at in (top, left)]
        shown["lr"] = lr[:, small[0], small[1]]
        files = _write(shown, folder, f"{len(entries):02}")
        entries.append(
            {"benchmark": benchmark, "image": image, "scale": p.scale, "why": why}
            | {"top": top, "left": left, "files": files}
        )
    index = folder / "index.json"
    rule = RULE.format(metric=METRICS[metric_of(scores)].head)
    with written_aside(index) as aside:
        aside.write_text(json.dumps({"rule": rule, "pictures": entries}, indent=1) + "\n")
    return index


def _first_seeds(weights: Sequence[Path], networks: Collection[str]) -> dict[str, Any]:
    found: dict[str, tuple[float, Any]] = {}
    for path in weights:
        net, cell = load_network(path, networks=networks)
        name = f"{cell.backbone_name}/{cell.loss_name}"
        seed = cell.seed if isinstance(cell, Cell) else -1
        if name not in found or seed < found[name][0]:
            found[name] = seed, net
    return {name: net for name, (_, net) in found.items()}


def where_they_differ(
    images: Sequence[Tensor], scale: int, side: int = SIDE
) -> tuple[int, int, int]:
    """Top, left and side, in hr pixels, of the square in which images differ most.

    The difference is their variance over the images, summed over channels and pixels. All three are
    multiples of the scale; a smaller image gives a smaller square.
    """
    height, width = images[0].shape[1:]
    side = min(side, height, width) // scale * scale
    if len(images) > 1:
        variance = torch.stack([x.clamp(0, 1) for x in images]).var(dim=0).sum(dim=0)
    else:
        variance = torch.zeros(height, width)
    sums = F.avg_pool2d(variance[None, None].double(), side, stride=scale)[0, 0]
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    return int(top) * scale, int(left) * scale, side


def _write(shown: Mapping[str, Tensor], folder: Path, number: str) -> dict[str, str]:
    files = {}
    for name, picture in shown.items():
        files[name] = f"{number}_{name.replace('/', '_')}.png"
        levels = to_uint8(picture.clamp(0, 1))
        with written_aside(folder / files[name]) as aside:
            Image.fromarray(levels).save(aside, format="png", optimize=True)
    return files


def read_pictures(index: Path) -> dict[str, Any]:
    """An index.json of `write_pictures`; ValueError for another file."""
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        for picture in content["pictures"]:
            picture["files"] = {k: index.parent / v for k, v in picture["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index}: no index of `tlw pictures`: {error}") from None
    return content
