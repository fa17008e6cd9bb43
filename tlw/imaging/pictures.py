"""Image files with all that `tlw.imaging.image_files.read_image` leaves out: 16 bits, grey, alpha,
and which colours are meant.
"""

import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt

from tlw.imaging import png
from tlw.imaging.pillow import Opened, opened, read_content, readable
from tlw.imaging.tiles import MAX_PIXELS
from tlw.runtime.files import written_aside


@dataclass(frozen=True)
class Picture:
    """What an image file shows, upright.

    Args:
        samples: uint8 or uint16 (H, W, C), by the number of channels grey (1), grey and alpha (2),
            RGB (3), RGB and alpha (4). Colour is not multiplied by alpha.
        colour: PNG chunks that say which colours are meant, an ICC profile for one, see
            `tlw.imaging.png.colour_chunks`; none for sRGB.
    """

    samples: np.ndarray
    colour: bytes = b""

    @property
    def has_alpha(self) -> bool:
        return self.samples.shape[2] in (2, 4)


def read_picture(path: Path, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Reads an image file of any common format; 16 bits per channel in a PNG only.

    Grey stays grey, a palette becomes RGB, a transparent colour becomes alpha, and an EXIF
    orientation is applied. Raises ValueError naming the file when it cannot be read, is cut off,
    has more than `max_pixels` pixels, several pages or frames, or is of another kind: CMYK, an
    interlaced PNG of 16 bits.
    """
    content = read_content(path)
    deep = png.is_16_bit(content)
    file = opened(path, content, max_pixels=max_pixels, any_depth=deep)
    image = file.image
    if png.is_png(content):
        colour = png.colour_chunks(content)
    else:
        colour = png.profile_chunk(image.info.get("icc_profile"))
    if deep:
        with readable(path, content):
            return Picture(file.upright(_16_bits(file, content)), colour)
    grey = image.mode in ("1", "L", "LA")
    samples = np.array(image.convert(("L" if grey else "RGB") + ("A" if file.has_alpha else "")))
    return Picture(file.upright(np.atleast_3d(samples)), colour)


def write_picture(path: Path, picture: Picture) -> None:
    """Writes a picture as PNG, of as many bits as it has, whole or not at all."""
    if picture.samples.dtype == np.uint16:
        content = png.encode(picture.samples)
    else:
        grey, file = picture.samples.shape[2] == 1, io.BytesIO()
        Image.fromarray(picture.samples[..., 0] if grey else picture.samples).save(file, "PNG")
        content = file.getvalue()
    with written_aside(path) as aside:
        aside.write_bytes(png.with_chunks(content, picture.colour))


def with_colour_under_alpha(picture: Picture) -> Picture:
    """The picture with the colour of the nearest visible pixel wherever alpha is 0.

    What stands there, often black, was never to be seen, and a network would mix it into the edge
    of what is. Without alpha, or where nothing is visible, the picture is as it was.
    """
    if not picture.has_alpha:
        return picture
    hidden = picture.samples[..., -1] == 0
    if not hidden.any() or hidden.all():
        return picture
    y, x = distance_transform_edt(hidden, return_distances=False, return_indices=True)
    samples = picture.samples.copy()
    samples[..., :-1] = picture.samples[y, x, :-1]
    return replace(picture, samples=samples)


def _16_bits(file: Opened, content: bytes) -> np.ndarray:
    samples = png.decode(content)
    transparent = file.image.info.get("transparency")
    if transparent is None:
        return samples
    seen = (samples != np.array(transparent)).any(axis=2, keepdims=True)
    return np.concatenate([samples, seen * np.uint16(65535)], axis=2)
