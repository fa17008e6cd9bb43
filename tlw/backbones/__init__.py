"""The super-resolution networks: a table of names, and how one is looked up, checked and built.

Any `nn.Module` class can be a backbone: one of `BACKBONES`, or one from elsewhere named by its
import path, `"package.module:Class"`. It has this shape:

- `Class(*, scale, **arguments)`: every argument by keyword; `scale` is 2, 3 or 4.
- `forward(lr) -> sr`: from (N, 3, h, w) to (N, 3, scale h, scale w), of any h and w. The network
  does not care about the range: sr comes in the (linear) range of lr, and whoever calls converts.

The networks here offer two halves of `forward` besides, `sr = reconstruct(features(lr), lr)`,
because the uncertainty loss puts its variance head on the features:

- `features(lr)`: the last feature maps before the image is made,
  (N, `num_features`, `features_scale` h, `features_scale` w);
- `reconstruct(features, lr)`: the image from them;
- `features_scale` is 1 for networks that upsample at the end, and `scale` for VDSR, which
  upsamples first.

A network that works on windows of lr pixels has their side as `window`: large images then go
through it in tiles that begin where windows do (`tlw.tiles`).

This module leaves importing torch to those of the networks, so that looking at the table is quick.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tlw import lookup

if TYPE_CHECKING:
    from torch import nn

BACKBONES: dict[str, str] = {
    "vdsr": "tlw.backbones.vdsr:VDSR",
    "edsr": "tlw.backbones.edsr:EDSR",
    "rcan": "tlw.backbones.rcan:RCAN",
    "hat": "tlw.backbones.hat:HAT",
}
SCALES = (2, 3, 4)


def build(path_or_name: str, *, scale: int, **arguments: Any) -> nn.Module:
    """The network `path_or_name` for `scale`, with PyTorch's (or its own) initial weights.

    Raises ValueError for whatever `check` refuses and for values that the network refuses.
    """
    check(path_or_name, arguments)
    network = lookup.locate(_path(path_or_name), f"backbone '{path_or_name}'")
    return network(scale=scale, **arguments)


def check(path_or_name: str, arguments: Mapping[str, Any]) -> None:
    """Refuses, by ValueError, a backbone that cannot be found or that has no such arguments.

    `arguments` are those besides `scale`. Only names are checked, without importing torch; values
    are checked by the network's constructor.
    """
    what = f"backbone '{path_or_name}'"
    lookup.check(_path(path_or_name), arguments, what=what, given=("scale",))


def count_parameters(network: nn.Module) -> int:
    """How many numbers training changes."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def require_scale(network: str, scale: int) -> None:
    """Raises ValueError, in the name of the class `network`, unless `scale` is 2, 3 or 4."""
    if type(scale) is not int or scale not in SCALES:
        raise ValueError(f"{network}: scale must be 2, 3 or 4, not {scale!r}")


def require_counts(network: str, **values: int) -> None:
    """Raises ValueError, in the name of the class `network`, for what is no integer above 0."""
    for key, value in values.items():
        if type(value) is not int or value < 1:
            raise ValueError(f"{network}: {key} must be an integer of at least 1, not {value!r}")


def _path(path_or_name: str) -> str:
    """The import path of a known name, or the path itself."""
    path = BACKBONES.get(path_or_name, path_or_name)
    if ":" not in path:
        raise ValueError(
            f"unknown backbone '{path_or_name}'{lookup.suggest(path_or_name, BACKBONES)}; known "
            f"are {', '.join(BACKBONES)}, or give an import path, 'package.module:Class'"
        )
    return path
