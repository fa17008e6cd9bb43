"""What is measured: cells of the paper's size, their batches, and the precisions of a device."""

import argparse
from pathlib import Path
from typing import get_args

import numpy as np
import skimage
import torch
from torch import Tensor

from tlw.config.backbones import BACKBONES
from tlw.config.config import Cell, Config
from tlw.config.settings import PRESETS, Precision
from tlw.data.protocols import protocol
from tlw.imaging.image_files import read_image
from tlw.imaging.ranges import crop_to_multiple, to_tensor
from tlw.runtime.precision import usable

# Photographs that scikit-image ships; chelsea is the smallest, 300 x 451.
PHOTOGRAPHS = ("astronaut", "coffee", "brick", "grass", "gravel", "chelsea")


def add_options(found: argparse.ArgumentParser) -> None:
    """The options that choose cells."""
    found.add_argument("--size", type=int, help="side in hr pixels (default 336, quick 96)")
    found.add_argument("--scale", dest="scales", type=int, nargs="+", default=[2, 4])
    found.add_argument("--backbone", dest="backbones", nargs="+", default=list(BACKBONES))
    found.add_argument("--preset", choices=list(PRESETS), default="paper")


def add_losses(found: argparse.ArgumentParser) -> None:
    """The option that chooses losses."""
    losses = ["l1-tlw", "l1"]
    found.add_argument("--loss", dest="losses", nargs="+", choices=losses, default=losses)


def size_of(options: argparse.Namespace) -> int:
    """The side of a batch's images, in hr pixels."""
    return options.size or (96 if options.quick else 336)


def precisions(device: torch.device) -> list[str]:
    """The precisions that a device computes in, "float32" first."""
    return [name for name in get_args(Precision) if usable(name, device) == name]


def cell(
    backbone: str, scale: int, loss: str, *, preset: str = "paper", precision: str = "float32",
    size: int | None = None,
) -> Cell:  # fmt: skip
    """A cell of the paper's size; with a `size` it trains on crops, else on whole images."""
    recipe = {"sampling": "whole", "epochs": 1}
    if size is not None:
        recipe = {"sampling": "crops", "size": size, "steps_per_epoch": 1000, "epochs": 1}
    recipe["precision"] = precision
    grid = {"title": "Benchmark", "train": ["photographs"], "recipe": "one", "preset": preset}
    config = {
        "results": "results/benchmarks",
        "test": ["photographs"],
        "grids": {"one": grid | {"backbones": [backbone], "scales": [scale], "losses": [loss]}},
        "recipes": {"one": recipe},
    }
    return Config.parse(config, "benchmark").cells("one")[0]


def photograph(name: str) -> Path:
    """The file of one of `PHOTOGRAPHS`."""
    return Path(skimage.__file__).parent / "data" / f"{name}.png"


def batch(size: int, scale: int, *, name: str = "astronaut") -> tuple[Tensor, Tensor]:
    """lr (1, 3, h, w) and hr (1, 3, size, size): the middle of a photograph, in [0, 1].

    A size beyond the photograph's is filled up with its mirror image.
    """
    image = read_image(photograph(name))
    short = [max(size - side, 0) for side in image.shape[:2]]
    image = np.pad(image, [*((0, missing) for missing in short), (0, 0)], mode="symmetric")
    top, left = ((side - size) // 2 for side in image.shape[:2])
    hr = crop_to_multiple(image[top : top + size, left : left + size], scale)
    lr = protocol("paper").downsample(hr, scale)
    return to_tensor(lr)[None], to_tensor(hr)[None]


def on(device: torch.device, *tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors on a device."""
    return tuple(tensor.to(device) for tensor in tensors)
