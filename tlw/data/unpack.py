"""Unpacking archives that need no trust: nothing written outside, nothing half done stays."""

import fnmatch
import gzip
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError)


def extract(archive: Path, folder: Path, *, members: Collection[str] | None = None) -> list[Path]:
    """Unpacks a zip or tar archive into the new folder `folder`; returns the files, sorted.

    Written aside and renamed when complete. Regular files only, permissions not taken over.

    Args:
        members: glob patterns on the whole member name; None takes all.

    Raises:
        ValueError: no archive, a damaged one, a member that would lie outside of `folder`, a link
            or device, a pattern that fits no member, or `folder` holds something already.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty: unpack {archive} into a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    unseen = set(members or ())
    names = []
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        aside = Path(scratch, "files")
        aside.mkdir()
        try:
            for name, stream in _wanted_files(archive, members):
                unseen -= {pattern for pattern in unseen if fnmatch.fnmatchcase(name, pattern)}
                destination = aside / name
                destination.parent.mkdir(parents=True, exist_ok=True)
                with open(destination, "wb") as file:
                    shutil.copyfileobj(stream, file)
                names.append(name)
        except _DAMAGED as problem:
            raise ValueError(f"{archive} is a damaged archive: {problem}") from problem
        if unseen:
            raise ValueError(f"{archive} has no member {', '.join(sorted(unseen))}")
        os.replace(aside, folder)
    return sorted(folder / name for name in set(names))


def _wanted_files(archive: Path, members: Collection[str] | None) -> Iterator[tuple[str, BinaryIO]]:
    """Name and content of each wanted regular file."""

    def wanted(name: str) -> bool:
        return members is None or any(fnmatch.fnmatchcase(name, glob) for glob in members)

    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            for info in filter(lambda info: wanted(info.filename), file.infolist()):
                kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where made without Unix modes
                _refuse_unless(kind in (0, stat.S_IFREG, stat.S_IFDIR), archive, info.filename)
                if not info.is_dir():
                    with file.open(info) as stream:
                        yield info.filename, stream
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as file:
            for info in filter(lambda info: wanted(info.name), file):
                _refuse_unless(info.isreg() or info.isdir(), archive, info.name)
                if info.isreg():
                    yield info.name, file.extractfile(info)
            while file.fileobj.read(1 << 20):  # the check sum of a compressed tar is at its end
                pass
    else:
        raise ValueError(f"{archive} is neither a zip nor a tar archive, or is damaged")


def _refuse_unless(plain: bool, archive: Path, name: str) -> None:
    path = PurePosixPath(name)
    if not plain:
        raise ValueError(f"{archive}: member {name!r} is a link or a device; nothing is unpacked")
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise ValueError(f"{archive}: member {name!r} leads outside; nothing is unpacked")
