"""What many readings of one image have in common, each computed once.

The planes that are compared, SSIM at every window, the judges' features of hr: a reading takes its
part of them. Planes are float64 (H, W) in 8-bit levels.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import correlate1d, uniform_filter

from tlw.imaging.ranges import (
    from_signed,
    full_range_luma,
    luma,
    round_to_8_bits,
    swap_channels,
)
from tlw.judge.lpips import Judge
from tlw.scoring.readings import CHANNELS, ORDERS, PEAKS, RANGES, Area, Reading

_GAUSSIAN, _UNIFORM = 5, 3  # pixels from the middle of SSIM's windows to their edge
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_POOLED_SIDE = 256

Planes = list[np.ndarray]


class ImagePair(NamedTuple):
    """sr and hr of one size, float64 (3, H, W) in [0, 1].

    `grey`: both files have one channel; `deep`: sr has more than 8 bits.
    """

    sr: torch.Tensor
    hr: torch.Tensor
    grey: bool = False
    deep: bool = False


class Error(NamedTuple):
    """The squared error of an image, summed, over how many numbers, and hr's peaks by name."""

    squares: float
    samples: int
    peaks: Mapping[str, float]


def errors(pair: ImagePair, areas: Sequence[Area], *, deep: bool, grey: bool) -> dict:
    """The `Error` of every reading of PSNR, whose peak and mean are left open.

    Args:
        deep, grey: whether any image of the set is, so that the choice is one.
    """
    found = {}
    for first, sr, hr in _compared(Reading("psnr", "", 0, 0), pair, deep=deep, grey=grey):
        squares = sum(np.square(x - y) for x, y in zip(sr, hr, strict=True))
        for area in areas:
            inside = _inside(area, squares.shape)
            seen = [plane[inside] for plane in hr]
            high, low = (float(end(list(map(end, seen)))) for end in (np.max, np.min))
            peaks = dict(zip(PEAKS, (255.0, high, high - low), strict=True))
            count = len(seen) * seen[0].size
            reading = first._replace(crop=area.crop, border=area.border)
            found[reading] = Error(float(squares[inside].sum()), count, peaks)
    return found


def similarities(
    pair: ImagePair, areas: Sequence[Area], *, deep: bool, grey: bool
) -> dict[Reading, float]:
    """SSIM of every reading."""
    found = {}
    for first, sr, hr in _compared(Reading("ssim", "", 0, 0), pair, deep=deep, grey=grey):
        maps = [_ssim_maps(x, y) for x, y in zip(sr, hr, strict=True)]
        for area in areas:
            values = [_in_area(area, x, y, known) for x, y, known in zip(sr, hr, maps, strict=True)]
            for window, pooled in values[0]:
                reading = first._replace(crop=area.crop, border=area.border)
                reading = reading._replace(window=window, pooled=pooled)
                found[reading] = float(np.mean([value[window, pooled] for value in values]))
    return found


@torch.inference_mode()
def distances(
    pair: ImagePair,
    areas: Sequence[Area],
    judges: Mapping[str, Judge],
    *,
    deep: bool,
    device: torch.device | str,
) -> dict[Reading, float]:
    """LPIPS of every reading; `judges` by net, for RGB."""
    found = {}
    for area in areas:
        inside = _inside(area, pair.hr.shape[1:])
        hr = _given(pair.hr[(..., *inside)].to(device))
        images = {
            name: _given(sr[(..., *inside)].to(device)) for name, sr in _depths(pair, deep).items()
        }
        for net, judge in judges.items():
            for order, values in hr:
                distance = judge.against(hr[order, values])
                for depth, sr in images.items():
                    reading = Reading("lpips", depth, area.crop, area.border, net=net)
                    reading = reading._replace(order=order, range=values)
                    found[reading] = float(distance(sr[order, values]))
    return found


def _given(image: torch.Tensor) -> dict[tuple[str, str], torch.Tensor]:
    """What LPIPS is given of (3, H, W), by order and range, as the judge takes it: in [0, 1]."""
    image = image.float()[None]
    orders = dict(zip(ORDERS, (image, swap_channels(image)), strict=True))
    # A judge that was handed [0, 1] for [-1, 1] sees half the contrast around a light grey.
    mistaken = dict(zip(RANGES, (lambda x: x, from_signed), strict=True))
    return {
        (order, name): change(ordered)
        for order, ordered in orders.items()
        for name, change in mistaken.items()
    }


def _depths(pair: ImagePair, deep: bool) -> dict[str, torch.Tensor]:
    rounded = round_to_8_bits(pair.sr) if pair.deep else pair.sr
    return {"8 bits": rounded, "as it is": pair.sr} if deep else {"8 bits": rounded}


