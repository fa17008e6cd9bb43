"""The form of a pairs file: what is of another form is told by file and field, at opening."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from toys import toy_pairs

from tlw.data.pairs import Pairs
from tlw.data.pairs_file import checked
from tlw.data.protocols import PROTOCOLS

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    return toy_pairs(tmp_path_factory.mktemp("whole")).read_bytes()


@pytest.fixture
def path(tmp_path, whole) -> Path:
    """A pairs file of two images, (84, 56) and (56, 84), to be spoilt."""
    (tmp_path / "pairs.h5").write_bytes(whole)
    return tmp_path / "pairs.h5"


def refusal(path: Path) -> str:
    with pytest.raises(ValueError) as caught:
        Pairs(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).endswith("; delete it and build it again with `tlw pairs`")
    return str(caught.value).removeprefix(f"{path}: ")


def replaced(name: str, data: np.ndarray | list, **options) -> Callable[[h5py.File], None]:
    def spoil(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, data=data, **options)

    return spoil


def without(name: str) -> Callable[[h5py.File], None]:
    return lambda file: file.__delitem__(name)


def attribute(name: str, value: object) -> Callable[[h5py.File], None]:
    return lambda file: file.attrs.__setitem__(name, value)


def other_protocol(**fields: object) -> Callable[[h5py.File], None]:
    return attribute("protocol_fields", json.dumps(asdict(PROTOCOLS["paper"]) | fields))


HR, LR = np.zeros((84, 56, 3), np.uint8), np.zeros((42, 28, 3), np.float32)

FORMS = {
    "hr of int32": (
        replaced("hr/0000", HR.astype(np.int32)),
        "hr/0000: expected uint8 (84, 56, 3), found int32 (84, 56, 3)",
    ),
    "hr of bool": (replaced("hr/0000", HR > 0), "hr/0000: expected uint8 (84, 56, 3), found bool"),
    "hr of 16 bits": (replaced("hr/0000", HR.astype(np.uint16)), "hr/0000: expected uint8"),
    "hr of four channels": (
        replaced("hr/0001", np.zeros((56, 84, 4), np.uint8)),
        "hr/0001: expected uint8 (56, 84, 3), found uint8 (56, 84, 4)",
    ),
    "grey hr": (replaced("hr/0000", HR[..., 0]), "found uint8 (84, 56)"),
    "hr turned": (replaced("hr/0001", HR), "hr/0001: expected uint8 (56, 84, 3)"),
    "lr of hr's size": (
        replaced("lr/0000", HR.astype(np.float32)),
        "lr/0000: expected float32 (42, 28, 3), found float32 (84, 56, 3)",
    ),
    "lr of 8 bits": (replaced("lr/0000", LR.astype(np.uint8)), "lr/0000: expected float32"),
    "lr of float64": (replaced("lr/0000", LR.astype(np.float64)), "lr/0000: expected float32"),
    "a missing lr": (without("lr/0001"), "expected as many images in hr as in lr, found 2 and 1"),
    "another key": (
        lambda file: file.move("hr/0001", "hr/1"),
        "hr/0001: missing",
    ),
    "no names": (without("names"), "expected hr, lr, names, pixels, sha256, sizes, found hr, lr"),
    "no hr": (without("hr"), "expected hr, lr, names, pixels, sha256, sizes, found lr"),
    "hr no group": (replaced("hr", [1, 2]), "hr: expected a Group, found a Dataset"),
    "too few names": (replaced("names", ["a"]), "names: expected shape (2,), for 2 pairs"),
    "names that are numbers": (replaced("names", [1, 2]), "names: expected text, found int64"),
    "hashes that are none": (replaced("sha256", ["a", "b"]), "tables: sha256.0: "),
    "names that are no UTF-8": (
        replaced("names", np.array([b"\xe9", b"a"]), dtype=h5py.string_dtype()),
        "names: 'utf-8' codec",
    ),
    "sizes in floats": (replaced("sizes", [[84.5, 56], [56, 84]]), "tables: sizes.0.0: "),
    "sizes below zero": (replaced("sizes", [[-84, 56], [56, 84]]), "tables: sizes.0.0: "),
    "sizes of other data": (
        replaced("sizes", [[84, 84], [56, 84]]),
        "hr/0000: expected uint8 (84, 84, 3), found uint8 (84, 56, 3)",
    ),
    "sizes that are no multiples": (
        replaced("sizes", [[83, 56], [56, 84]]),
        "sizes: expected multiples of 28, found (83, 56)",
    ),
    "sizes of another shape": (replaced("sizes", [84, 56]), "sizes: expected shape (2, 2), for 2"),
    "a claim of more than there is": (
        replaced("names", None, shape=(10**12,), dtype=h5py.string_dtype()),
        "names: expected shape (2,), for 2 pairs, found (1000000000000,)",
    ),
    "pixels that were never written": (
        replaced("hr/0000", None, shape=(84, 56, 3), dtype=np.uint8),
        "hr/0000: expected 14112 bytes stored as they are, found 0",
    ),
    "packed pixels": (
        replaced("hr/0000", HR, compression="gzip"),
        "hr/0000: expected 14112 bytes stored as they are, found ",
    ),
    "no scale": (lambda file: file.attrs.__delitem__("scale"), "attributes: scale: missing"),
    "scale 5": (attribute("scale", 5), "attributes: scale: expected 2, 3 or 4, found 5"),
    "scale in words": (attribute("scale", "two"), "attributes: scale: expected 2, 3 or 4"),
    "another use": (attribute("use", "validation"), "attributes: use: expected 'train' or 'test'"),
    "multiple 0": (attribute("multiple", 0), "attributes: multiple: "),
    "a multiple of many": (attribute("multiple", [28, 28]), "attributes: multiple: "),
    "one attribute more": (attribute("colour", "BGR"), "attributes: colour: unknown key"),
    "a version of many": (attribute("format_version", [2, 2]), "expected format tlw-pairs version"),
    "protocol no JSON": (
        attribute("protocol_fields", "{"),
        "attributes: protocol_fields: expected JSON, found '{'",
    ),
    "protocol a list": (attribute("protocol_fields", "[]"), "attributes: protocol_fields: "),
    "protocol without an end": (
        attribute("protocol_fields", "[" * 50_000),
        "attributes: protocol_fields: expected JSON, found '[[[[[",
    ),
    "protocol of another type": (
        other_protocol(lr_dtype="int64"),
        "lr_dtype: expected 'float32' or 'uint8', found 'int64'",
    ),
    "protocol with a field more": (
        other_protocol(gamma=2.2),
        "attributes: protocol_fields: its protocol has other fields than this version knows",
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_file_of_another_form_is_told_by_the_field(path, form):
    spoil, told = FORMS[form]
    with h5py.File(path, "r+") as file:
        spoil(file)
    assert told in refusal(path)


def test_an_empty_file_and_one_of_nothing_are_told(path):
    path.write_bytes(b"")
    assert refusal(path).startswith("expected a whole HDF5 file")
    h5py.File(path, "w").close()
    assert refusal(path).startswith("expected format tlw-pairs version 2, complete, found format")


def test_a_file_of_the_version_before_is_to_be_built_again(path):
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 1
        del file["pixels"]
    assert refusal(path).startswith(
        "expected format tlw-pairs version 2, complete, found format tlw-pairs version 1"
    )


# --- other files are not followed -------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path) -> Path:
    """Another file, with bytes that are nobody's pixels; also as HDF5, under "data"."""
    (tmp_path / "secret").write_bytes(bytes(range(252)) * 56)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = HR
        file.create_group("hr")["0000"] = HR
    return tmp_path


