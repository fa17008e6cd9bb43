"""Tiny things to train on: images, pairs files, cells, and the command `tlw` in its own process."""

import csv
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import skimage.data
import torch
import torch.nn.functional as F
from png_files import write_image
from torch import nn

from tlw.backbones import build
from tlw.backbones.vdsr import VDSR
from tlw.config.config import Cell, Config
from tlw.data.pairs import write_pairs
from tlw.data.pairs_file import pixel_hash
from tlw.data.protocols import protocol as protocol_named
from tlw.networks.authors import RULES

SMALL_VDSR = {"path": "vdsr", "arguments": {"features": 4, "layers": 1}}
FRAGILE_VDSR = {"path": "toys:Fragile", "arguments": {"features": 4, "layers": 1}}
SMALL_EDSR = {"path": "edsr", "arguments": {"features": 4, "blocks": 1}}
SMALL_RCAN = {
    "path": "rcan",
    "arguments": {"features": 4, "groups": 1, "blocks": 1, "reduction": 2},
}
SMALL_HAT = {
    "path": "hat",
    "arguments": {"embed": 4, "depths": [1], "heads": [2], "squeeze": 2, "features": 4},
}
CROPS = {"sampling": "crops", "size": 32, "batch": 1, "epochs": 2, "steps_per_epoch": 3}


