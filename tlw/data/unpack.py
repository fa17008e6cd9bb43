"""Unpacking archives that need no trust: nothing written outside, nothing half done stays."""

import bz2
import errno
import fnmatch
import gzip
import itertools
import lzma
import os
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple, cast

from tlw.runtime.files import naming

MEMBERS, BYTES = 100_000, 64 << 30  # at most, if not said otherwise
_HEADERS = 4096  # bytes of a tar's member besides its content, on the average
_ZIP_HEADER = 30  # bytes before the name and the content of a zip's member
_READ = 1 << 20  # bytes that are read of a tar at once; only a header made to harm asks for more

_OPENERS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}

# What the libraries raise for an archive that is damaged, made to harm, or beyond them (encrypted,
# Deflate64, a version of tomorrow); an OSError without a number comes from bz2 and gzip.
_DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError),
    *(RuntimeError, ValueError, OverflowError, LookupError, OSError),
)
_BAD_NAMES = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)


class BadArchive(ValueError):
    """An archive that is not unpacked; the message names it and the member."""


class _Member(NamedTuple):
    name: str
    size: int  # bytes unpacked
    is_file: bool
    is_plain: bool  # a file or a folder
    unpack_into: Callable[[Path], object]


def extract(
    archive: Path,
    folder: Path,
    *,
    members: Collection[str] | None = None,
    most_members: int = MEMBERS,
    most_bytes: int = BYTES,
) -> list[Path]:
    """Unpacks a zip or tar archive into the new folder `folder`; returns the files, sorted.

    Written aside and renamed when complete. Regular files only, permissions not taken over.

    Args:
        members: glob patterns on the whole member name; None takes all.
        most_members: that the archive may have; `most_bytes` that these may have, unpacked.

    Raises:
        BadArchive: no archive, a damaged one, one larger than allowed, a member that would lie
            outside of `folder`, a link or device, a pattern that fits no member.
        ValueError: `folder` holds something already.
        OSError: the disk does not take it.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty: unpack {archive} into a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    is_zip = zipfile.is_zipfile(archive) and not _begins_as_tar(archive)
    kind = _zipped if is_zip else _tarred
    unseen, names, total = set(members or ()), set(), 0
    with (
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch,
        naming(folder),
        _told(f"{archive} is no zip or tar archive, or is damaged"),
    ):
        aside = Path(scratch, "files")
        aside.mkdir()
        for number, member in enumerate(kind(archive, most_bytes + _HEADERS * most_members), 1):
            with _told(f"{archive}: member {member.name!r}"):
                total += member.size
                if number > most_members or member.size < 0 or total > most_bytes:
                    raise ValueError(
                        f"expected {most_members} members and {most_bytes} bytes unpacked at most, "
                        f"found this one of {member.size} bytes to be number {number}, which makes "
                        f"{total}"
                    )
                if members is None or any(fnmatch.fnmatchcase(member.name, m) for m in members):
                    unseen -= {glob for glob in unseen if fnmatch.fnmatchcase(member.name, glob)}
                    _refuse_unless_harmless(member)
                    if member.is_file:
                        member.unpack_into(aside)
                        names.add(member.name)
        if unseen:
            raise BadArchive(f"{archive} has no member {', '.join(sorted(unseen))}")
        os.replace(aside, folder)
    return sorted(folder / name for name in names)


def _begins_as_tar(archive: Path) -> bool:
    """A tar whose last member is a zip, such as one of torch's, has a zip's end, too."""
    with open(archive, "rb") as file:
        return file.read(262)[257:] == b"ustar"


def _refuse_unless_harmless(member: _Member) -> None:
    path = PurePosixPath(member.name)
    if not member.is_plain:
        raise ValueError("is a link or a device; nothing is unpacked")
    if path.is_absolute() or ".." in path.parts or "\\" in member.name:
        raise ValueError("leads outside; nothing is unpacked")


@contextmanager
def _told(what: str) -> Iterator[None]:
    """What is wrong with an archive becomes a BadArchive; of the disk it stays an OSError."""
    try:
        yield
    except BadArchive:
        raise
    except _DAMAGED as problem:
        if isinstance(problem, OSError) and problem.errno not in (None, *_BAD_NAMES):
            raise
        reason = getattr(problem, "strerror", None) or problem or type(problem).__name__
        raise BadArchive(f"{what}: {reason}") from problem


def _zipped(archive: Path, _: int) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as file:
        infos = sorted(file.infolist(), key=lambda info: info.header_offset)
        for one, two in itertools.pairwise(infos):
            if one.header_offset + _ZIP_HEADER + one.compress_size > two.header_offset:
                raise BadArchive(
                    f"{archive}: members {one.filename!r} and {two.filename!r} overlap"
                )
        for info in infos:
            kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where made without Unix modes
            yield _Member(
                info.filename,
                info.file_size,  # of which the library gives no more
                not info.is_dir(),
                kind in (0, stat.S_IFREG, stat.S_IFDIR),
                partial(file.extract, info),
            )


def _tarred(archive: Path, most: int) -> Iterator[_Member]:
    with open(archive, "rb") as begin:
        start = begin.read(6)
    opener: Callable[..., Any]
    opener = next((opens for magic, opens in _OPENERS.items() if start.startswith(magic)), open)
    with (
        opener(archive, "rb") as raw,
        tarfile.open(fileobj=cast(BinaryIO, _Bounded(raw, most)), mode="r:") as file,
    ):
        for info in file:
            yield _Member(
                info.name,
                info.size,
                info.isreg(),
                info.isreg() or info.isdir(),
                partial(file.extract, info, set_attrs=False, filter="data"),
            )
        # The library takes what is no header for the end. And the check sum of a compressed tar
        # is read at its end only.
        while rest := file.fileobj.read(_READ):
            if rest.strip(b"\0"):
                raise tarfile.ReadError("what follows its last member is none")
        if file.fileobj.tell() % tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it is cut off")


class _Bounded:
    """What a tar's reader may ask of a file: no gigabytes at once, nothing beyond the most."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file, self._most = file, most
        self.tell = file.tell

    def read(self, size: int) -> bytes:
        if size > _READ:
            raise tarfile.ReadError(f"a header of {size} bytes")
        content = self._file.read(size)
        self._check(self.tell())
        return content

    def seek(self, place: int) -> None:
        self._check(place)
        self._file.seek(place)

    def _check(self, place: int) -> None:
        if not 0 <= place <= self._most:
            raise tarfile.ReadError(f"a place at byte {place}, expected {self._most} at most")
