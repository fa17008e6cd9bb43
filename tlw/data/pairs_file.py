"""The form of a pairs file, and the check that a file has it.

    <name>.h5
    ├── attributes: `Header`
    ├── names, sha256, pixels   (n,) UTF-8: `Contents`
    ├── sizes                   (n, 2) int64: `Contents`
    ├── grey                    (n,) bool: `Contents`
    ├── hr/      0000, 0001, ... each uint8 (sH, sW, 3) RGB
    └── lr/      0000, 0001, ... each (H, W, 3) RGB, uint8 or float32 around [0, 1]

Images of a set differ in size, hence one dataset each. They are stored contiguous and uncompressed,
so that a crop reads its own lines only. All data are in the file itself: HDF5 could also fetch them
from any other file of the machine (external links, external storage, virtual datasets), and show
more pixels than it has (storage that was never written).
"""

import hashlib
import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, cast

import h5py
import numpy as np
from pydantic import Field, StrictBool, StrictInt, model_validator

from tlw.config.schema import Model
from tlw.config.settings import Scale
from tlw.data.protocols import Protocol, Use
from tlw.data.registry import NO_SOURCE
from tlw.runtime.errors import at, shown

FORMAT: Final = "tlw-pairs"
FORMAT_VERSION: Final = 2  # 2: with the hashes of the pixels

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Side = Annotated[StrictInt, Field(ge=1)]


class Header(Model):
    """The attributes of a pairs file.

    Args:
        complete: written last.
        image_set: its name.
        use: how hr is cropped.
        multiple: what hr's sides are cropped to a multiple of, in hr pixels.
        protocol: its name; `protocol_fields` are all its fields, as JSON.
        sources: where the images came from, in words. It is no part of what a training rests on,
            which are the pixels, and files of before are without it.
        tlw, numpy, h5py: the versions that wrote the file.
    """

    format: Literal["tlw-pairs"]
    format_version: Literal[2]
    complete: Literal[True]
    image_set: str
    scale: Literal[2, 3, 4]
    use: Use
    multiple: Side
    protocol: str
    protocol_fields: str
    sources: str = NO_SOURCE
    tlw: str
    numpy: str
    h5py: str

    def rules(self) -> Protocol:
        """The protocol; ValueError when its fields are not those of this version."""
        try:
            content = json.loads(self.protocol_fields)
        except (ValueError, RecursionError):
            raise ValueError(f"expected JSON, found {shown(self.protocol_fields)}") from None
        known = [field.name for field in fields(Protocol)]
        if not isinstance(content, dict) or sorted(content) != sorted(known):
            raise ValueError(
                f"its protocol has other fields than this version knows: expected "
                f"{', '.join(known)}, found {shown(content)}"
            )
        return _Rules.parse({"protocol": content}, "as a protocol").protocol


class _Rules(Model):
    protocol: Protocol


class Contents(Model):
    """What a pairs file says of each of its n pairs, in their order.

    Args:
        names: file names of the source images.
        sha256: hashes of the source files.
        pixels: `pixel_hash` of what is stored.
        sizes: hr's height and width after cropping.
        grey: whether the source file has a single channel, for protocols that measure it otherwise.
    """

    names: tuple[str, ...] = Field(min_length=1)
    sha256: tuple[Sha256, ...]
    pixels: tuple[Sha256, ...]
    sizes: tuple[tuple[Side, Side], ...]
    grey: tuple[StrictBool, ...]

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        counts = {name: len(getattr(self, name)) for name in type(self).model_fields}
        if len(set(counts.values())) > 1:
            raise ValueError(f"expected as many of each, found {counts}")
        return self


def key(kind: str, index: int) -> str:
    """The dataset of the "hr" or "lr" of a pair."""
    return f"{kind}/{index:04d}"


def pixel_hash(hr: np.ndarray, lr: np.ndarray) -> str:
    """SHA-256 of a pair's pixels as they are stored, hr's before lr's."""
    digest = hashlib.sha256(np.ascontiguousarray(hr).data)
    digest.update(np.ascontiguousarray(lr).data)
    return digest.hexdigest()


def header_of(
    image_set: str, scale: int, use: Use, protocol: Protocol, sources: str, versions: dict
) -> dict:
    """The attributes of a new file, as they are written."""
    return Header(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        complete=True,
        image_set=image_set,
        scale=cast(Scale, scale),  # checked here
        use=use,
        multiple=protocol.multiple(use, scale),
        protocol=protocol.name,
        protocol_fields=json.dumps(asdict(protocol)),
        sources=sources,
        **versions,
    ).model_dump()