def of_external_storage(file: h5py.File, folder: Path) -> None:
    del file["hr/0000"]
    where = [(str(folder / "secret"), 0, HR.nbytes)]
    file.create_dataset("hr/0000", HR.shape, HR.dtype, external=where)


def virtual(file: h5py.File, folder: Path) -> None:
    del file["hr/0000"]
    layout = h5py.VirtualLayout(HR.shape, HR.dtype)
    layout[:] = h5py.VirtualSource(folder / "other.h5", "data", HR.shape, HR.dtype)
    file.create_virtual_dataset("hr/0000", layout)


def linked(file: h5py.File, folder: Path) -> None:
    del file["hr/0000"]
    file["hr/0000"] = h5py.ExternalLink(folder / "other.h5", "data")


def linked_group(file: h5py.File, folder: Path) -> None:
    del file["hr"]
    file["hr"] = h5py.ExternalLink(folder / "other.h5", "hr")


def linked_inside(file: h5py.File, folder: Path) -> None:
    del file["hr/0001"]
    file["hr/0001"] = h5py.SoftLink("/hr/0000")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (of_external_storage, "hr/0000: expected data of this file, found data in other files"),
        (virtual, "hr/0000: expected data of this file, found data in other files"),
        (linked, "hr/0000: expected data of this file, found a link to elsewhere"),
        (linked_group, "hr: expected data of this file, found a link to elsewhere"),
        (linked_inside, "hr/0001: expected data of this file, found a link to elsewhere"),
    ],
)
def test_data_in_other_files_are_refused(path, elsewhere, spoil, told):
    with h5py.File(path, "r+") as file:
        spoil(file, elsewhere)
    assert refusal(path).startswith(told)


