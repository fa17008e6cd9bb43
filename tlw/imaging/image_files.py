"""Which files of a folder are images; image files as 8-bit RGB arrays."""

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tlw.imaging.pillow import FORMATS, opened, read_content
from tlw.imaging.tiles import MAX_PIXELS

SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
# What lies beside images without being missed: lists, notes, and what Windows leaves.
_BESIDE = (".txt", ".tsv", ".csv", ".json", ".md", ".yaml", ".db", ".ini")

log = logging.getLogger(__name__)


def image_files(folder: Path) -> list[Path]:
    """The images of a folder, sorted by name: its files with one of `SUFFIXES`.

    Hidden files are none (macOS leaves `._x.png` beside x.png, and .DS_Store), nor are folders,
    whatever their name. A warning counts what else is left out: other formats, subfolders, links
    to nowhere.

    Raises:
        ValueError: for a folder that is not there, or has no images.
    """
    folder = Path(folder)
    if not folder.is_dir():
        found = "a file" if folder.exists() else "none of that name"
        raise ValueError(f"{folder}: expected a folder of images, found {found}")
    there = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    images = [path for path in there if path.suffix.lower() in SUFFIXES and path.is_file()]
    left_out = [
        path.name
        for path in there
        if path not in images and (path.is_dir() or path.suffix.lower() not in _BESIDE)
    ]
    if left_out:
        log.warning(
            "%s: %d of %d entries are left out, being no image files of it (%s): %s",
            *(folder, len(left_out), len(there), ", ".join(SUFFIXES), some(left_out)),
        )
    if not images:
        raise ValueError(f"{folder}: expected images ({', '.join(SUFFIXES)}), found none")
    return images


def folder_name(folder: Path) -> str:
    """The name of a folder, also of "." and "..", and of a link rather than what it leads to."""
    return os.path.basename(os.path.abspath(folder))


def check_names(paths: Iterable[Path]) -> None:
    """Raises ValueError for names that are no UTF-8, which no table and no HDF5 file can hold."""
    wrong = [path for path in paths if not _is_utf8(path.name)]
    if wrong:
        raise ValueError(
            f"{str(wrong[0])!a}: expected names in UTF-8, found {len(wrong)} in another "
            "encoding; rename them (`convmv` does it for whole folders)"
        )


def some(names: list[str], most: int = 5) -> str:
    """Names for a message, the first ones of many."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} others" if rest > 0 else "")


class Stored(NamedTuple):
    """An image as RGB, uint8 (H, W, 3), and whether its file has a single channel of grey."""

    rgb: np.ndarray
    grey: bool


def read_image(path: Path | str, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read an image file of any common format as RGB, uint8 (H, W, 3).

    Grey becomes three equal channels, a palette is looked up, an EXIF orientation is applied, and
    alpha is dropped (not blended), which is said where it hides anything. Raises ValueError naming
    the file when it cannot be read, is cut off, has more than `max_pixels` pixels, several pages or
    frames, or no 8-bit RGB form (16 bits per channel, CMYK): rescaling those is a decision that
    belongs to whoever made the file.
    """
    return read_stored(path, max_pixels=max_pixels).rgb


def read_stored(path: Path | str, *, max_pixels: int = MAX_PIXELS) -> Stored:
    """`read_image`, and whether the file is grey: some protocols measure such files otherwise."""
    file = opened(path, read_content(path), max_pixels=max_pixels)
    if file.has_alpha and np.array(file.image.convert("RGBA").getchannel("A")).min() < 255:
        log.warning("%s: its alpha is dropped, and the colours under it are taken", path)
    rgb = file.upright(np.array(file.image.convert("RGB")))
    return Stored(rgb, file.image.mode in ("1", "L", "LA"))


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # Python keeps such bytes as lone surrogates
        return False
    return True