def opened(path: Path) -> h5py.File:
    """A pairs file, opened for reading; ValueError unless it is one, whole and of this version.

    Never locked, since shared file systems often have no locks.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such pairs file; build it with `tlw pairs`")
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        raise _unfit(
            path, f"expected a whole HDF5 file, but it cannot be opened ({error})"
        ) from error
    try:
        found = [str(file.attrs.get(name)) for name in ("format", "format_version", "complete")]
        if found != [FORMAT, str(FORMAT_VERSION), "True"]:
            raise ValueError(
                f"expected format {FORMAT} version {FORMAT_VERSION}, complete, found format "
                f"{found[0]} version {found[1]}, {'' if found[2] == 'True' else 'not '}complete"
            )
    except Exception as error:  # h5py has many for a damaged file, most of them in HDF5's words
        file.close()
        raise _unfit(path, str(error)) from error
    return file


def checked(path: Path) -> tuple[Header, Protocol, Contents]:
    """What a pairs file says of itself, when all of it has the form that this module documents.

    Pixels are not read; `pixel_hash` tells whether they are those that were written.
    Raises ValueError with the file and the field that is otherwise.
    """
    with opened(path) as file:
        try:
            header = Header.parse(_plain(file.attrs), "attributes")
            with at("attributes: protocol_fields"):
                protocol = header.rules()
            contents = _contents(file)
            for index, size in enumerate(contents.sizes):
                _check_pair(file, index, size, header, protocol)
        except Exception as error:
            raise _unfit(path, str(error)) from error
    return header, protocol, contents


def _plain(attributes: h5py.AttributeManager) -> dict[str, Any]:
    return {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in attributes.items()
    }


def _contents(file: h5py.File) -> Contents:
    found = {"hr", "lr", *Contents.model_fields}
    if set(file) != found:
        raise ValueError(f"expected {', '.join(sorted(found))}, found {', '.join(file) or 'none'}")
    count, of_lr = (len(_own(file, kind, h5py.Group)) for kind in ("hr", "lr"))
    if count != of_lr:
        raise ValueError(f"expected as many images in hr as in lr, found {count} and {of_lr}")
    tables = {}
    for name in Contents.model_fields:
        dataset = _own(file, name, h5py.Dataset)
        shape = (count, 2) if name == "sizes" else (count,)
        if dataset.shape != shape:  # before it is read: a file can claim any size
            raise ValueError(
                f"{name}: expected shape {shape}, for {count} pairs, found {dataset.shape}"
            )
        is_text = h5py.check_string_dtype(dataset.dtype) is not None
        if is_text == (name in ("sizes", "grey")):
            kind = {"sizes": "integers", "grey": "booleans"}.get(name, "text")
            raise ValueError(f"{name}: expected {kind}, found {dataset.dtype}")
        with at(name):
            tables[name] = (dataset.asstr() if is_text else dataset)[()].tolist()
    return Contents.parse(tables, "tables")


def _check_pair(
    file: h5py.File, index: int, size: tuple[int, int], header: Header, protocol: Protocol
) -> None:
    if size[0] % header.multiple or size[1] % header.multiple:
        raise ValueError(f"sizes: expected multiples of {header.multiple}, found {size}")
    small = tuple(side // header.scale for side in size)
    expected = {"hr": (np.dtype(np.uint8), size), "lr": (np.dtype(protocol.lr_dtype), small)}
    for kind, (dtype, sides) in expected.items():
        dataset = _own(file, key(kind, index), h5py.Dataset)
        if (dataset.dtype, dataset.shape) != (dtype, (*sides, 3)):
            raise ValueError(
                f"{key(kind, index)}: expected {dtype} {(*sides, 3)}, found {dataset.dtype} "
                f"{dataset.shape}"
            )
        if dataset.id.get_storage_size() != dataset.nbytes:
            raise ValueError(
                f"{key(kind, index)}: expected {dataset.nbytes} bytes stored as they are, found "
                f"{dataset.id.get_storage_size()}"
            )


def _own(file: h5py.File, name: str, kind: type) -> Any:
    """An object of the file whose data lie in the file itself."""
    link = file.get(name, getlink=True)
    if link is None:
        raise ValueError(f"{name}: missing")
    if not isinstance(link, h5py.HardLink):
        raise ValueError(f"{name}: expected data of this file, found a link to elsewhere")
    found = file[name]
    if not isinstance(found, kind):
        raise ValueError(f"{name}: expected a {kind.__name__}, found a {type(found).__name__}")
    if isinstance(found, h5py.Dataset) and (found.external or found.is_virtual):
        raise ValueError(f"{name}: expected data of this file, found data in other files")
    return found


def _unfit(path: Path, reason: str) -> ValueError:
    told = "\n".join(f"{path}: {line}" for line in reason.splitlines())
    return ValueError(f"{told}; delete it and build it again with `tlw pairs`")
