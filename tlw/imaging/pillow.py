"""Pillow, held to what is asked of it: known formats, one image to a file, pixels and orientation.

As it comes, Pillow tries every format that it knows (PostScript by starting another program), takes
the first of several pages, is stopped by metadata that it cannot parse, and lets any exception of a
decoder through, most without a name of the file.
"""

import io
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from tlw.imaging import png
from tlw.imaging.tiles import MAX_PIXELS
from tlw.runtime.memory import enough_memory

# The formats that are read, by Pillow's name, with the suffixes of their files.
FORMATS = {
    "PNG": (".png",),
    "BMP": (".bmp",),
    "JPEG": (".jpg", ".jpeg", ".jfif"),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
_EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX")
# In Pillow's raw mode, or a PPM's largest level: it drops the low bytes unasked.
_MORE_BITS = (";16B", ";16L", ";16N")
_INTEGERS = {1: "B", 3: "H", 4: "I"}  # EXIF's types BYTE, SHORT, LONG, as `struct` writes them


class _Refused(ValueError):
    """What is whole, but not taken; its message is complete."""


@dataclass(frozen=True)
class Opened:
    """An image file's content, in memory.

    Args:
        image: as Pillow has it, all pixels loaded, not rotated.
        orientation: EXIF's, 1 to 8; 1 is upright.
    """

    image: Image.Image
    orientation: int

    @property
    def has_alpha(self) -> bool:
        return "A" in self.image.getbands() or "transparency" in self.image.info

    def upright(self, samples: np.ndarray) -> np.ndarray:
        """The image's samples (H, W, ...), rotated or flipped as its EXIF orientation says."""
        if self.orientation in (5, 6, 7, 8):
            samples = samples.swapaxes(0, 1)
        if self.orientation in (3, 4, 7, 8):
            samples = samples[::-1]
        if self.orientation in (2, 3, 6, 7):
            samples = samples[:, ::-1]
        return np.ascontiguousarray(samples)


def read_content(path: Path | str) -> bytes:
    """A file's bytes. Raises ValueError, naming the file, where there are none to read."""
    with enough_memory(f"{path}: its bytes at once", "take a smaller file"), readable(path):
        return Path(path).read_bytes()


def opened(
    path: Path | str, content: bytes, *, max_pixels: int = MAX_PIXELS, any_depth: bool = False
) -> Opened:
    """The image that a file's content is.

    Only its orientation is read of the metadata (in PNG the eXIf chunk); what cannot be parsed is
    left aside. Of a JPEG with further views (MPO, as phones and 3D cameras write) it is the first.

    Raises:
        ValueError: naming the file, for another format, damage, more than `max_pixels` pixels,
            several pages or frames, and, but for `any_depth`, 16 bits per channel, CMYK and the
            like: to rescale those is a decision that belongs to whoever made the file.
    """
    if png.is_png(content):
        content = png.pixels_alone(content)
    with (
        enough_memory(f"{path}: its pixels at once", "take a smaller image, or a part of it"),
        readable(path, content),
        _without_pillows_limit(),
        Image.open(io.BytesIO(content), formats=list(FORMATS)) as image,
    ):
        _check_extent(path, image, max_pixels)
        if not any_depth:
            _check_depth(path, image)
        image.load()
        return Opened(image, _orientation(image.info.get("exif", b"")))


@contextmanager
def readable(path: Path | str, content: bytes | None = None) -> Iterator[None]:
    """What goes wrong with reading an image file, whatever it is, is a ValueError with its name."""
    try:
        yield
    except (_Refused, MemoryError):
        raise
    except UnidentifiedImageError:
        begin = f"it begins with {content[:24]!r}" if content else "it is empty"
        raise ValueError(
            f"{path}: expected an image file of {', '.join(FORMATS)}, but it cannot be read as "
            f"one: {begin}; convert it to PNG, or replace it with a whole copy"
        ) from None
    except Exception as error:
        if content is None:
            reason = getattr(error, "strerror", None) or error
            told = f"it cannot be read ({reason}); name one that is there and may be read"
        else:
            told = f"its pixels cannot be read ({error}); save it anew, or get a whole copy"
        raise ValueError(f"{path}: expected an image file, but {told}") from error


def _check_extent(path: Path | str, image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise _Refused(
            f"{path}: expected no more than {max_pixels:,} pixels, found {width * height:,} "
            f"({height} x {width}); if the file is to be trusted, and memory does, allow them by "
            f"--max-pixels {width * height}"
        )
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise _Refused(
            f"{path}: expected one image, found {frames} pages or frames; save each of them that "
            "you want as a file of its own"
        )


def _check_depth(path: Path | str, image: ImageFile.ImageFile) -> None:
    if image.mode not in _EIGHT_BIT_MODES or _more_bits(image):
        layout = ", ".join(f"{tile[0]} {tile[3]}" for tile in image.tile)
        raise _Refused(
            f"{path}: expected an image of 8 bits per channel in grey, palette or RGB, found mode "
            f"{image.mode} stored as {layout}; convert it to an 8-bit RGB PNG first"
        )


def _more_bits(image: ImageFile.ImageFile) -> bool:
    """Whether Pillow would make 8 bits of more when it loads the pixels."""
    for tile in image.tile:
        arguments = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if any(word.endswith(_MORE_BITS) for word in arguments if isinstance(word, str)):
            return True
        if image.format == "PPM" and tile[0].startswith("ppm") and arguments[-1] > 255:
            return True
    return False


def _orientation(exif: bytes) -> int:
    """The orientation that EXIF data tell; 1 where they tell none, or cannot be parsed.

    Parsed here, since a tag beside it that is odd (cameras, phones and editors write such) would
    hide it from Pillow. A TIFF has no EXIF of its own: Pillow turns its pixels as they are loaded.
    Source: CIPA DC-008 (Exif), section 4.6.2; TIFF 6.0, section 2.
    """
    exif = exif.removeprefix(b"Exif\0\0").removeprefix(b"Exif\0\0")  # some files have it twice
    order = ">" if exif.startswith(b"MM") else "<"
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", exif, place)
            if tag == ExifTags.Base.Orientation:
                (found,) = struct.unpack_from(order + _INTEGERS[kind], exif, place + 8)
                return found if 1 <= found <= 8 else 1
    except (struct.error, KeyError):
        pass
    return 1


_lock = threading.Lock()
_readers: list[int | None] = []  # Pillow's limit as each of those who read found it


@contextmanager
def _without_pillows_limit() -> Iterator[None]:
    """Pillow's limit of pixels, one for the whole process, is off while any thread reads here.

    It would warn at 89 megapixels and refuse at 179 without a way out; `max_pixels` is each call's.
    """
    with _lock:
        _readers.append(_readers[0] if _readers else Image.MAX_IMAGE_PIXELS)
        Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        with _lock:
            before = _readers.pop()
            if not _readers:
                Image.MAX_IMAGE_PIXELS = before
