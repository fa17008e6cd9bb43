"""Image files enlarged by a trained network."""

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from tlw.imaging.image_files import image_files
from tlw.imaging.pictures import Picture, read_picture, with_colour_under_alpha, write_picture
from tlw.imaging.ranges import to_levels
from tlw.imaging.tiles import MAX_PIXELS, OVERLAP, TILE, check_tiles, tile_of
from tlw.networks.sr_net import SRNet, load_network, super_resolve
from tlw.runtime.errors import at
from tlw.runtime.memory import enough_memory
from tlw.runtime.one_by_one import OneByOne
from tlw.runtime.precision import full_float32

log = logging.getLogger(__name__)


def upscale_images(
    images: Iterable[Path],
    weights: Path,
    output: Path,
    *,
    device: torch.device | str = "cpu",
    tile: int = TILE,
    overlap: int = OVERLAP,
    max_pixels: int = MAX_PIXELS,
) -> None:
    """Writes each image, enlarged, as `output`/<its stem>.png, in the bit depth that it has.

    Args:
        images: files, or folders of which all images are taken.
        weights: file of the trained network.
        output: a folder. What is there under these names is overwritten.
        tile: side of the tiles of an image that has more pixels than one of them, see
            `tlw.imaging.tiles`.
        max_pixels: of an image to read.

    Raises:
        ValueError: before any work for an image that is not there, for two that would be written
            to one file, or to one of the images; at the end for images that cannot be read or
            enlarged, each by name. All others are done.
    """
    targets = _targets(images, output)
    net, cell = load_network(weights)
    check_tiles(tile, overlap, net.window)
    net.to(device)
    work = OneByOne("enlarged")
    for target, path in tqdm(targets.items(), f"x{cell.scale}", disable=None):
        with work.trying():
            picture = read_picture(path, max_pixels=max_pixels)
            height, width = picture.samples.shape[:2]
            if tile_of(height, width, tile):
                log.info("%s: %d x %d pixels, in tiles of %d", path, height, width, tile)
            with at(str(path)):
                upscaled = upscale(net, picture, cell.scale, tile=tile, overlap=overlap)
            write_picture(target, upscaled)
    work.end(f"the others are in {output}")


def upscale(
    net: SRNet, picture: Picture, scale: int, *, tile: int = TILE, overlap: int = OVERLAP
) -> Picture:
    """A picture enlarged, of the same kind.

    Grey goes through the network as three equal channels, and is the mean of what comes. Alpha is
    enlarged by bicubic interpolation, as in `torch.nn.functional.interpolate`; where it is 0 the
    network sees the nearest visible colour. Raises ValueError when the memory does not do.
    """
    height, width = picture.samples.shape[:2]
    size = f"{height} x {width} pixels made {scale * height} x {scale * width}"
    with enough_memory(size, "enlarge the image in parts"):
        planes = _planes(with_colour_under_alpha(picture).samples)
        lr, alpha = (planes[:-1], planes[-1:]) if picture.has_alpha else (planes, None)
        with full_float32(deterministic=True):
            sr = super_resolve(net, lr.expand(3, -1, -1), tile=tile, overlap=overlap)
        if len(lr) == 1:
            sr = sr.mean(0, keepdim=True)
        if alpha is not None:
            alpha = F.interpolate(alpha[None], scale_factor=scale, mode="bicubic")[0]
            sr = torch.cat([sr, alpha])
        return Picture(to_levels(sr, picture.samples.dtype), picture.colour)


def _planes(samples: np.ndarray) -> torch.Tensor:
    """float32 (C, H, W) in [0, 1] of levels (H, W, C)."""
    levels = samples.transpose(2, 0, 1).astype(np.float32)
    return torch.from_numpy(levels / np.iinfo(samples.dtype).max)


def _targets(images: Iterable[Path], output: Path) -> dict[Path, Path]:
    """The image that each file to be written is made of."""
    targets: dict[Path, Path] = {}
    inputs = {path.resolve(): path for given in images for path in _files(given)}
    for path in inputs.values():
        target = output / f"{path.stem}.png"
        if target in targets:
            raise ValueError(
                f"{targets[target]} and {path} would both be written to {target}; rename one, or "
                "take them one after the other into two folders"
            )
        if target.resolve() in inputs:
            raise ValueError(f"{target} is one of the images to read; choose another output folder")
        targets[target] = path
    return targets


def _files(given: Path) -> list[Path]:
    if given.is_file():
        return [given]
    if not given.is_dir():
        raise ValueError(f"{given}: expected an image or a folder of images, found neither")
    return image_files(given)