# --- the pixels -------------------------------------------------------------------------------


def flipped(path: Path, name: str) -> None:
    """One bit of one pixel changed, as a disk may do it."""
    with h5py.File(path, locking=False) as file:
        place = file[name].id.get_offset() + 500
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["hr/0001", "lr/0001"])
def test_one_changed_bit_is_found_when_the_pair_is_first_read(path, name):
    flipped(path, name)
    pairs = Pairs(path)
    assert pairs.stored(0) and pairs.crop(0, 0, 0, 4)
    told = rf"{path}: the pixels of 1\.png are not those that were written \(hr/0001 and lr/0001"
    for read in (lambda: pairs.crop(1, 0, 0, 4), lambda: pairs.stored(1), lambda: pairs[1]):
        with pytest.raises(ValueError, match=told):
            read()
    with pytest.raises(ValueError, match=told):
        Pairs(path, device=CPU)


def test_each_pair_is_checked_once_and_by_each_process(path):
    pairs = Pairs(path)
    before = pairs.crop(1, 0, 0, 4)
    flipped(path, "hr/0001")
    assert all(torch.equal(*two) for two in zip(before, pairs.crop(1, 0, 0, 4), strict=True))
    with pytest.raises(ValueError, match="not those that were written"):
        Pairs(path).crop(1, 0, 0, 4)


def test_the_digest_covers_the_pixels(path):
    before = Pairs(path).digest()
    with h5py.File(path, "r+") as file:
        file["hr/0000"][0, 0, 0] ^= 1
        hr, lr = file["hr/0000"][()], file["lr/0000"][()]
    with pytest.raises(ValueError, match="not those that were written"):
        Pairs(path).stored(0)
    digest = hashlib.sha256(hr.tobytes() + lr.tobytes()).hexdigest()
    with h5py.File(path, "r+") as file:  # somebody who knows the form
        file["pixels"][0] = digest
    assert Pairs(path).stored(0)
    assert Pairs(path).digest() != before


def test_what_is_checked_is_what_was_written(path):
    header, protocol, contents = checked(path)
    assert (header.image_set, header.scale, header.use) == ("toy", 2, "train")
    assert protocol == PROTOCOLS["paper"] and protocol != replace(protocol, lr_a=-0.75)
    assert contents.names == ("0.png", "1.png") and contents.sizes == ((84, 56), (56, 84))
