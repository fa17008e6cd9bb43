"""The one image convention, and every conversion from and to others.

On disk an image is 8-bit RGB, an array uint8 (H, W, 3). Inside the package it is float RGB in
[0, 1]: tensors (N, 3, H, W), or (3, H, W) for a single image. What needs another range, channel
order or colour space converts by a function of this module, named where it is used.
"""

import numpy as np
import torch


def crop_to_multiple(image: np.ndarray, multiple: int) -> np.ndarray:
    """The largest top left part of an image (H, W, C) whose sides are multiples of `multiple`.

    Raises ValueError when a side is shorter than that.
    """
    height, width = (side - side % multiple for side in image.shape[:2])
    if min(height, width) == 0:
        raise ValueError(
            f"an image of {image.shape[0]} x {image.shape[1]} pixels cannot be cropped to a "
            f"multiple of {multiple}: each side needs at least {multiple}"
        )
    return image[:height, :width]


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """(H, W, 3), uint8 or float in [0, 1], as a tensor float32 (3, H, W) in [0, 1].

    A float image keeps its values: an unrounded lr may overshoot [0, 1] a little. In memory the
    channels stay last, which is the layout that the networks run in.
    """
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected an image (H, W, 3), found shape {image.shape}")
    if image.dtype == np.uint8:
        return to_unit(torch.tensor(image).permute(2, 0, 1))
    if np.issubdtype(image.dtype, np.floating):
        return torch.tensor(image, dtype=torch.float32).permute(2, 0, 1)
    raise ValueError(f"expected an image of uint8 or floats in [0, 1], found {image.dtype}")


def to_unit(images: torch.Tensor) -> torch.Tensor:
    """Levels, uint8, as float32 in [0, 1]; floats, which are there already, as they come."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


def round_to_8_bits(images: torch.Tensor) -> torch.Tensor:
    """Clamp to [0, 1] and round to whole 255ths, halves up (as MATLAB); any shape, same dtype."""
    return (images.clamp(0, 1) * 255 + 0.5).floor() / 255


def to_uint8(image: torch.Tensor) -> np.ndarray:
    """(3, H, W) in [0, 1] as uint8 (H, W, 3): clamped, rounded with halves up.

    Raises ValueError for another shape and for values that are not finite.
    """
    if image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"expected an image (3, H, W), found shape {tuple(image.shape)}")
    return to_levels(image, np.uint8)


def to_levels(image: torch.Tensor, dtype: np.typing.DTypeLike) -> np.ndarray:
    """(C, H, W) in [0, 1] as uint8 or uint16 (H, W, C): clamped, rounded with halves up.

    Raises ValueError for values that are not finite.
    """
    if not image.isfinite().all():
        raise ValueError("expected an image with finite values, found nan or inf")
    levels = image.detach().cpu().float().clamp(0, 1)
    levels.mul_(np.iinfo(dtype).max).add_(0.5).floor_()  # in place: images may be large
    return np.ascontiguousarray(levels.numpy().astype(dtype).transpose(1, 2, 0))


def to_signed(images: torch.Tensor) -> torch.Tensor:
    """[0, 1] to [-1, 1], the range of the networks and of LPIPS."""
    return images * 2 - 1


def from_signed(images: torch.Tensor) -> torch.Tensor:
    """[-1, 1] to [0, 1]."""
    return (images + 1) / 2


def swap_channels(images: torch.Tensor) -> torch.Tensor:
    """RGB to BGR and back, (..., 3, H, W)."""
    return images.flip(-3)


def luma(rgb: torch.Tensor) -> torch.Tensor:
    """Y of ITU-R BT.601 in 16..235, (N, H, W), of RGB in [0, 1], (N, 3, H, W); not rounded.

    The numbers are those of MATLAB's rgb2ycbcr.
    """
    red, green, blue = rgb.unbind(1)
    return 16 + 65.481 * red + 128.553 * green + 24.966 * blue


def full_range_luma(rgb: torch.Tensor) -> torch.Tensor:
    """Y of ITU-R BT.601 in 0..255, (N, H, W), of RGB in [0, 1], (N, 3, H, W); not rounded.

    The grey of OpenCV and of Pillow, and the Y of YIQ; not what super-resolution is reported on.
    """
    red, green, blue = rgb.unbind(1)
    return 255 * (0.299 * red + 0.587 * green + 0.114 * blue)
