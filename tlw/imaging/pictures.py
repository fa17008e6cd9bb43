"""Image files with all that `tlw.imaging.image_files.read_image` leaves out: 16 bits, grey, alpha,
profile.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from tlw.imaging import png
from tlw.imaging.image_files import open_image, readable
from tlw.runtime.files import written_aside


@dataclass(frozen=True)
class Picture:
    """What an image file shows, upright.

    Args:
        samples: uint8 or uint16 (H, W, C), by the number of channels grey (1), grey and alpha (2),
            RGB (3), RGB and alpha (4). Colour is not multiplied by alpha.
        profile: the ICC profile that says which colours are meant; None for sRGB.
    """

    samples: np.ndarray
    profile: bytes | None = None

    @property
    def has_alpha(self) -> bool:
        return self.samples.shape[2] in (2, 4)


def read_picture(path: Path) -> Picture:
    """Reads an image file of any common format; 16 bits per channel in a PNG only.

    Grey stays grey, a palette becomes RGB, a transparent colour becomes alpha, and an EXIF
    orientation is applied. Raises ValueError naming the file when it cannot be read, is cut off,
    or of another kind: CMYK, an interlaced PNG of 16 bits.
    """
    with readable(path):
        content = path.read_bytes()
    if png.is_16_bit(content):
        return _read_16_bit(path, content)
    image = open_image(path)
    grey = image.mode in ("1", "L", "LA")
    alpha = "A" in image.getbands() or "transparency" in image.info
    samples = np.array(image.convert(("L" if grey else "RGB") + ("A" if alpha else "")))
    return Picture(np.atleast_3d(samples), image.info.get("icc_profile"))


def write_picture(path: Path, picture: Picture) -> None:
    """Writes a picture as PNG, of as many bits as it has, whole or not at all."""
    with written_aside(path) as aside:
        if picture.samples.dtype == np.uint16:
            aside.write_bytes(png.encode(picture.samples, picture.profile))
        else:
            grey = picture.samples.shape[2] == 1
            image = Image.fromarray(picture.samples[..., 0] if grey else picture.samples)
            image.save(aside, format="PNG", icc_profile=picture.profile)


def _read_16_bit(path: Path, content: bytes) -> Picture:
    with readable(path), Image.open(io.BytesIO(content)) as image:
        image.load()  # finds damage, and metadata that stand behind the pixels
        samples = png.decode(content)
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        transparent = image.info.get("transparency")
    if transparent is not None:
        seen = (samples != np.array(transparent)).any(axis=2, keepdims=True)
        samples = np.concatenate([samples, seen * np.uint16(65535)], axis=2)
    return Picture(_upright(samples, orientation), image.info.get("icc_profile"))


def _upright(samples: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes an EXIF orientation, 1 to 8, on (H, W, C)."""
    if orientation in (5, 6, 7, 8):
        samples = samples.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return samples
