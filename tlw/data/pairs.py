"""Pairs of lr and hr images as one HDF5 file per image set, scale, protocol and use.

    <name>.h5
    ├── @format "tlw-pairs"  @format_version 1  @complete True
    ├── @image_set  @scale  @use "train" | "test"  @multiple (hr pixels)
    ├── @protocol (its name)  @protocol_fields (all its fields, as JSON)
    ├── @tlw  @numpy  @h5py (versions that wrote the file)
    ├── names    (n,) UTF-8: file names of the source images
    ├── sha256   (n,) UTF-8: hashes of the source files
    ├── sizes    (n, 2) int64: hr height and width after cropping
    ├── hr/      0000, 0001, ... each uint8 (sH, sW, 3) RGB
    └── lr/      0000, 0001, ... each (H, W, 3) RGB, uint8 or float32 around [0, 1]

Images of a set differ in size, hence one dataset each. They are stored contiguous and uncompressed,
so that a crop reads its own lines only.
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
from tlw.data.protocols import Protocol, Use
from tlw.imaging.image_files import read_image
from tlw.imaging.ranges import crop_to_multiple, to_unit
from tlw.runtime.files import written_aside

FORMAT = "tlw-pairs"
FORMAT_VERSION = 1

_log = logging.getLogger(__name__)


class _Pair(NamedTuple):
    hr: np.ndarray
    lr: np.ndarray
    sha256: str


def write_pairs(
    images: Sequence[Path],
    target: Path,
    *,
    name: str,
    scale: int,
    protocol: Protocol,
    use: Use,
    workers: int | None = None,
) -> None:
    """Crop and downsample image files by a protocol into the pairs file `target`, in their order.

    `name` is the image set's; `workers` is a number of threads, all cores by default: reading and
    resizing run outside Python's lock. `target` appears whole or not at all.
    Raises ValueError for no images, an unreadable one, or one smaller than the protocol's multiple,
    and OSError when the file cannot be written, as on a full disk.
    """
    if not images:
        raise ValueError(f"{target}: the image set {name} has no images to make pairs of")
    multiple = protocol.multiple(use, scale)
    build = partial(_build, multiple=multiple, scale=scale, protocol=protocol)
    sizes, hashes = [], []
    # Through Python's file: HDF5's own output loses the error of a full disk, and may crash of it.
    with (
        written_aside(target) as aside,
        aside.open("w+b") as output,
        h5py.File(output, "w") as file,
    ):
        for index, pair in enumerate(_in_parallel(build, images, workers or _cores())):
            file[_key("hr", index)] = pair.hr
            file[_key("lr", index)] = pair.lr
            sizes.append(pair.hr.shape[:2])
            hashes.append(pair.sha256)
        file["names"] = [Path(path).name for path in images]
        file["sha256"] = hashes
        file["sizes"] = np.array(sizes, dtype=np.int64)
        file.attrs.update(
            format=FORMAT,
            format_version=FORMAT_VERSION,
            image_set=name,
            scale=scale,
            use=use,
            multiple=multiple,
            protocol=protocol.name,
            protocol_fields=json.dumps(asdict(protocol)),
            tlw=tlw.__version__,
            numpy=np.__version__,
            h5py=h5py.__version__,
            complete=True,
        )
    _log.info("%s: %d pairs of %s, x%d, %s", target, len(images), name, scale, protocol.name)


class Pairs:
    """The pairs of one file, read one image or one crop at a time; a map-style torch dataset.

    `pairs[i]` is (lr, hr): float32 RGB tensors (3, H, W) and (3, sH, sW) in [0, 1]; an unrounded lr
    overshoots by what the bicubic kernel does. The file is opened anew in each process that reads
    (an HDF5 handle does not survive a fork) and never locked, since shared file systems often have
    no locks. With a `device` all images are read once and kept there as they are stored, on "cpu"
    shared with forked workers.

    Raises ValueError when the file is missing, cut off, of another format, or, where `scale` is
    given, of another scale.
    """

    def __init__(
        self, path: Path | str, *, scale: int | None = None, device: torch.device | None = None
    ) -> None:
        self.path = Path(path)
        self._device = device
        self._forget_handles()
        with _open(self.path) as file:
            header = dict(file.attrs)
            self.names: tuple[str, ...] = tuple(file["names"].asstr()[()])
            self.hashes: tuple[str, ...] = tuple(file["sha256"].asstr()[()])
            self.sizes: tuple[tuple[int, int], ...] = tuple(map(tuple, file["sizes"][()].tolist()))
        self.image_set = str(header["image_set"])
        self.scale = int(header["scale"])
        self.use: Use = str(header["use"])
        self.multiple = int(header["multiple"])
        self.protocol = _protocol_from_json(self.path, header["protocol_fields"])
        if scale is not None and scale != self.scale:
            raise ValueError(
                f"{self.path}: expected pairs of scale {scale}, found scale {self.scale}; "
                "name the file of the other scale"
            )
        if device is not None:
            self._arrays()

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return tuple(to_unit(image) for image in self.stored(index))

    def stored(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """`pairs[index]` as it is stored: uint8 levels, or float32 for an unrounded lr.

        A quarter of the bytes to be read and moved; `tlw.imaging.ranges.to_unit` makes them
        float32.
        """
        index = range(len(self))[index]
        return tuple(self._image(kind, index) for kind in ("lr", "hr"))

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
        """SHA-256 of what the pairs are made of: source files, protocol, scale, use and format."""
        content = {
            "format": [FORMAT, FORMAT_VERSION],
            "image_set": self.image_set,
            "scale": self.scale,
            "use": self.use,
            "multiple": self.multiple,
            "protocol": asdict(self.protocol),
            "images": [self.names, self.hashes, self.sizes],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None, "_handle_pid": None, "_copy": None}

    def _forget_handles(self) -> None:
        self._handle = self._handle_pid = self._copy = None

    def _image(self, kind: str, index: int, *part: slice) -> torch.Tensor:
        """The image (3, H, W), or a part of it, as a tensor of its own, channels last in memory."""
        image = self._arrays()[_key(kind, index)][part]
        image = torch.from_numpy(image) if self._copy is None else image.clone()
        return image.permute(2, 0, 1)

    def _arrays(self) -> Any:
        """What gives the HDF5 data set, or the tensor kept, of a key, in this process."""
        if self._copy is None and self._handle_pid != os.getpid():
            self._handle, self._handle_pid = _open(self.path), os.getpid()
            if self._device is not None:
                keys = [_key(kind, i) for kind in ("hr", "lr") for i in range(len(self))]
                self._copy = {
                    key: torch.from_numpy(self._handle[key][()]).to(self._device) for key in keys
                }
                self._handle.close()
        return self._handle if self._copy is None else self._copy


def _key(kind: str, index: int) -> str:
    return f"{kind}/{index:04d}"


def _build(path: Path, *, multiple: int, scale: int, protocol: Protocol) -> _Pair:
    image = read_image(path)
    with Path(path).open("rb") as source:
        sha256 = hashlib.file_digest(source, "sha256").hexdigest()
    try:
        hr = crop_to_multiple(image, multiple)
    except ValueError as error:
        raise ValueError(f"{path}: {error} (protocol {protocol.name}, x{scale})") from error
    return _Pair(hr, protocol.downsample(hr, scale), sha256)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_parallel(build: Callable[[Path], _Pair], images: Sequence[Path], workers: int) -> Iterator:
    """Results in order, with no more than two per worker waiting to be written."""
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(images), 2 * workers):
            yield from pool.map(build, images[start : start + 2 * workers])


def _open(path: Path) -> h5py.File:
    """Open a pairs file for reading and check that it is one, whole and of this format."""
    rebuild = "delete it and build it again with `tlw pairs`"
    if not path.is_file():
        raise ValueError(f"{path}: no such pairs file; build it with `tlw pairs`")
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        raise ValueError(
            f"{path}: expected a whole HDF5 file, but it cannot be opened ({error}); {rebuild}"
        ) from error
    attrs = file.attrs
    found = (attrs.get("format"), attrs.get("format_version"), bool(attrs.get("complete")))
    if found != (FORMAT, FORMAT_VERSION, True):
        file.close()
        raise ValueError(
            f"{path}: expected format {FORMAT} version {FORMAT_VERSION}, complete, found format "
            f"{found[0]} version {found[1]}, {'' if found[2] else 'not '}complete; {rebuild}"
        )
    return file


def _protocol_from_json(path: Path, fields: str) -> Protocol:
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(fields).items()}
    try:
        return Protocol(**values)
    except TypeError as error:
        raise ValueError(
            f"{path}: its protocol has other fields than this version knows ({error}); "
            "delete it and build it again"
        ) from error
