"""lr images as MATLAB's imresize makes them, as files for whoever trains or tests elsewhere."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tlw.data.protocols import PROTOCOLS
from tlw.imaging.image_files import image_files
from tlw.imaging.pictures import Picture, read_picture, write_picture
from tlw.imaging.ranges import crop_to_multiple
from tlw.imaging.resize import Border
from tlw.runtime.errors import at

log = logging.getLogger(__name__)


def downscale_folder(folder: Path, output: Path, *, scale: int, border: Border = "mirror") -> None:
    """Writes lr of each image of a folder as `output`/<its stem>.png, 8 bits, whole or not at all.

    hr is cropped to a multiple of the scale, then shrunk as protocol standard does; with the
    mirrored border its pairs have the same lr, pixel by pixel. Grey stays grey, alpha is left out.

    Args:
        border: "mirror" as newer versions of MATLAB, "replicate" as those that made the lr images
            that go round.

    Raises:
        ValueError: before any work for a folder without images, and for two that would be written
            to one file or onto an image of the folder; later, by name, for an image that cannot
            be read, has 16 bits, or is smaller than the scale.
    """
    rules = replace(PROTOCOLS["standard"], lr_border=border)
    for path, target in tqdm(list(_targets(folder, output)), f"x1/{scale}", disable=None):
        picture = read_picture(path)
        with at(str(path)):
            hr = crop_to_multiple(_colours(path, picture), rules.multiple("test", scale))
            lr = rules.downsample(hr, scale)
        write_picture(target, Picture(lr, picture.colour))


def _colours(path: Path, picture: Picture) -> np.ndarray:
    """uint8 (H, W, 1 or 3)."""
    if picture.samples.dtype != np.uint8:
        raise ValueError(
            "expected 8 bits per channel, found 16; MATLAB rounds 8 bits after each dimension, so "
            "convert the image to 8 bits first"
        )
    if picture.has_alpha:
        log.warning("%s: its alpha is left out", path)
        return picture.samples[..., :-1]
    return picture.samples


def _targets(folder: Path, output: Path) -> Iterator[tuple[Path, Path]]:
    images = image_files(folder)
    if output.resolve() == folder.resolve():
        raise ValueError(f"{output}: the folder of hr; choose another one for lr")
    of_target: dict[Path, Path] = {}
    for path in images:
        target = output / f"{path.stem}.png"
        first = of_target.setdefault(target, path)
        if first != path:
            raise ValueError(f"{first} and {path} would both be written to {target}; rename one")
        yield path, target
