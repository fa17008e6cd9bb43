"""Archives, sound and hostile."""

import bz2
import gzip
import io
import lzma
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from toys import small_disk

from tlw.data.unpack import extract

SOUND = {"set/a.png": b"a", "set/deep/b.png": b"bb", "set/notes.txt": b"n"}


def _zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.mkdir("set")
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def _tar(path: Path, files: dict[str, bytes], *links: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for link in links:
            archive.addfile(link)
    return path


def _link(name: str, kind: bytes, target: str = "/etc/passwd") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("make", [_zip, _tar])
def test_an_archive_is_unpacked_whole(tmp_path, make):
    archive = make(tmp_path / "archive", SOUND)
    files = extract(archive, tmp_path / "out")
    assert {str(f.relative_to(tmp_path / "out")): f.read_bytes() for f in files} == SOUND
    assert sorted(os.listdir(tmp_path)) == ["archive", "out"]


def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path):
    inner = _zip(tmp_path / "inner.zip", SOUND)
    with tarfile.open(tmp_path / "outer.tar", "w") as archive:
        archive.add(inner, "last.zip")
    [file] = extract(tmp_path / "outer.tar", tmp_path / "out")
    assert file.name == "last.zip" and file.read_bytes() == inner.read_bytes()


@pytest.mark.parametrize("make", [_zip, _tar])
def test_only_the_wanted_members_are_unpacked(tmp_path, make):
    archive = make(tmp_path / "archive", SOUND)
    files = extract(archive, tmp_path / "out", members=["*.png"])
    assert [f.name for f in files] == ["a.png", "b.png"]
    assert not (tmp_path / "out/set/notes.txt").exists()


@pytest.mark.parametrize("make", [_zip, _tar])
@pytest.mark.parametrize("name", ["../evil", "set/../../evil", "/tmp/tlw-evil", "..\\evil"])
def test_a_member_that_leads_outside_is_refused_and_nothing_stays(tmp_path, make, name):
    archive = make(tmp_path / "archive", {**SOUND, name: b"x"})
    with pytest.raises(ValueError, match="leads outside"):
        extract(archive, tmp_path / "out")
    assert os.listdir(tmp_path) == ["archive"]
    assert not Path("/tmp/tlw-evil").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    archive = _tar(tmp_path / "archive", SOUND, _link("set/link", kind))
    with pytest.raises(ValueError, match="link or a device"):
        extract(archive, tmp_path / "out")
    assert os.listdir(tmp_path) == ["archive"]


def test_a_symbolic_link_in_a_zip_is_refused(tmp_path):
    info = zipfile.ZipInfo("set/link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "archive", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(ValueError, match="link or a device"):
        extract(tmp_path / "archive", tmp_path / "out")


@pytest.mark.parametrize("make", [_zip, _tar])
@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_damaged_archive_is_named_and_nothing_stays(tmp_path, make, damage):
    archive = make(tmp_path / "archive", {"a": os.urandom(100_000)})
    content = bytearray(archive.read_bytes())
    if damage == "cut":
        content = content[:50_000]
    else:
        content[50_000] ^= 255
    archive.write_bytes(content)
    with pytest.raises(ValueError, match=str(archive)):
        extract(archive, tmp_path / "out")
    assert os.listdir(tmp_path) == ["archive"]


def test_a_pattern_without_a_member_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no member \*\.bmp"):
        extract(_zip(tmp_path / "archive", SOUND), tmp_path / "out", members=["*.png", "*.bmp"])


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_bytes(b"")
    with pytest.raises(ValueError, match="not empty"):
        extract(_zip(tmp_path / "archive", SOUND), tmp_path / "out")


# --- made to harm, or beyond the library ------------------------------------------------------


def _patched(path: Path, changes: dict[bytes, Callable[[bytearray, int], None]]) -> Path:
    """A zip of one file, a.png, with its headers changed after their signatures."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", b"pixels" * 100)
    content = bytearray(path.read_bytes())
    for signature, change in changes.items():
        change(content, content.index(signature))
    path.write_bytes(content)
    return path


def _set(offset: int, form: str, value: int) -> Callable[[bytearray, int], None]:
    return lambda content, at: struct.pack_into(form, content, at + offset, value)


LOCAL, CENTRAL = b"PK\3\4", b"PK\1\2"


def _both(local: int, central: int, value: int) -> dict:
    return {LOCAL: _set(local, "<H", value), CENTRAL: _set(central, "<H", value)}


def _compressed(path: Path, method: int) -> Path:
    """A zip whose one member is damaged in its compressed bytes."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.png", os.urandom(3000))
    content = bytearray(path.read_bytes())
    content[60:2000] = bytes(1940)
    path.write_bytes(content)
    return path


