"""Which bicubic made the lr images of a folder: each candidate is run on hr and compared.

Five conventions are in use, and lr of one given to a network trained on another costs up to 1 dB.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from tqdm import tqdm

from tlw.imaging.image_files import read_image
from tlw.imaging.ranges import to_tensor, to_uint8
from tlw.imaging.resize import Border, imresize
from tlw.runtime.errors import at
from tlw.scoring.readings import MULTIPLES
from tlw.scoring.score import counterparts

Size = tuple[int, int]


class Origin(NamedTuple):
    """A way to shrink hr uint8 (sH, sW, 3) to a size, with its name in a sentence."""

    words: str
    shrink: Callable[[np.ndarray, Size], np.ndarray]


class Likeness(NamedTuple):
    """How lr of a folder compares with what an origin makes of its hr, all images together."""

    origin: str
    equal: float  # share of the samples
    mean: float  # absolute difference in levels
    largest: int
    images: int  # that are equal altogether

    @property
    def explains(self) -> bool:
        """Whether it made lr but for rounding: rarely another level, never by more than one."""
        return self.equal >= 0.99 and self.largest <= 1


class Origins(NamedTuple):
    """The likenesses of all origins, the likest first, of so many images and this scale."""

    likenesses: list[Likeness]
    images: int
    scale: int


def _matlab(border: Border) -> Callable[[np.ndarray, Size], np.ndarray]:
    return lambda hr, size: imresize(hr, size=size, mode="uint8", border=border)


def _matlab_float(border: Border) -> Callable[[np.ndarray, Size], np.ndarray]:
    return lambda hr, size: _in_levels(imresize(hr / 255, size=size, border=border))


def _opencv(hr: np.ndarray, size: Size) -> np.ndarray:
    # Not OpenCV itself, but its INTER_CUBIC in floats. OpenCV 5.0.0 gives the same for a float
    # image, rounded; for 8 bits it counts in fixed point, and 1 sample in 250 is a level off.
    made = imresize(hr / 255, size=size, border="replicate", a=-0.75, antialias=False)
    return _in_levels(made)


def _torch(antialias: bool) -> Callable[[np.ndarray, Size], np.ndarray]:
    def shrink(hr: np.ndarray, size: Size) -> np.ndarray:
        images = to_tensor(hr)[None]
        return to_uint8(F.interpolate(images, size=size, mode="bicubic", antialias=antialias)[0])

    return shrink


def _pillow(hr: np.ndarray, size: Size) -> np.ndarray:
    return np.array(Image.fromarray(hr).resize(size[::-1], Image.Resampling.BICUBIC))


def _in_levels(image: np.ndarray) -> np.ndarray:
    return to_uint8(torch.from_numpy(image).permute(2, 0, 1))


ORIGINS = {
    "matlab-old": Origin(
        "MATLAB's imresize of 8 bits, replicated border (older versions)", _matlab("replicate")
    ),
    "matlab-new": Origin(
        "MATLAB's imresize of 8 bits, mirrored border (newer versions)", _matlab("mirror")
    ),
    "matlab-double-old": Origin(
        "MATLAB's imresize of doubles, rounded once, replicated border", _matlab_float("replicate")
    ),
    "matlab-double-new": Origin(
        "MATLAB's imresize of doubles, rounded once, mirrored border", _matlab_float("mirror")
    ),
    "pillow": Origin("Pillow's BICUBIC", _pillow),
    "opencv": Origin("OpenCV's INTER_CUBIC, no antialiasing", _opencv),
    "torch": Origin("torch's bicubic interpolate, no antialiasing", _torch(False)),
    "torch-antialias": Origin("torch's bicubic interpolate with antialias", _torch(True)),
}


def origins_of(
    lr_folder: Path,
    hr_folder: Path,
    *,
    scale: int | None = None,
    suffix: str = "",
    hr_suffix: str = "",
) -> Origins:
    """Every origin compared with the lr images of a folder, the likest first.

    Args:
        scale: found from the sizes by default; hr may be larger than the scale times lr, as it was
            before it was cropped to a multiple of the scale, 12 or 28.
        suffix, hr_suffix: what names of lr, and of hr, have more than the image's, before the dot.

    Raises:
        ValueError: for images without a counterpart, whose sizes do not fit, or that cannot be
            read, each by name.
    """
    pairs = counterparts(lr_folder, hr_folder, suffix, hr_suffix)
    samples = 0
    off, levels, largest, exact = (dict.fromkeys(ORIGINS, 0) for _ in range(4))
    for files in tqdm(pairs, hr_folder.name, disable=None):
        lr, hr = read_image(files.sr), read_image(files.hr)
        with at(f"{files.sr} and {files.hr}"):
            scale = scale or _scale(lr, hr)
            hr = _cropped(lr, hr, scale)
        samples += lr.size
        for name, origin in ORIGINS.items():
            apart = np.abs(origin.shrink(hr, lr.shape[:2]).astype(np.int16) - lr)
            off[name] += int(np.count_nonzero(apart))
            levels[name] += int(apart.sum())
            largest[name] = max(largest[name], int(apart.max()))
            exact[name] += int(not apart.any())
    assert scale is not None  # there is one pair or more
    found = [
        Likeness(
            *(name, 1 - off[name] / samples, levels[name] / samples, largest[name], exact[name])
        )
        for name in ORIGINS
    ]
    likest = sorted(found, key=lambda likeness: (-likeness.equal, likeness.mean))
    return Origins(likest, len(pairs), scale)


def makers(found: list[Likeness]) -> list[Likeness]:
    """Those that made lr: without any difference, or if none did so, but for rounding."""
    return [one for one in found if one.equal == 1] or [one for one in found if one.explains]


def _scale(lr: np.ndarray, hr: np.ndarray) -> int:
    scale = hr.shape[0] // lr.shape[0]
    if scale < 2:
        raise ValueError(f"expected lr smaller than hr by 2 or more, found {_sizes(lr, hr)}")
    return scale


def _cropped(lr: np.ndarray, hr: np.ndarray, scale: int) -> np.ndarray:
    """hr as it was when lr was made of it."""
    height, width = (scale * side for side in lr.shape[:2])
    crops = [tuple(n - n % m for n in hr.shape[:2]) for m in (scale, *MULTIPLES)]
    if (height, width) not in crops:
        raise ValueError(
            f"expected lr of which {scale} times each side is hr's, or hr's cropped to a multiple "
            f"of {scale}, 12 or 28, found {_sizes(lr, hr)}"
        )
    return hr[:height, :width]


def _sizes(lr: np.ndarray, hr: np.ndarray) -> str:
    return f"lr {lr.shape[0]} x {lr.shape[1]} and hr {hr.shape[0]} x {hr.shape[1]}"
