"""One layer's part of LPIPS: normalise, subtract, square, weight, sum; a block of pixels at a time.

The feature maps of one VGG16 pass take some 55 MB, and the plain formula sends each of its ten
operations through main memory. Here a block goes through all of them while it stays in the cache,
and the backward pass computes again what the plain one would keep.
"""

from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor

_BLOCK = 2**18  # numbers on a CPU: a MiB in float32
_EPS = 1e-10  # LPIPS adds it to the length


def unit_features(features: Tensor, dtype: torch.dtype) -> Tensor:
    """Features (N, C, H, W), divided by the length of each pixel's: (N, H W, C) in `dtype`."""
    units = _pixels(features).to(dtype, copy=True)
    return units.div_(_length(units).add_(_EPS))


def layer_distance(one: Tensor, units: Tensor, head: Tensor) -> Tensor:
    """Mean over pixels of sum_c head_c (a_c / |a| - b_c / |b|)^2 (Zhang et al., 2018, Eq. 1).

    Args:
        one: (N, C, H, W) features a; gradients flow to them alone.
        units: (M, H W, C) `unit_features` of the b, N a multiple of M: each M of `one` are
            compared with them.
        head: (C,) the channels' weights, of the floating type of `units`.

    Returns:
        (N,), of the type of `head`, not below 0.
    """
    return _LayerDistance.apply(one, units, head)


class _LayerDistance(torch.autograd.Function):
    @staticmethod
    def forward(ctx, one: Tensor, units: Tensor, head: Tensor) -> Tensor:
        ctx.save_for_backward(one, units, head)
        features = _groups(one, len(units))
        sums = head.new_empty(features.shape[:3])
        for block in _blocks(features):
            x = features[block].to(head.dtype, copy=True)
            length = _length(x)
            torch.addcdiv(units[block[1:]], x, length + _EPS, value=-1, out=x).square_()
            sums[block] = x @ head
        return sums.mean(dim=2).flatten()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        one, units, head = ctx.saved_tensors
        result = torch.empty_like(one, memory_format=torch.channels_last)
        features, out = (_groups(x, len(units)) for x in (one, result))
        factors = 2 / features.shape[2] * grad.view(*features.shape[:2], 1, 1) * head
        for block in _blocks(features):
            unit = features[block].to(head.dtype, copy=True)
            length = _length(unit)
            unit.div_(length + _EPS)
            d = torch.sub(unit, units[block[1:]]).mul_(factors[block[:2]])
            along = torch.linalg.vecdot(d, unit)[..., None]
            d.div_(length + _EPS)
            # where a is all 0 so is unit, and any length will do
            out[block] = d.addcmul_(unit, along / length.clamp_min(_EPS), value=-1)
        return result, None, None


def _length(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True)


def _pixels(x: Tensor) -> Tensor:
    """(N, H W, C), a view of an x (N, C, H, W) in channels-last layout."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def _groups(x: Tensor, images: int) -> Tensor:
    """(N / images, images, H W, C), likewise."""
    return _pixels(x).unflatten(0, (-1, images))


def _blocks(features: Tensor) -> Iterator[tuple[int | slice, int | slice, slice]]:
    """Group, image and as many pixels as stay in the cache; on a GPU all of it at once."""
    groups, images, pixels, channels = features.shape
    if features.device.type != "cpu":
        yield slice(None), slice(None), slice(None)
        return
    size = max(1, _BLOCK // channels)
    # a block of the other image's serves all groups while it is in the cache
    for image, start, group in product(range(images), range(0, pixels, size), range(groups)):
        yield group, image, slice(start, start + size)
