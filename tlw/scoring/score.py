"""Scores of images that anybody's method made: two folders in, a row of a table out."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from tlw.data.protocols import Protocol
from tlw.imaging.image_files import SUFFIXES, read_image
from tlw.imaging.ranges import crop_to_multiple, to_tensor
from tlw.runtime.errors import at
from tlw.runtime.precision import full_float32
from tlw.scoring.evaluate import Scorer

log = logging.getLogger(__name__)


def score_images(
    sr_folder: Path,
    hr_folder: Path,
    *,
    scale: int,
    protocol: Protocol,
    suffix: str = "",
    device: torch.device | str = "cpu",
    judge_folder: Path | None = None,
    extra: Sequence[str] = (),
) -> pd.DataFrame:
    """Scores of the images of a folder, against the hr images of the same names.

    hr is cropped as the protocol crops benchmarks. sr is of that size, or of hr's size before and
    then cropped alike. The benchmark has the name of `hr_folder`.

    Args:
        suffix: what the names of sr have more than those of hr, before the dot.
        device: where LPIPS is computed.
        judge_folder: of LPIPS' weights, see `tlw.judge.weights.judge_weights`.
        extra: metrics beside the protocol's, of `tlw.scoring.columns.EXTRA`.

    Returns:
        Columns as those of `tlw.scoring.evaluate.score_pairs`.

    Raises:
        ValueError: for a folder without images, images without a counterpart, sr of another size,
            and images that cannot be read or scored, each by name.
    """
    pairs = counterparts(sr_folder, hr_folder, suffix)
    scorer = Scorer(protocol, scale, device=device, judge_folder=judge_folder, extra=extra)
    multiple = protocol.multiple("test", scale)
    rows, cropped = [], 0
    for sr_path, hr_path in tqdm(pairs, f"{hr_folder.name} x{scale}", disable=None):
        sr, whole = read_image(sr_path), read_image(hr_path)
        with at(f"{sr_path} and {hr_path}"), full_float32(deterministic=True):
            hr = crop_to_multiple(whole, multiple)
            if sr.shape == whole.shape != hr.shape:
                sr, cropped = crop_to_multiple(sr, multiple), cropped + 1
            if sr.shape != hr.shape:
                raise ValueError(
                    f"expected sr of {_size(hr)} pixels, those of hr cropped to a multiple of "
                    f"{multiple}, or of hr's own {_size(whole)}, found {_size(sr)}"
                )
            scores = scorer(to_tensor(sr), to_tensor(hr))
        row = {"protocol": protocol.name, "benchmark": hr_folder.absolute().name}
        rows.append(row | {"image": hr_path.name} | scores)
    if cropped:
        log.info(
            "%s: %d of %d images are cropped to a multiple of %d pixels, like their hr",
            *(sr_folder, cropped, len(pairs), multiple),
        )
    return pd.DataFrame(rows)


def counterparts(sr_folder: Path, hr_folder: Path, suffix: str) -> list[tuple[Path, Path]]:
    sr, hr = _by_name(sr_folder, suffix), _by_name(hr_folder, "")
    problems = [
        f"{folder} has no image {', '.join(names[:5])}"
        + (f" and {len(names) - 5} others" if len(names) > 5 else "")
        for folder, names in [
            (sr_folder, [f"{name}{suffix}" for name in hr if name not in sr]),
            (hr_folder, [name for name in sr if name not in hr]),
        ]
        if names
    ]
    if problems:
        raise ValueError(
            f"images are paired by name, whatever their format: {'; '.join(problems)}; rename "
            "them, or say by --suffix what the names of sr have more"
        )
    return [(sr[name], hr[name]) for name in hr]


def _by_name(folder: Path, suffix: str) -> dict[str, Path]:
    """The images of a folder in order, by their names without suffix and format."""
    images: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES:
            name = path.stem.removesuffix(suffix)
            if name in images:
                raise ValueError(f"{folder}: {images[name].name} and {path.name} are both {name}")
            images[name] = path
    if not images:
        raise ValueError(f"{folder}: expected images ({', '.join(SUFFIXES)}), found none")
    return images


def _size(image: np.ndarray) -> str:
    return f"{image.shape[0]} x {image.shape[1]}"
