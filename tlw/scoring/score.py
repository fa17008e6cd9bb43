"""Scores of images that anybody's method made: two folders in, a row of a table out."""

import logging
import math
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from tlw.data.protocols import Protocol
from tlw.imaging.image_files import (
    check_names,
    folder_name,
    image_files,
    read_image,
    read_stored,
    some,
)
from tlw.imaging.ranges import crop_to_multiple, to_tensor
from tlw.imaging.tiles import MAX_PIXELS
from tlw.runtime.errors import at
from tlw.runtime.one_by_one import OneByOne
from tlw.runtime.precision import full_float32
from tlw.scoring.evaluate import enough_for_metrics
from tlw.scoring.scorer import Scorer

log = logging.getLogger(__name__)


class Pair(NamedTuple):
    """Files of one image."""

    name: str  # of hr, without what `hr_suffix` says it has more
    sr: Path
    hr: Path


def score_images(
    sr_folder: Path,
    hr_folder: Path,
    *,
    scale: int,
    protocol: Protocol,
    suffix: str = "",
    hr_suffix: str = "",
    device: torch.device | str = "cpu",
    judge_folder: Path | None = None,
    extra: Sequence[str] = (),
    max_pixels: int = MAX_PIXELS,
    work: OneByOne | None = None,
) -> pd.DataFrame:
    """Scores of the images of a folder, against the hr images of the same names.

    hr is cropped as the protocol crops benchmarks. sr is of that size, or of hr's size before and
    then cropped alike. The benchmark has the name of `hr_folder`. Names are compared in Unicode's
    composed form (NFC): some systems store accents apart from their letters.

    Args:
        suffix: what the names of sr have more than the image's, before the dot. Images of the
            folder without it are left out.
        hr_suffix: the same for hr.
        device: where metrics are computed.
        judge_folder: of LPIPS' weights, see `tlw.judge.weights.judge_weights`.
        extra: metrics beside the protocol's, of `tlw.scoring.columns.EXTRA`.
        max_pixels: of an image to read.
        work: takes down which images cannot be read or scored, of another size for one, so that
            the scores of the others come back. Without it they are an error, too.

    Returns:
        Columns as those of `tlw.scoring.evaluate.score_pairs`.

    Raises:
        ValueError: for a folder without images, names that are no UTF-8, images without a
            counterpart, and when no image, or without `work` not every one, can be scored.
    """
    pairs = counterparts(sr_folder, hr_folder, suffix, hr_suffix)
    scorer = Scorer(protocol, scale, device=device, judge_folder=judge_folder, extra=extra)
    multiple = protocol.multiple("test", scale)
    head = {"protocol": protocol.name, "benchmark": folder_name(hr_folder)}
    rows, cropped, all_work = [], 0, work or OneByOne("scored")
    for pair in tqdm(pairs, f"{hr_folder.name} x{scale}", disable=None):
        with all_work.trying():
            sr = read_image(pair.sr, max_pixels=max_pixels)
            hr, grey = read_stored(pair.hr, max_pixels=max_pixels)
            with at(f"{pair.sr} and {pair.hr}"):
                fitting = _fitting(sr, hr, multiple)
                scores = _scores(scorer, *map(to_tensor, fitting), grey=grey)
            rows.append(head | {"image": pair.name} | scores)
            cropped += fitting[0].shape != sr.shape
    if work is None or not rows:
        all_work.end()
    if cropped:
        log.info(
            "%s: %d of %d images are cropped to a multiple of %d pixels, like their hr",
            *(sr_folder, cropped, len(pairs), multiple),
        )
    _tell_infinite(rows, protocol)
    return pd.DataFrame(rows)


def _fitting(sr: np.ndarray, whole: np.ndarray, multiple: int) -> tuple[np.ndarray, np.ndarray]:
    """sr and hr of one size: hr cropped, and sr, too, where it is of hr's size before."""
    hr = crop_to_multiple(whole, multiple)
    if sr.shape == whole.shape != hr.shape:
        sr = crop_to_multiple(sr, multiple)
    if sr.shape != hr.shape:
        raise ValueError(
            f"expected sr of {_size(hr)} pixels, those of hr cropped to a multiple of "
            f"{multiple}, or of hr's own {_size(whole)}, found {_size(sr)}"
        )
    return sr, hr


def _scores(scorer: Scorer, sr: torch.Tensor, hr: torch.Tensor, *, grey: bool) -> dict[str, float]:
    with enough_for_metrics(hr, scorer), full_float32(deterministic=True):
        return scorer(sr, hr, grey=grey)


def _tell_infinite(rows: list[dict], protocol: Protocol) -> None:
    for metric in protocol.metrics:
        names = [row["image"] for row in rows if math.isinf(row[metric])]
        if names:
            log.warning(
                "%s is infinite, and left out of its mean, where sr and hr are equal: %s",
                *(metric, some(names)),
            )


def counterparts(
    sr_folder: Path, hr_folder: Path, suffix: str = "", hr_suffix: str = ""
) -> list[Pair]:
    """The images of two folders by name; ValueError for those without a counterpart."""
    sr, hr = _by_name(sr_folder, suffix), _by_name(hr_folder, hr_suffix)
    problems = [
        f"{folder} has no image {some(names)}"
        for folder, names in [
            (sr_folder, [f"{name}{suffix}" for name in hr if name not in sr]),
            (hr_folder, [f"{name}{hr_suffix}" for name in sr if name not in hr]),
        ]
        if names
    ]
    if problems:
        raise ValueError(
            f"images are paired by name, whatever their format: {'; '.join(problems)}; rename "
            "them, or say by --suffix what the names of sr have more, and by --hr-suffix those "
            "of hr"
        )
    return [
        Pair(hr[name].stem.removesuffix(hr_suffix) + hr[name].suffix, sr[name], hr[name])
        for name in hr
    ]


def _by_name(folder: Path, suffix: str) -> dict[str, Path]:
    """The images of a folder in order, by their names without suffix and format."""
    paths = image_files(folder)
    check_names([Path(folder_name(folder)), *paths])
    images: dict[str, Path] = {}
    without = []
    for path in paths:
        stem = _composed(path.stem)
        if not stem.endswith(_composed(suffix)):
            without.append(path.name)
            continue
        name = stem.removesuffix(_composed(suffix))
        if name in images:
            raise ValueError(f"{folder}: {images[name].name} and {path.name} are both {name}")
        images[name] = path
    if not images:
        raise ValueError(f"{folder}: expected names that end in {suffix}, found {some(without)}")
    if without:
        log.warning(
            "%s: %d of %d images are left out, whose names do not end in %s: %s",
            *(folder, len(without), len(paths), suffix, some(without)),
        )
    return images


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _size(image: np.ndarray) -> str:
    return f"{image.shape[0]} x {image.shape[1]}"
