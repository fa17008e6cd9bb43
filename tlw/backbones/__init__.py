"""The super-resolution networks, and how one is built.

Any `nn.Module` class can be a backbone: one of `tlw.config.backbones.BACKBONES`, or one from
elsewhere named by its import path, `"package.module:Class"`. It has this shape:

- `Class(*, scale, **arguments)`: every argument by keyword; `scale` is 2, 3 or 4.
- `forward(lr) -> sr`: from (N, 3, h, w) to (N, 3, scale h, scale w), of any h and w. The network
  does not care about the range: sr comes in the (linear) range of lr, and whoever calls converts.

The networks here offer two halves of `forward` besides, `sr = reconstruct(features(lr), lr)`,
because the uncertainty loss puts its variance head on the features:

- `features(lr)`: the last feature maps before the image is made, (N, `num_features`, h, w), or
  (N, `num_features`, scale h, scale w) for VDSR, which upsamples first;
- `reconstruct(features, lr)`: the image from them.

A network that works on windows of lr pixels has their side as `window`: large images then go
through it in tiles that begin where windows do (`tlw.imaging.tiles`).

This module leaves importing torch to those of the networks, so that looking at the table is quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from tlw.config import lookup
from tlw.config.backbones import check, import_path
from tlw.config.settings import SCALES

if TYPE_CHECKING:
    from torch import Tensor, nn


class InHalves(Protocol):
    """A network with the two halves of `forward`, for type checkers."""

    @property
    def num_features(self) -> int: ...

    def features(self, lr: Tensor) -> Tensor: ...

    def reconstruct(self, features: Tensor, lr: Tensor) -> Tensor: ...


def build(path_or_name: str, *, scale: int, **arguments: Any) -> nn.Module:
    """The network `path_or_name` for `scale`, with PyTorch's (or its own) initial weights.

    Raises ValueError for whatever `check` refuses and for values that the network refuses.
    """
    check(path_or_name, arguments)
    network = lookup.locate(import_path(path_or_name), f"backbone '{path_or_name}'")
    return network(scale=scale, **arguments)


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
