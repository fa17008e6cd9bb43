"""Pairs of lr and hr images, made once into an HDF5 file per image set, scale, protocol and use.

The file's form is `tlw.data.pairs_file`.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch

import tlw
from tlw.data.pairs_file import (
    FORMAT,
    FORMAT_VERSION,
    checked,
    header_of,
    key,
    opened,
    pixel_hash,
)
from tlw.data.protocols import Protocol, Use
from tlw.data.registry import NO_SOURCE
from tlw.imaging.image_files import check_names, read_stored
from tlw.imaging.ranges import crop_to_multiple, to_unit
from tlw.imaging.tiles import MAX_PIXELS
from tlw.runtime.files import written_aside

_log = logging.getLogger(__name__)


class _Pair(NamedTuple):
    hr: np.ndarray
    lr: np.ndarray
    sha256: str
    grey: bool


def write_pairs(
    images: Sequence[Path],
    target: Path,
    *,
    name: str,
    scale: int,
    protocol: Protocol,
    use: Use,
    sources: str = NO_SOURCE,
    workers: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> None:
    """Crop and downsample image files by a protocol into the pairs file `target`, in their order.

    `name` is the image set's, and `sources` says where its images came from; `workers` is a number
    of threads, all cores by default: reading and resizing run outside Python's lock. `target`
    appears whole or not at all.
    Raises ValueError for no images, names that are no UTF-8, an image that is unreadable, has more
    than `max_pixels` pixels, or is smaller than the protocol's multiple, and OSError when the file
    cannot be written, as on a full disk.
    """
    if not images:
        raise ValueError(f"{target}: the image set {name} has no images to make pairs of")
    check_names([Path(name), *images])
    versions = {"tlw": tlw.__version__, "numpy": np.__version__, "h5py": h5py.__version__}
    header = header_of(name, scale, use, protocol, sources, versions)
    options = {"multiple": header["multiple"], "scale": scale, "protocol": protocol}
    build = partial(_build, **options, max_pixels=max_pixels)
    sizes, hashes, pixels, grey = [], [], [], []
    # Through Python's file: HDF5's own output loses the error of a full disk, and may crash of it.
    with (
        written_aside(target) as aside,
        aside.open("w+b") as output,
        h5py.File(output, "w") as file,
    ):
        for index, pair in enumerate(_in_parallel(build, images, workers or _cores())):
            file[key("hr", index)] = pair.hr
            file[key("lr", index)] = pair.lr
            sizes.append(pair.hr.shape[:2])
            hashes.append(pair.sha256)
            pixels.append(pixel_hash(pair.hr, pair.lr))
            grey.append(pair.grey)
        file["names"] = [Path(path).name for path in images]
        file["sha256"] = hashes
        file["pixels"] = pixels
        file["grey"] = np.array(grey, dtype=bool)
        file["sizes"] = np.array(sizes, dtype=np.int64)
        file.attrs.update(header)
    _log.info("%s: %d pairs of %s, x%d, %s", target, len(images), name, scale, protocol.name)


class Pairs:
    """The pairs of one file, read one image or one crop at a time; a map-style torch dataset.

    `pairs[i]` is (lr, hr): float32 RGB tensors (3, H, W) and (3, sH, sW) in [0, 1]; an unrounded lr
    overshoots by what the bicubic kernel does. The file is opened anew in each process that reads
    (an HDF5 handle does not survive a fork). With a `device` all images are read once and kept
    there as they are stored, on "cpu" shared with forked workers.

    The form of the file is checked at once, and the pixels of a pair against their hash when a
    process first reads of it.

    Raises ValueError when the file is missing, cut off, of another form, or, where `scale` is
    given, of another scale; later for pixels that are not those that were written.
    """

    def __init__(
        self, path: Path | str, *, scale: int | None = None, device: torch.device | None = None
    ) -> None:
        self.path = Path(path)
        self._device = device
        self._forget_handles()
        header, self.protocol, contents = checked(self.path)
        self.names, self.hashes, self.pixels = contents.names, contents.sha256, contents.pixels
        self.sizes, self.grey = contents.sizes, contents.grey
        self.image_set, self.scale = header.image_set, header.scale
        self.use, self.multiple, self.sources = header.use, header.multiple, header.sources
        if scale is not None and scale != self.scale:
            raise ValueError(
                f"{self.path}: expected pairs of scale {scale}, found scale {self.scale}; "
                "name the file of the other scale"
            )
        if device is not None:
            self._open()

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        lr, hr = self.stored(index)
        return to_unit(lr), to_unit(hr)

    def stored(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """`pairs[index]` as it is stored: uint8 levels, or float32 for an unrounded lr.

        A quarter of the bytes to be read and moved; `tlw.imaging.ranges.to_unit` makes them
        float32.
        """
        index = range(len(self))[index]
        return self._image("lr", index), self._image("hr", index)

    def crop(self, index: int, y: int, x: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The square of pair `index` with top left corner (y, x) and side `size`, in lr pixels.

        Returns lr (3, size, size) and hr (3, s size, s size) as they are `stored`, reading no
        more than that. Raises ValueError when the square does not lie inside the image.
        """
        index = range(len(self))[index]
        height, width = (side // self.scale for side in self.sizes[index])
        if size < 1 or not (0 <= y <= height - size and 0 <= x <= width - size):
            raise ValueError(
                f"{self.path}: a crop of {size} lr pixels at ({y}, {x}) does not lie inside "
                f"{self.names[index]}, whose lr has {height} x {width}"
            )
        s = self.scale
        lr = self._image("lr", index, slice(y, y + size), slice(x, x + size))
        hr = self._image("hr", index, slice(s * y, s * (y + size)), slice(s * x, s * (x + size)))
        return lr, hr

    def digest(self) -> str:
        """SHA-256 of the pairs: pixels, source files, protocol, scale, use and format."""
        content = {
            "format": [FORMAT, FORMAT_VERSION],
            "image_set": self.image_set,
            "scale": self.scale,
            "use": self.use,
            "multiple": self.multiple,
            "protocol": asdict(self.protocol),
            "images": [self.names, self.hashes, self.pixels, self.sizes],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        return state | {"_handle": None, "_handle_pid": None, "_copy": None, "_seen": set()}

    def _forget_handles(self) -> None:
        self._handle: Any = None  # an h5py.File, once opened
        self._handle_pid: int | None = None
        self._copy: dict[str, torch.Tensor] | None = None
        self._seen: set[int] = set()  # pairs whose pixels this process has checked

    def _image(self, kind: str, index: int, *part: slice) -> torch.Tensor:
        """The image (3, H, W), or a part of it, as a tensor of its own, channels last in memory."""
        self._open()
        if self._copy is not None:
            return self._copy[key(kind, index)][part].clone().permute(2, 0, 1)
        if index not in self._seen:
            self._whole(index)
            self._seen.add(index)
        return torch.from_numpy(self._read(key(kind, index), part)).permute(2, 0, 1)

    def _open(self) -> None:
        """Gives this process a handle of its own, or the images on the device."""
        if self._copy is not None or self._handle_pid == os.getpid():
            return
        self._handle, self._handle_pid = opened(self.path), os.getpid()
        if self._device is not None:
            copy = {}
            for index in range(len(self)):
                for kind, image in self._whole(index).items():
                    copy[key(kind, index)] = torch.from_numpy(image).to(self._device)
            self._copy = copy
            self._handle.close()

    def _whole(self, index: int) -> dict[str, np.ndarray]:
        """hr and lr of a pair; ValueError unless they are those that were written."""
        pair = {kind: self._read(key(kind, index)) for kind in ("hr", "lr")}
        if pixel_hash(**pair) != self.pixels[index]:
            raise ValueError(
                f"{self.path}: the pixels of {self.names[index]} are not those that were written "
                f"({key('hr', index)} and {key('lr', index)} against their hash in pixels); delete "
                "it and build it again with `tlw pairs`"
            )
        return pair

    def _read(self, name: str, part: tuple[slice, ...] = ()) -> np.ndarray:
        try:
            return self._handle[name][part]
        except (OSError, KeyError) as error:
            raise ValueError(
                f"{self.path}: {name} cannot be read ({error}); if the disk is well, delete the "
                "file and build it again with `tlw pairs`"
            ) from error


def _build(path: Path, *, multiple: int, scale: int, protocol: Protocol, max_pixels: int) -> _Pair:
    image, grey = read_stored(path, max_pixels=max_pixels)
    with Path(path).open("rb") as source:
        sha256 = hashlib.file_digest(source, "sha256").hexdigest()
    try:
        hr = crop_to_multiple(image, multiple)
    except ValueError as error:
        raise ValueError(f"{path}: {error} (protocol {protocol.name}, x{scale})") from error
    return _Pair(hr, protocol.downsample(hr, scale), sha256, grey)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_parallel(build: Callable[[Path], _Pair], images: Sequence[Path], workers: int) -> Iterator:
    """Results in order, with no more than two per worker waiting to be written."""
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(images), 2 * workers):
            yield from pool.map(build, images[start : start + 2 * workers])
