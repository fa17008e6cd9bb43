"""MATLAB's `imresize(..., 'bicubic')` as one small matrix per dimension.

Resizing is linear and separable: `rows @ image @ columns.T`. Each row of such a matrix holds the
weights of Keys' cubic kernel (Keys, IEEE ASSP 29(6), 1981) around one output pixel; when shrinking,
MATLAB widens the kernel by 1/scale, which is the antialiasing that OpenCV's and torch's default
bicubic do not do. Pixel centres lie at half integers, and positions are exact rational numbers
here, so that a scale of 1/3 is no less exact than one of 1/2.

Two modes matter, because 0.02 dB hang on them:

- `mode="float"`: nothing is rounded, as MATLAB does with a double image.
- `mode="uint8"`: rounded (half up) and clipped to 8 bits after each dimension, as MATLAB does with
  a uint8 image. With `border="replicate"` this gives every pixel of the LR images that an older
  MATLAB made for Set5 and Set14; newer versions mirror the border instead.
"""

import math
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:  # half a second to import, for what most processes never do
    from scipy.sparse import csr_array

Border = Literal["mirror", "replicate"]
Mode = Literal["float", "uint8"]


def imresize(
    image: np.ndarray,
    *,
    scale: float | Fraction | None = None,
    size: tuple[int, int] | None = None,
    mode: Mode = "float",
    border: Border = "mirror",
    a: float = -0.5,
    antialias: bool = True,
) -> np.ndarray:
    """Resize an image (H, W, C) or (H, W) of any range, by a scale or to a size (rows, columns).

    A scale gives ceil(scale * H) x ceil(scale * W) pixels, with the kernel placed by the scale
    itself as in MATLAB; it is read as the nearest fraction with a denominator up to 10000, so the
    float 1/3 is a third. The dimension that shrinks more comes first, rows first when both shrink
    alike.

    Returns float64 in the range of the input with mode "float" (the kernel overshoots at edges:
    nothing is clipped), uint8 with mode "uint8", which wants a uint8 image.
    Raises ValueError for anything else, or unless exactly one of `scale` and `size` is given.
    """
    if (scale is None) == (size is None):
        raise ValueError(f"imresize wants either scale or size, got scale={scale} and size={size}")
    if mode not in ("float", "uint8"):
        raise ValueError(f"imresize mode is 'float' or 'uint8', got {mode!r}")
    if mode == "uint8" and image.dtype != np.uint8:
        raise ValueError(f"imresize mode 'uint8' wants a uint8 image, got {image.dtype}")
    if image.ndim not in (2, 3):
        raise ValueError(f"imresize wants an image (H, W, C) or (H, W), got shape {image.shape}")
    if scale is not None:
        ratio = Fraction(scale).limit_denominator(10_000)
        size = math.ceil(ratio * image.shape[0]), math.ceil(ratio * image.shape[1])
    else:
        ratio = None
    assert size is not None  # one of the two was given

    for axis in sorted((0, 1), key=lambda axis: size[axis] / max(image.shape[axis], 1)):
        matrix = _sparse_matrix(image.shape[axis], size[axis], ratio, a, antialias, border)
        image = _along(axis, matrix, image)
        if mode == "uint8":
            image = np.floor(image.clip(0, 255) + 0.5).astype(np.uint8)
    return image


def _along(axis: int, matrix: "csr_array", image: np.ndarray) -> np.ndarray:
    lines = np.moveaxis(image, axis, 0)
    resized = matrix @ lines.reshape(len(lines), -1).astype(np.float64)
    return np.ascontiguousarray(np.moveaxis(resized.reshape(-1, *lines.shape[1:]), 0, axis))


@lru_cache(maxsize=256)  # a few kB to a few 100 kB each; an image set has some dozens of sizes
def _sparse_matrix(
    size_in: int, size_out: int, ratio: Fraction | None, a: float, antialias: bool, border: Border
) -> "csr_array":
    from scipy.sparse import csr_array

    if size_in < 1 or size_out < 1:
        raise ValueError(f"cannot resize {size_in} samples to {size_out}: both must be at least 1")
    ratio = ratio or Fraction(size_out, size_in)
    p, q = ratio.numerator, ratio.denominator
    shrink = min(ratio, Fraction(1)) if antialias else Fraction(1)
    reach = math.ceil(2 / shrink) + 1  # taps on either side; one too many, whose weight is 0

    i = np.arange(size_out)[:, None]
    nearest = ((2 * i + 1) * q - p) // (2 * p)
    j = nearest + np.arange(-reach, reach + 1)
    # Output centre minus input centre, ((2 i + 1) q - (2 j + 1) p) / 2 p, times the shrinkage:
    # whole numbers up to the last division, so that mirrored positions get bitwise equal weights.
    numerator = ((2 * i + 1) * q - (2 * j + 1) * p) * shrink.numerator
    weights = _cubic(numerator / (2 * p * shrink.denominator), a)
    weights /= weights.sum(axis=1, keepdims=True)

    shape = (size_out, size_in)
    rows = np.broadcast_to(i, j.shape)
    kept = weights != 0
    inside = _fold(j, size_in, border)
    return csr_array((weights[kept], (rows[kept], inside[kept])), shape=shape)


def _cubic(x: np.ndarray, a: float) -> np.ndarray:
    """Keys' piecewise cubic: 1 at 0, 0 at the other integers and beyond 2."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _fold(index: np.ndarray, size: int, border: Border) -> np.ndarray:
    """Indices outside 0..size-1 brought back inside."""
    if border == "replicate":
        return index.clip(0, size - 1)
    if border == "mirror":
        index = index % (2 * size)
        return np.where(index < size, index, 2 * size - 1 - index)
    raise ValueError(f"border is 'mirror' or 'replicate', got {border!r}")
