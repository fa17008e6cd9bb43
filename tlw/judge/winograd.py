"""3x3 convolutions with a quarter of the multiplications: Winograd's F(4x4, 3x3).

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016), Section 4: tiles d
of 6x6 pixels and kernels g give tiles of 4x4, A' [(G g G') * (B' d B)] A, and the products in the
brackets, summed over channels, are 36 matrix products. With C channels made into O, what takes
tiles there and back adds 9 / O + 4 / C of a plain convolution's multiplications. Kernels become
four times as large.

G, B and A belong to six points at which polynomials are evaluated. With those taken here float32
rounds once to twice as coarsely as torch's convolution in the same layout, with the usual ones, 0,
1, -1, 2, -2 and infinity, twice as coarsely again.
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_OUT, _IN = 4, 6  # sides of a tile
_NUMBERS = 2**20  # in the tiles at work, 4 MiB in float32; more where a kernel has more
_ROOT = 0.5**0.5
_POINTS = np.array([0, _ROOT, -_ROOT, 1 / _ROOT, -1 / _ROOT])
# They lie so that 1 / p is a point where p is one: what a kernel is at p, divided by p, it is at
# 1 / p when it is read backwards. Infinity comes last and belongs to 0.
_BACKWARDS = [5, 3, 4, 1, 2, 0]


def _powers(count: int) -> np.ndarray:
    """p^0 to p^(count - 1), a row for each point; infinity's is the highest power alone."""
    return np.vstack([np.vander(_POINTS, count, increasing=True), np.eye(count)[-1]])


def _on_tiles(matrix: np.ndarray) -> Tensor:
    """What takes a flattened tile t to the flattened `matrix` t `matrix`'."""
    return torch.from_numpy(np.kron(matrix, matrix))


_DIVISORS = np.array([1, *_POINTS[1:], 1])[:, None]
_G = _on_tiles(_powers(3) / _DIVISORS)
_B = np.linalg.inv(_powers(_IN)).T * _DIVISORS
_A = _powers(_OUT).T
# What makes tiles ready to be multiplied, and what makes them of the products.
_FORWARDS = _on_tiles(_B), _on_tiles(_A)
_TRANSPOSED = _on_tiles(_B[_BACKWARDS]), _on_tiles(_A[:, _BACKWARDS])


def transformed(kernel: Tensor) -> Tensor:
    """G g G' of kernels (O, C, 3, 3), for `convolve`: (36, C, O)."""
    outward, inward = kernel.shape[:2]
    numbers = kernel.double().permute(2, 3, 1, 0).reshape(9, -1)
    return (_G @ numbers).to(kernel.dtype).view(-1, inward, outward)


@torch.autocast("cpu", enabled=False)  # which would take the products, and them alone, in bfloat16
def convolve(
    x: Tensor, kernel: Tensor, bias: Tensor | None = None, *, transposed: bool = False
) -> Tensor:
    """A convolution of stride 1 with a margin of one zero, in channels-last layout.

    Args:
        x: (N, C, H, W).
        kernel: (36, C, O), `transformed`.
        bias: (O,).
        transposed: computes the gradient of such a convolution with respect to what it was given,
            (N, C, H, W), from one with respect to what it gave: x, (N, O, H, W).

    Returns:
        (N, O, H, W).
    """
    before, after = (m.to(x.dtype) for m in (_TRANSPOSED if transposed else _FORWARDS))
    kernel = kernel.mT if transposed else kernel
    (n, _, height, width), (_, inward, outward) = x.shape, kernel.shape
    h, w = -(-height // _OUT), -(-width // _OUT)
    pixels = x.permute(0, 2, 3, 1)
    y = x.new_empty(n, h, _OUT, w, _OUT, outward)
    into = y.permute(2, 4, 0, 1, 3, 5)
    numbers = max(_NUMBERS, kernel.numel() // 2)
    for images, rows in _blocks(n, h, rows=numbers // (_IN**2 * w * max(inward, outward))):
        tiles = _tiles(pixels[images], rows, w)
        factors = (before @ tiles.reshape(_IN**2, -1)).view(_IN**2, -1, inward)
        found = after @ torch.bmm(factors, kernel).view(_IN**2, -1)
        if bias is not None:
            found.view(-1, outward).add_(bias)
        into[:, :, images, rows] = found.view(_OUT, _OUT, *tiles.shape[2:5], outward)
    y = y.view(n, _OUT * h, _OUT * w, outward)[:, :height, :width]
    return y.contiguous().permute(0, 3, 1, 2)


def _tiles(x: Tensor, rows: slice, columns: int) -> Tensor:
    """(6, 6, N, rows, columns, C): those rows of the tiles of x (N, H, W, C), zero beyond it."""
    height, width = x.shape[1:3]
    first, last = _OUT * rows.start - 1, _OUT * rows.stop + 1
    margins = (0, 0, 1, 1 + _OUT * columns - width, max(0, -first), max(0, last - height))
    padded = F.pad(x[:, max(0, first) : last], margins)
    return padded.unfold(1, _IN, _OUT).unfold(2, _IN, _OUT).permute(4, 5, 0, 1, 2, 3)


def _blocks(images: int, height: int, *, rows: int) -> Iterator[tuple[slice, slice]]:
    """Images and rows of tiles in them, about so many rows together."""
    together, rows = max(1, rows // height), max(1, min(rows, height))
    for first in range(0, images, together):
        for top in range(0, height, rows):
            yield slice(first, first + together), slice(top, min(top + rows, height))