def _compared(
    reading: Reading, pair: ImagePair, *, deep: bool, grey: bool
) -> Iterator[tuple[Reading, Planes, Planes]]:
    """The planes of sr and hr that readings compare, with the reading as far as it is known."""
    for depth, sr in _depths(pair, deep).items():
        for stored in ("as RGB", "as stored") if grey else ("as RGB",):
            # Grey files as stored: their levels are Y, whoever computes it.
            levels = stored == "as stored" and pair.grey
            of_sr, of_hr = (_planes(image, levels) for image in (sr, pair.hr))
            for channel in CHANNELS:
                if stored == "as stored" and channel not in CHANNELS[:2]:
                    continue  # the same either way
                known = reading._replace(sr=depth, grey=stored, channel=channel)
                yield known, of_sr[channel], of_hr[channel]


def _planes(image: torch.Tensor, levels: bool) -> dict[str, Planes]:
    y, full = luma(image[None])[0].numpy(), full_range_luma(image[None])[0].numpy()
    if levels:
        y = 255 * image[0].numpy()
    # Halves go up, also those that a sum of three products misses by its last bits.
    rounded = [np.floor(plane + 0.5 + 1e-9) for plane in (y, full)]
    planes = ([y], [rounded[0]], [full], [rounded[1]], list(255 * image.numpy()))
    return dict(zip(CHANNELS, planes, strict=True))


def _inside(area: Area, shape: tuple[int, ...], margin: int = 0) -> tuple[slice, slice]:
    """The part of an image that an area measures; of a map of windows, with their margin."""
    height, width = area.size(*shape)
    bottom, right = (side - area.border - 2 * margin for side in (height, width))
    return slice(area.border, bottom), slice(area.border, right)


# --- SSIM --------------------------------------------------------------------------------------


def _ssim_maps(x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """SSIM at every window inside the image, by kind of window."""
    whole, cut = _gaussian_ssim(x, y)
    middle = (slice(_GAUSSIAN, -_GAUSSIAN),) * 2
    return {"gaussian": whole[middle], "cut": cut[middle], "uniform": _uniform_ssim(x, y)}


def _in_area(
    area: Area, x: np.ndarray, y: np.ndarray, maps: Mapping[str, np.ndarray]
) -> dict[tuple[str, str], float]:
    """SSIM of a plane in an area, by window and pooling."""
    inside = _inside(area, x.shape, _GAUSSIAN)
    parts = {window: maps[window][inside] for window in ("gaussian", "cut")}
    found = {(window, "no"): part.mean() for window, part in parts.items()}
    uniform = maps["uniform"][_inside(area, x.shape, _UNIFORM)]
    x, y = (plane[_inside(area, x.shape)] for plane in (x, y))
    found["mirrored", "no"] = (parts["gaussian"].sum() + _edges(x, y)) / x.size
    found["uniform", "no"] = uniform.mean()
    factor = max(1, round(min(x.shape) / _POOLED_SIDE))
    pooled = parts if factor == 1 else _ssim_maps(*(_averaged(plane, factor) for plane in (x, y)))
    return found | {(window, "yes"): pooled[window].mean() for window in parts}


def _gaussian_ssim(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """SSIM around each pixel in mirrored planes, and the same with no negative contrast term."""
    offsets = np.arange(-_GAUSSIAN, _GAUSSIAN + 1)
    window = np.exp(-(offsets**2) / (2 * 1.5**2))
    window /= window.sum()

    def mean(plane: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(plane, window, 0, mode="mirror"), window, 1, mode="mirror")

    return _ssim(mean, x, y, 1.0)


def _uniform_ssim(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    side = 2 * _UNIFORM + 1
    whole, _ = _ssim(lambda plane: uniform_filter(plane, side), x, y, side**2 / (side**2 - 1))
    return whole[_UNIFORM:-_UNIFORM, _UNIFORM:-_UNIFORM]


def _ssim(mean, x: np.ndarray, y: np.ndarray, sample: float) -> tuple[np.ndarray, np.ndarray]:
    of_x, of_y = mean(x), mean(y)
    variances = sample * (mean(x * x) - of_x**2 + mean(y * y) - of_y**2)
    covariance = sample * (mean(x * y) - of_x * of_y)
    light = (2 * of_x * of_y + _C1) / (of_x**2 + of_y**2 + _C1)
    contrast = (2 * covariance + _C2) / (variances + _C2)
    return light * contrast, light * contrast.clip(0)


def _edges(x: np.ndarray, y: np.ndarray) -> float:
    """The sum of SSIM over the pixels whose windows reach beyond the image."""
    r = _GAUSSIAN
    total = 0.0
    for flipped_x, flipped_y in ((x, y), (x[::-1], y[::-1])):
        total += _gaussian_ssim(flipped_x[: 2 * r], flipped_y[: 2 * r])[0][:r].sum()
    for flipped_x, flipped_y in ((x, y), (x[:, ::-1], y[:, ::-1])):
        side, _ = _gaussian_ssim(flipped_x[:, : 2 * r], flipped_y[:, : 2 * r])
        total += side[r:-r, :r].sum()
    return total


def _averaged(plane: np.ndarray, factor: int) -> np.ndarray:
    height, width = (side // factor for side in plane.shape)
    blocks = plane[: height * factor, : width * factor].reshape(height, factor, width, factor)
    return blocks.mean((1, 3))
