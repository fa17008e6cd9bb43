"""Image files as 8-bit RGB arrays, and back."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from tlw.runtime.files import written_aside

SUFFIXES = (".png", ".bmp", ".jpg", ".jpeg", ".tif", ".tiff")
_EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX")
_SIXTEEN_BITS = re.compile(r";16[BLN]")  # in Pillow's raw mode: it drops the low bytes unasked


def read_image(path: Path | str) -> np.ndarray:
    """Read an image file of any common format as RGB, uint8 (H, W, 3).

    Grey becomes three equal channels, a palette is looked up, alpha is dropped (not blended), and
    an EXIF orientation is applied. Raises ValueError naming the file when it cannot be read, is
    cut off, or has no 8-bit RGB form (16 bits per channel, CMYK): rescaling those is a decision
    that belongs to whoever made the file.
    """
    return np.array(open_image(path).convert("RGB"))


def open_image(path: Path | str) -> Image.Image:
    """The image of a file as Pillow has it, whole and upright; raises as `read_image` does."""
    with readable(path), Image.open(io.BytesIO(Path(path).read_bytes())) as image:
        mode, layout = image.mode, str(image.tile)
        if mode in _EIGHT_BIT_MODES and not _SIXTEEN_BITS.search(layout):
            return ImageOps.exif_transpose(image)
    raise ValueError(
        f"{path}: expected an image of 8 bits per channel in grey, palette or RGB, "
        f"found mode {mode} stored as {layout}; convert it to an 8-bit RGB PNG first"
    )


@contextmanager
def readable(path: Path | str) -> Iterator[None]:
    """What goes wrong with reading an image file is a ValueError with its name."""
    try:
        yield
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{path}: expected an image file, but it cannot be read ({error}); "
            "replace it with a whole copy"
        ) from error


def write_image(path: Path | str, image: np.ndarray) -> None:
    """Write an image uint8 (H, W, 3) RGB as PNG, whole or not at all.

    Raises ValueError for another array or another suffix than .png.
    """
    path = Path(path)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"{path}: expected uint8 (H, W, 3), found {image.dtype} {image.shape}")
    if path.suffix.lower() != ".png":
        raise ValueError(f"{path}: images are written as PNG; name the file {path.stem}.png")
    with written_aside(path) as aside:
        Image.fromarray(image).save(aside, format="PNG")
