"""3x3 convolutions with four ninths of the multiplications: Winograd's F(2x2, 3x3).

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016), Section 4.1: tiles
d of 4x4 pixels and kernels g give tiles of 2x2, A' [(G g G') * (B' d B)] A, and the products in
the brackets, summed over channels, are 16 matrix products. Their rounding is that of a plain
convolution. What B and A take in additions pays from some 256 channels on.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

_G = torch.tensor([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], dtype=torch.float64)
_FLIPPED = (3, 1, 2, 0)  # the order of G's rows for a kernel that is read backwards
_NUMBERS = 2**22  # in the tiles at work: 16 MiB in float32


def transformed(kernel: Tensor) -> Tensor:
    """G g G' of kernels (O, C, 3, 3), for `convolve`: (4, 4, C, O)."""
    return torch.einsum("ia,ocab,jb->ijco", _G, kernel.double(), _G).to(kernel.dtype).contiguous()


@torch.autocast("cpu", enabled=False)  # which would take the products, and them alone, in bfloat16
def convolve(
    x: Tensor, kernel: Tensor, bias: Tensor | None = None, *, transposed: bool = False
) -> Tensor:
    """A convolution of stride 1 with a margin of one zero, in channels-last layout.

    Args:
        x: (N, C, H, W).
        kernel: (4, 4, C, O), `transformed`.
        bias: (O,).
        transposed: computes the gradient of such a convolution with respect to what it was given,
            (N, C, H, W), from one with respect to what it gave: x, (N, O, H, W).

    Returns:
        (N, O, H, W).
    """
    order = _FLIPPED if transposed else range(4)
    factors = (kernel.transpose(2, 3) if transposed else kernel).flatten(0, 1)
    (n, _, height, width), (_, inward, outward) = x.shape, factors.shape
    h, w = (height + 1) // 2, (width + 1) // 2
    margins = (0, 0, 1, 1 + 2 * w - width, 1, 1 + 2 * h - height)
    padded = F.pad(x.permute(0, 2, 3, 1), margins)
    y = x.new_empty(n, 2 * h, 2 * w, outward)
    rows = max(1, _NUMBERS // (16 * n * w * max(inward, outward)))
    for top in range(0, 2 * h, 2 * rows):
        tiles = _to_tiles(padded[:, top : top + 2 * rows + 2], order)
        products = torch.bmm(tiles.view(16, -1, inward), factors).view(*tiles.shape[:-1], outward)
        if bias is not None:
            products[1, 1] += bias  # which A takes into all four pixels
        _from_tiles(products, order, out=y[:, top : top + 2 * rows])
    return y[:, :height, :width].permute(0, 3, 1, 2)


def _to_tiles(x: Tensor, order: tuple[int, ...] | range) -> Tensor:
    """B' d B of the 4x4 tiles at every second pixel of (N, H, W, C): (4, 4, N, h, w, C)."""
    n, height, width, channels = x.shape
    h, w = height // 2 - 1, width // 2 - 1
    lines, tiles = x.new_empty(n, h, width, channels), x.new_empty(4, 4, n, h, w, channels)
    for i, (a, b, sign) in zip(order, _combinations(x, dim=1), strict=True):
        torch.add(a, b, alpha=sign, out=lines)
        for j, (c, d, other_sign) in zip(order, _combinations(lines, dim=2), strict=True):
            torch.add(c, d, alpha=other_sign, out=tiles[i, j])
    return tiles


def _combinations(x: Tensor, dim: int) -> Iterator[tuple[Tensor, Tensor, int]]:
    """The rows of B', (0 - 2), (1 + 2), (2 - 1), (1 - 3), over the pixels of a dimension."""
    count = x.shape[dim] // 2 - 1
    pixels = [x.unflatten(dim, (-1, 2)).select(dim + 1, odd) for odd in (0, 1)]
    first, second, third, fourth = (
        pixels[odd].narrow(dim, start, count) for start in (0, 1) for odd in (0, 1)
    )
    yield first, third, -1
    yield second, third, 1
    yield third, second, -1
    yield second, fourth, -1


def _from_tiles(products: Tensor, order: tuple[int, ...] | range, out: Tensor) -> None:
    """A' m A, (4, 4, N, h, w, O) to the (N, 2h, 2w, O) of `out`."""
    for i, lines in enumerate(_sums(products, order)):
        for j, pixels in enumerate(_sums(lines, order)):
            out[:, i::2, j::2] = pixels


def _sums(m: Tensor, order: tuple[int, ...] | range) -> Iterator[Tensor]:
    """The rows of A', (0 + 1 + 2) and (1 - 2 - 3), over the first dimension."""
    first, second, third, fourth = (m[i] for i in order)
    yield (first + second).add_(third)
    yield (second - third).sub_(fourth)
