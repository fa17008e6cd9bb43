"""Which images a training step sees: a pure function of seed and step.

Nothing here remembers anything, so a run that resumes at step n sees what it would have seen, and
all losses of a cell group see the same batches in the same order, as the paper has it.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tlw.config.config import Cell
from tlw.config.recipe import Recipe
from tlw.data.pairs import Pairs
from tlw.data.protocols import protocol

_ORDER, _CROP, _NOISE = range(3)  # independent streams of random numbers


def noise_seed(seed: int, step: int) -> int:
    """The seed of all random numbers drawn by networks and losses in a step."""
    return int(np.random.SeedSequence([seed, _NOISE, step]).generate_state(1)[0])


def training_sets(
    cell: Cell, paths: Sequence[Path], *, device: torch.device | None = None
) -> list[Pairs]:
    """The cell's training sets in its own order, from pairs files in any; see `Pairs`."""
    found: dict[str, Pairs] = {}
    for path in paths:
        pairs = Pairs(path, scale=cell.scale, device=device)
        _refuse_other_pairs(pairs, cell)
        if pairs.image_set in found:
            raise ValueError(
                f"{path}: pairs of {pairs.image_set} are given already, by "
                f"{found[pairs.image_set].path}; name one of the two"
            )
        found[pairs.image_set] = pairs
    missing = [name for name in cell.train if name not in found]
    if missing:
        raise ValueError(
            f"{cell.name} trains on {', '.join(cell.train)}: no pairs of {', '.join(missing)} "
            "are given; name their files, too"
        )
    return [found[name] for name in cell.train]


def _refuse_other_pairs(pairs: Pairs, cell: Cell) -> None:
    expected = (cell.protocol, "train")
    if pairs.image_set not in cell.train or (pairs.protocol.name, pairs.use) != expected:
        raise ValueError(
            f"{pairs.path}: expected pairs for training of one of {', '.join(cell.train)}, "
            f"protocol {cell.protocol}; found {pairs.image_set}, protocol {pairs.protocol.name}, "
            f"for use in {pairs.use}; name the right file"
        )
    if pairs.protocol != protocol(cell.protocol):
        raise ValueError(
            f"{pairs.path}: its protocol {cell.protocol} has other values than this version's; "
            "delete the file and build it again"
        )


class Batches(Dataset):
    """The batches of a recipe: `batches[step]` is (lr, hr), (N, 3, h, w) and (N, 3, sh, sw).

    Images are as the pairs store them, see `Pairs.stored`; `tlw.imaging.ranges.to_unit` makes them
    float32.

    Args:
        sets: the training sets' pairs, all of one scale.
        recipe: how they are sampled.
        seed: of order, crops and flips.

    Raises:
        ValueError: for pairs of differing scales, or an image smaller than a crop or tile, with
            its name.
    """

    def __init__(self, sets: Sequence[Pairs], recipe: Recipe, seed: int) -> None:
        self.sets, self.recipe, self.seed = list(sets), recipe, seed
        scales = {pairs.scale for pairs in sets}
        if len(scales) != 1:
            raise ValueError(f"training sets must have one scale, found {sorted(scales)}")
        self.scale = scales.pop()
        self.images = [(s, i) for s, pairs in enumerate(self.sets) for i in range(len(pairs))]
        if recipe.sampling != "whole":
            for image in self.images:
                self._refuse_small(*image)
        if recipe.sampling == "tiles":
            self.tiles = [t for image in self.images for t in self._tiles_of(*image)]

    @property
    def _size(self) -> int:
        """Side of a crop or tile, in hr pixels."""
        assert self.recipe.size is not None  # only whole images have none
        return self.recipe.size

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch; the last one of an epoch of tiles may be smaller."""
        if self.recipe.sampling == "whole":
            return len(self.images)
        if self.recipe.sampling == "tiles":
            return math.ceil(len(self.tiles) / self.recipe.batch)
        assert self.recipe.steps_per_epoch is not None  # crops have it
        return self.recipe.steps_per_epoch

    def images_in(self, steps: int) -> int:
        """Images, crops or tiles in so many first steps."""
        epochs, rest = divmod(steps, self.steps_per_epoch)
        if self.recipe.sampling == "tiles":
            return epochs * len(self.tiles) + rest * self.recipe.batch
        return steps * self.recipe.batch

    def __len__(self) -> int:
        return self.steps_per_epoch * self.recipe.epochs

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        step = range(len(self))[step]
        rng = np.random.default_rng([self.seed, _CROP, step])
        pairs = [self._augment(*pair, rng) for pair in self._pairs(step, rng)]
        lr, hr = zip(*pairs, strict=True)
        return torch.stack(lr), torch.stack(hr)

    def _pairs(self, step: int, rng: np.random.Generator) -> list[tuple[Tensor, Tensor]]:
        if self.recipe.sampling == "crops":
            return [self._random_crop(rng) for _ in range(self.recipe.batch)]
        epoch, index = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng([self.seed, _ORDER, epoch])
        if self.recipe.sampling == "whole":
            s, i = self.images[order.permutation(len(self.images))[index]]
            return [self._read(s, i)]
        start = index * self.recipe.batch
        chosen = order.permutation(len(self.tiles))[start : start + self.recipe.batch]
        return [self._crop(*self.tiles[tile]) for tile in chosen]

    def _crop(self, s: int, i: int, y: int, x: int) -> tuple[Tensor, Tensor]:
        return self._read(s, i, y, x, self._size // self.scale)

    def _read(self, s: int, i: int, *crop: int) -> tuple[Tensor, Tensor]:
        pairs = self.sets[s]
        try:
            return pairs.crop(i, *crop) if crop else pairs.stored(i)
        except (KeyError, OSError, RuntimeError) as error:  # as h5py has them
            raise ValueError(
                f"{pairs.path}: image {pairs.names[i]} cannot be read: {error}; build the file anew"
            ) from None

    def _random_crop(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        s, i = self.images[rng.integers(len(self.images))]
        size = self._size // self.scale
        height, width = self._lr_size(s, i)
        y, x = rng.integers(height - size + 1), rng.integers(width - size + 1)
        return self._crop(s, i, int(y), int(x))

    def _augment(self, lr: Tensor, hr: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        if not self.recipe.augment:
            return lr, hr
        turns, flip = int(rng.integers(4)), bool(rng.integers(2))
        lr, hr = (image.flip(-1) if flip else image for image in (lr, hr))
        return torch.rot90(lr, turns, (-2, -1)), torch.rot90(hr, turns, (-2, -1))

    def _tiles_of(self, s: int, i: int) -> list[tuple[int, int, int, int]]:
        size = self._size // self.scale
        height, width = self._lr_size(s, i)
        rows, columns = height // size, width // size
        return [(s, i, y * size, x * size) for y in range(rows) for x in range(columns)]

    def _lr_size(self, s: int, i: int) -> tuple[int, int]:
        height, width = self.sets[s].sizes[i]
        return height // self.scale, width // self.scale

    def _refuse_small(self, s: int, i: int) -> None:
        pairs = self.sets[s]
        height, width = pairs.sizes[i]
        if min(height, width) < self._size:
            raise ValueError(
                f"{pairs.path}: image {pairs.names[i]} has {height} x {width} pixels, less than "
                f"the {self._size} of the recipe's {self.recipe.sampling}; take a smaller "
                "size, or leave the image out"
            )