def _many(path: Path, count: int) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            archive.writestr(f"{number}.png", b"")
    return path


def _overlapping(path: Path) -> Path:
    """Two members whose contents are the same bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", b"x" * 1000)
        archive.writestr("b.png", b"x" * 1000)
    content = bytearray(path.read_bytes())
    second = content.index(CENTRAL, content.index(CENTRAL) + 1)
    struct.pack_into("<L", content, second + 42, 10)  # where its header is said to lie
    path.write_bytes(content)
    return path


def _bomb(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(20_000_000))
    return path


def _header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def _raw_tar(path: Path, *blocks: bytes, opener: Callable = open) -> Path:
    with opener(path, "wb") as file:
        file.writelines(blocks)
    return path


def _backwards(path: Path) -> Path:
    """A tar whose member has less than no bytes, so that the next would be itself again."""
    header = bytearray(_header("a.png", 0))
    header[124:136] = b"\xff" * 10 + struct.pack(">h", -1024)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return _raw_tar(path, bytes(512), bytes(header), bytes(1024))


def _long_chain(path: Path) -> Path:
    """Headers that belong to the next one, again and again."""
    one = _header("././@LongLink", 10, tarfile.GNUTYPE_LONGNAME) + b"name".ljust(512, b"\0")
    return _raw_tar(path, one * 5000, _header("a.png", 0), bytes(1024))


HARMFUL = {
    "encrypted": (lambda p: _patched(p, _both(6, 8, 1)), "a.png.*encrypted"),
    "AES": (lambda p: _patched(p, _both(8, 10, 99)), "a.png"),
    "Deflate64": (lambda p: _patched(p, _both(8, 10, 9)), "a.png.*compression"),
    "unknown version": (lambda p: _patched(p, {CENTRAL: _set(6, "<H", 99)}), "version"),
    "a size beyond all": (lambda p: _patched(p, {CENTRAL: _set(24, "<L", 0xFFFFFFF0)}), "a.png"),
    "no such header": (lambda p: _patched(p, {CENTRAL: _set(42, "<L", 77)}), "a.png"),
    "damaged deflate": (lambda p: _compressed(p, zipfile.ZIP_DEFLATED), "a.png"),
    "damaged bzip2": (lambda p: _compressed(p, zipfile.ZIP_BZIP2), "a.png"),
    "damaged lzma": (lambda p: _compressed(p, zipfile.ZIP_LZMA), "a.png"),
    "many members": (lambda p: _many(p, 1001), r"1000\.png.* number 1001"),
    "overlapping members": (_overlapping, "'a.png' and 'b.png' overlap"),
    "a bomb": (_bomb, r"a\.png.*10000000 bytes .* 20000000"),
    "a file and a folder of one name": (
        lambda p: _zip(p, {"set/a.png": b"", "set/a.png/b.png": b""}),
        r"set/a\.png",
    ),
    "a name of 300 letters": (lambda p: _zip(p, {f"set/{'a' * 300}": b""}), "aaa.*too long"),
    "a tar of many members": (
        lambda p: _tar(p, {f"{number}.png": b"" for number in range(1001)}),
        r"1000\.png.* number 1001",
    ),
    "a tar with a name of gigabytes": (
        lambda p: _raw_tar(p, _header("x", 3 << 30, tarfile.GNUTYPE_LONGNAME), bytes(9999)),
        "header of 3221225472 bytes",
    ),
    "a tar with a pax header of gigabytes": (
        lambda p: _raw_tar(p, _header("x", 3 << 30, tarfile.XHDTYPE), bytes(9999)),
        "header of 3221225472 bytes",
    ),
    "a tar with a pax header that is none": (
        lambda p: _raw_tar(p, _header("x", 20, tarfile.XHDTYPE), b"x size=many\n".ljust(512)),
        "",
    ),
    "a tar with a member of exabytes": (
        lambda p: _raw_tar(p, _header("a.png", 1 << 60), bytes(9999)),
        "a.png",
    ),
    "a tar that goes backwards": (_backwards, ""),
    "a tar with a chain of headers": (_long_chain, ""),
    "a tar that is a bomb": (
        lambda p: _raw_tar(p, _header("a.png", 20_000_000), bytes(20_001_024), opener=gzip.open),
        r"a\.png.*10000000 bytes .* 20000000",
    ),
    "a tar with a bomb after its end": (
        lambda p: _raw_tar(p, bytes(30_000_000), opener=gzip.open),
        "byte",
    ),
    "a tar cut off in a header": (
        lambda p: _raw_tar(p, _header("a.png", 0), _header("b.png", 0)[:300]),
        "cut off",
    ),
    "a tar whose second header is damaged": (
        lambda p: _raw_tar(p, _header("a.png", 0), b"x" * 1024, bytes(1024)),
        "what follows",
    ),
    "a tar cut off in gzip": (
        lambda p: _raw_tar(p, gzip.compress(_header("a.png", 9999) + os.urandom(10240))[:9000]),
        "a.png",
    ),
    "gzip of nothing": (lambda p: _raw_tar(p, gzip.compress(b"")[:5]), ""),
    "nothing": (lambda p: _raw_tar(p, b""), ""),
    "a page": (lambda p: _raw_tar(p, b"<html>log in first</html>" * 100), "no zip or tar"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HARMFUL)
def test_a_harmful_archive_is_told_with_its_member_and_nothing_stays(tmp_path, kind):
    make, told = HARMFUL[kind]
    archive = make(tmp_path / "archive")
    with pytest.raises(ValueError, match=rf"{archive}(?s:.*){told}"):
        extract(archive, tmp_path / "out", most_members=1000, most_bytes=10_000_000)
    assert os.listdir(tmp_path) == ["archive"]


@pytest.mark.parametrize("opener", [gzip.open, bz2.open, lzma.open, open])
def test_tars_are_read_however_they_are_compressed(tmp_path, opener):
    archive = _raw_tar(
        tmp_path / "archive", _header("a.png", 3), b"abc".ljust(512, b"\0"), bytes(1024),
        opener=opener,
    )  # fmt: skip
    (file,) = extract(archive, tmp_path / "out")
    assert file.read_bytes() == b"abc"


def test_what_is_as_large_as_allowed_is_unpacked(tmp_path):
    archive = _zip(tmp_path / "archive", {"a.png": b"x" * 1000, "b.png": b"x" * 1000})
    files = extract(archive, tmp_path / "out", most_members=3, most_bytes=2000)  # a folder, too
    assert len(files) == 2


def test_a_full_disk_is_no_fault_of_the_archive(tmp_path):
    archive = _zip(tmp_path / "archive", {"a.png": os.urandom(100_000)})
    with small_disk(tmp_path / "disk", kilobytes=64) as disk:
        with pytest.raises(OSError, match=r"disk/out: could not be written \(No space left"):
            extract(archive, disk / "out")
        assert os.listdir(disk) == []