def photograph(name: str = "astronaut", *, size: tuple[int, int] = (84, 56)) -> np.ndarray:
    """The middle of a photograph that scikit-image ships, uint8 (height, width, 3)."""
    image = getattr(skimage.data, name)()
    top, left = ((have - want) // 2 for have, want in zip(image.shape, size, strict=False))
    return image[top : top + size[0], left : left + size[1]]


def toy_pairs(
    folder: Path,
    images: Sequence[np.ndarray] | None = None,
    *,
    name: str = "toy",
    scale: int = 2,
    use: str = "train",
    protocol: str = "paper",
    **more: str,
) -> Path:
    """A pairs file of some images, two photographs if none are given, named 0.png, 1.png, ..."""
    images = [photograph(), photograph("coffee", size=(56, 84))] if images is None else images
    sources = folder / f"{name}-images"
    sources.mkdir(parents=True, exist_ok=True)
    paths = [sources / f"{i}.png" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        write_image(path, np.ascontiguousarray(image))
    target = folder / f"{name}_{protocol}_x{scale}_{use}.h5"
    rules = protocol_named(protocol)
    write_pairs(paths, target, name=name, scale=scale, protocol=rules, use=use, workers=1, **more)
    return target


def coded_pairs(folder: Path, sizes: Sequence[tuple[int, int]], *, scale: int = 2) -> Path:
    """A pairs file in which every pixel tells where it is from.

    lr is (image, y, x) in 8 bits, hr the same with every pixel repeated: so any crop, however
    turned, says what it is, and lr and hr fit together exactly where hr is lr enlarged.

    Args:
        sizes: height and width of each lr image.
    """
    blanks = [np.zeros((scale * h, scale * w, 3), np.uint8) for h, w in sizes]
    path = toy_pairs(folder, blanks, name="coded", scale=scale, protocol="standard")
    with h5py.File(path, "r+") as file:
        for index, (h, w) in enumerate(sizes):
            y, x = np.mgrid[:h, :w]
            lr = np.stack([np.full((h, w), index), y, x], axis=-1).astype(np.uint8)
            hr = lr.repeat(scale, axis=0).repeat(scale, axis=1)
            file[f"lr/{index:04d}"][()] = lr
            file[f"hr/{index:04d}"][()] = hr
            file["pixels"][index] = pixel_hash(hr, lr)
    return path


def toy_cells(
    losses: Sequence[str] = ("l1",),
    *,
    backbone: Mapping[str, Any] = SMALL_VDSR,
    scale: int = 2,
    preset: str = "paper",
    seeds: Sequence[int] = (0,),
    train: Sequence[str] = ("toy",),
    protocol: str = "paper",
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    recipe: Mapping[str, Any] = CROPS,
    start: str | None = None,
    validation: Mapping[str, Any] | None = None,
    test: Sequence[str] = ("tested",),
) -> list[Cell]:
    """The cells of a one-backbone grid; weighted losses get a small weighting network.

    Args:
        changes: of losses, besides `features: 4` of the weighted ones.
        recipe: as in a config file.
    """
    small = {loss: {"features": 4} for loss in losses if loss.endswith("-tlw")}
    changed = {loss: {**small.get(loss, {}), **(changes or {}).get(loss, {})} for loss in losses}
    config = {
        "results": "results",
        "protocol": protocol,
        "test": list(test),
        "grids": {
            "toy": {
                **{"title": "Toys", "train": list(train), "recipe": "toy", "preset": preset},
                **{"backbones": ["toy"], "scales": [scale], "losses": list(losses)},
                **{"seeds": list(seeds), "start": start, "validation": validation},
            }
        },
        "recipes": {"toy": {"learning_rate": 1e-3, "init": "pytorch", **recipe}},
        "backbones": {"toy": dict(backbone)},
        "losses": {loss: entry for loss, entry in changed.items() if entry},
    }
    return Config.parse(config, "toys").cells("toy")


def toy_cell(loss: str = "l1", **options: Any) -> Cell:
    """The one cell of a loss; options as those of `toy_cells`."""
    return toy_cells([loss], **options)[0]


def authors_state_dict(backbone: str, scale: int) -> dict[str, torch.Tensor]:
    """Random weights of a network of the TLW authors (not HAT), under their keys."""
    torch.manual_seed(0)
    state = build(backbone, scale=scale).state_dict()
    for rule in RULES[backbone]:
        state = {re.sub(*rule, key): value for key, value in state.items()}
    return state


def write_cell(cell: Cell, folder: Path) -> Path:
    """cell.json in a folder, as `tlw cell` would write it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "cell.json"
    path.write_text(cell.model_dump_json(indent=2) + "\n")
    return path


def tlw(*words: str | Path) -> list[str]:
    """The command line of `tlw` with these words, for `subprocess`."""
    return [sys.executable, "-m", "tlw.cli", *map(str, words)]


def tlw_train(folder: Path, pairs: Path, *options: str | Path) -> list[str]:
    """The command line that trains the cell of a folder on the CPU, on one thread."""
    common = ("--device", "cpu", "--threads", 1)
    return tlw("train", folder / "cell.json", "--pairs", pairs, *common, *options)


def environment(**changes: str) -> dict[str, str]:
    """This process's environment for one in which `toys` can be imported, too."""
    paths = [str(Path(__file__).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | changes


def run(command: Sequence[str], **changes: str) -> subprocess.CompletedProcess:
    """Runs a command to its end, whatever that is, and gives its output as text.

    Args:
        changes: of environment variables.
    """
    return subprocess.run(
        command, capture_output=True, text=True, timeout=600, env=environment(**changes)
    )


def curve(path: Path) -> list[dict[str, str]]:
    """The rows of a training.csv without the columns that no two runs have in common."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        {key: value for key, value in row.items() if key not in ("images_per_second", "waiting")}
        for row in rows
    ]


@contextmanager
def small_disk(folder: Path, *, kilobytes: int) -> Iterator[Path]:
    """A real file system of that size in a new folder; skips the test where none can be had."""
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("a small disk can be mounted by root only")
    options = ("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs")
    mounted = subprocess.run(["mount", *options, folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> Path:
    """Fills a small disk to its last byte; the file to delete to make room again."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        while True:
            try:
                if file.write(bytes(1024)) < 1024:
                    return filler
            except OSError:
                return filler


class Stoppable(VDSR):
    """VDSR that can send its own process a signal in the middle of a step, to see what is left.

    `TOYS_SIGNAL`, such as "SIGKILL@5", says which signal and at which look at a batch, counted from
    this process's start; of several processes it is the one that `TOYS_RANK` names, or the first.
    """

    looks = 0

    def features(self, lr: torch.Tensor) -> torch.Tensor:
        if self.head.weight.requires_grad:  # not the frozen copy in which the UDL loss looks, too
            self.looks += 1
            name, _, look = os.environ.get("TOYS_SIGNAL", "").partition("@")
            mine = os.environ.get("RANK", "0") == os.environ.get("TOYS_RANK", "0")
            if look == str(self.looks) and mine:
                os.kill(os.getpid(), signal.Signals[name])
        return super().features(lr)


class Fragile(Stoppable):
    """The same with dropout: it draws random numbers, which no interruption may change."""

    def features(self, lr: torch.Tensor) -> torch.Tensor:
        features = super().features(lr)
        kept = torch.empty_like(features).bernoulli_(0.9)
        return features * kept / 0.9 if self.training else features


class Telling(nn.Module):
    """A backbone that cannot be built where it is trained, and tells an environment variable."""

    def __init__(self, *, scale: int, variable: str) -> None:
        raise ValueError(f"{variable} is {os.environ.get(variable)}")


class Overflowing(nn.Module):
    """A backbone whose loss is finite, but not its gradient."""

    def __init__(self, *, scale: int) -> None:
        super().__init__()
        self.scale, self.factor = scale, nn.Parameter(torch.zeros(1))

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        return F.interpolate(lr + self.factor.sqrt(), scale_factor=self.scale)


class Probe(nn.Module):
    """A backbone of one's own, enlarging by nearest neighbours, each channel with its own factor.

    Keeps what it was given, in `seen`. Two of its weights are one and the same, and a third does
    not lie in memory as it is read: what a weights file must bear with.
    """

    def __init__(self, *, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.factors = nn.Parameter(torch.tensor([[1.0, 2.0, 3.0]]).T)
        self.again = self.factors
        self.turned = nn.Parameter(torch.rand(3, 2).T)

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        self.seen = lr
        return F.interpolate(lr * self.factors[..., None], scale_factor=self.scale)
