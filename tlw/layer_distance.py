"""One layer's part of LPIPS: normalise, subtract, square, weight, sum; a block of pixels at a time.

The feature maps of one VGG16 pass take some 55 MB, and the plain formula sends each of its ten
operations through main memory. Here a block goes through all of them while it stays in the cache,
and the backward pass computes again what the plain one would keep.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

_BLOCK = 2**18  # numbers on a CPU: a MiB in float32
_EPS = 1e-10  # LPIPS adds it to the length


def layer_distance(one: Tensor, other: Tensor, head: Tensor) -> Tensor:
    """Mean over pixels of sum_c head_c (a_c / |a| - b_c / |b|)^2 (Zhang et al., 2018, Eq. 1).

    Args:
        one: (N, C, H, W) features a; gradients flow to them alone.
        other: (M, C, H, W) features b, N a multiple of M: each M of `one` are compared with them.
        head: (C,) the channels' weights, of the floating type that is computed in.

    Returns:
        (N,), of the type of `head`, not below 0.
    """
    return _LayerDistance.apply(one, other, head)


class _LayerDistance(torch.autograd.Function):
    @staticmethod
    def forward(ctx, one: Tensor, other: Tensor, head: Tensor) -> Tensor:
        ctx.save_for_backward(one, other, head)
        total = 0
        for a, b in _blocks(_rows(one, len(other)), _rows(other, len(other))):
            d, _, _ = _difference(a, b, head.dtype)
            total = total + (d.square_() @ head).sum(dim=2)
        return total.flatten() / one[0, 0].numel()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        one, other, head = ctx.saved_tensors
        result = torch.empty_like(one, memory_format=torch.channels_last)
        factor = 2 * grad.view(-1, len(other), 1, 1) / one[0, 0].numel()
        rows = (_rows(x, len(other)) for x in (one, other, result))
        for a, b, out in _blocks(*rows):
            d, unit, length = _difference(a, b, head.dtype)
            d.mul_(head * factor)
            # where a is all 0 so is unit, and any length will do
            along = (d * unit).sum(dim=3, keepdim=True) / length.clamp_min(_EPS)
            out.copy_(d.div_(length + _EPS).addcmul_(unit, along, value=-1))
        return result, None, None


def _difference(a: Tensor, b: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """a / |a| - b / |b|, a / |a| and |a|, of rows of channels."""
    unit, length = _unit(a, dtype)
    return unit - _unit(b, dtype)[0], unit, length


def _unit(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    x = x.to(dtype)
    length = torch.linalg.vector_norm(x, dim=3, keepdim=True)
    return x / (length + _EPS), length


def _rows(x: Tensor, images: int) -> Tensor:
    """(N / images, images, H W, C), a view of an x (N, C, H, W) in channels-last layout."""
    return x.permute(0, 2, 3, 1).reshape(-1, images, x[0, 0].numel(), x.shape[1])


def _blocks(first: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same pixels of all of them, as many at once as stay in the cache."""
    groups, images, pixels, channels = first.shape
    size = max(1, _BLOCK // (groups * images * channels)) if first.device.type == "cpu" else pixels
    for start in range(0, pixels, size):
        yield tuple(x[:, :, start : start + size] for x in (first, *others))
