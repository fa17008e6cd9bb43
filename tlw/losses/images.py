"""What a loss of this package takes images for, in whichever loop it is called."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

from tlw.imaging.ranges import from_signed

_OVERSHOOT = 0.1  # beyond [0, 1], of what was resized or augmented and not clamped


def in_float32(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A loss's `forward(self, sr, hr)`, outside of the caller's autocast, with halves made float32.

    A distance of images that are nearly alike, and a logarithm of it, are nothing for 8 or 11 bits.
    `sr` may be several tensors. The first hr that a loss is called with is looked at: with values
    that are clearly outside [0, 1] the loss would go on, and mean something else.

    Raises (the wrapped function):
        ValueError: for such an hr, or one of whole numbers.
    """

    @wraps(forward)
    def wrapped(self: nn.Module, sr: Any, hr: Tensor) -> Tensor:
        if not getattr(self, "_has_seen_images", False):
            _require_unit(hr)
            self._has_seen_images = True  # type: ignore[assignment]  # torch's types know no flag
        with torch.autocast(hr.device.type, enabled=False):
            images = tuple(map(_full, sr)) if isinstance(sr, tuple) else _full(sr)
            return forward(self, images, _full(hr))

    return wrapped


def _full(images: Tensor) -> Tensor:
    return images.float() if images.dtype in (torch.float16, torch.bfloat16) else images


def _require_unit(hr: Tensor) -> None:
    if not hr.is_floating_point():
        raise ValueError(f"expected hr in [0, 1], found {hr.dtype}; divide 8-bit levels by 255")
    low, high = (end.item() for end in hr.detach().aminmax())
    if low < -_OVERSHOOT or high > 1 + _OVERSHOOT:
        advice = (
            f"tlw.imaging.ranges.{from_signed.__name__} takes [-1, 1] there"
            if low >= -1 - _OVERSHOOT and high <= 1 + _OVERSHOOT
            else "divide 8-bit levels by 255"
        )
        raise ValueError(f"expected hr in [0, 1], found {low:g} to {high:g}; {advice}")
