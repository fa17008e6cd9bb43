"""Getting files: from mirrors in order, resumed, checked by SHA-256, renamed into place when right.

Nothing here knows what the files are for. A file that this module leaves at its target has the
SHA-256 that was asked for; what is half done lies beside it under `<name>.part`.
"""

import hashlib
import logging
import math
import os
import time
from collections.abc import Sequence
from io import BufferedRandom
from pathlib import Path

from tqdm import tqdm

from tlw.data.http import Passing, RangeRefused, SourceFailed, opened, shown_url
from tlw.runtime.files import naming, sha256_of
from tlw.runtime.locks import only_one

log = logging.getLogger(__name__)

PAUSES = (1.0, 4.0)  # seconds before a source is tried again, if it does not say how long
MOST = 16 << 30  # bytes of a file whose size is not known


class DownloadError(OSError):
    """No source gave the file; the message has one reason for each of them."""


def check_file(path: Path, sha256: str) -> None:
    """Raises a ValueError that names `path` unless its SHA-256 is `sha256`."""
    found = sha256_of(path)
    if found != sha256:
        raise ValueError(
            f"{path} ({path.stat().st_size} bytes) is not the file expected: its SHA-256 is "
            f"{found}, expected {sha256}; delete it, or put the right file there"
        )


def download(
    urls: Sequence[str],
    target: Path,
    *,
    sha256: str,
    size: int | None = None,
    most: int = MOST,
    progress: bool = True,
) -> Path:
    """The file `target`, taken from the first of `urls` that gives the right bytes.

    A right file in place is returned at once. What an earlier call left in `<target>.part` is gone
    on from where the server can (HTTP Range). Two processes may ask for one file at a time.

    Args:
        sha256: of the whole file; `size` in bytes if known, of which no more is ever read.
        most: bytes that are read at most where `size` is not known.
        progress: a bar on standard error, where that is a terminal.

    Raises:
        DownloadError: no mirror gave it.
        ValueError: another file lies at `target`.
        OSError: the disk does not take it.
    """
    if not target.exists():
        lock = target.with_name(f".{target.name}.lock")
        with only_one(lock, patience=math.inf, does=f"gets {target.name}"):
            if not target.exists():  # another process may have made it while this one waited
                _get(urls, target, sha256, size, most, progress)
                return target
    check_file(target, sha256)
    return target


def _get(
    urls: Sequence[str], target: Path, sha256: str, size: int | None, most: int, progress: bool
) -> None:
    part = target.with_name(target.name + ".part")
    if part.is_symlink():
        part.unlink()  # it would lead to a file that is not ours
    reasons = []
    with naming(part), open(part, "a+b") as file, _bar(target.name, size, progress) as bar:
        for url in urls:
            try:
                _from_source(url, file, bar, sha256, size, most)
            except SourceFailed as problem:
                log.warning("%s: %s", shown_url(url), problem)
                reasons.append(f"  {shown_url(url)}: {problem}")
            else:
                os.fsync(file.fileno())
                break
        else:
            raise _gave_up(target, part, _length(file), reasons, sha256)
    os.replace(part, target)


def _gave_up(
    target: Path, part: Path, kept: int, reasons: Sequence[str], sha256: str
) -> DownloadError:
    if not kept:
        part.unlink()
    return DownloadError(
        f"could not download {target.name}:\n"
        + "\n".join(reasons)
        + (f"\n{kept} bytes are kept in {part}; another try goes on from there." if kept else "")
        + f"\nOr get the file by other means and put it at {target}; its SHA-256 must be {sha256}"
    )


def _from_source(
    url: str, file: BufferedRandom, bar: tqdm, sha256: str, size: int | None, most: int
) -> None:
    """Completes `file` from one source or raises SourceFailed, leaving no wrong bytes in it."""
    before = _length(file)
    for pause in (*PAUSES, None):
        start = _length(file)
        if start and size in (None, start) and _sha256_now(file) == sha256:
            return
        if size is not None and start >= size:
            file.truncate(start := 0)
        if pause is None and start == before:
            start = 0  # last of all the whole: some sources fail whenever asked for a part
        try:
            try:
                start = _append(url, start, file, bar, size, most)
            except RangeRefused:
                start = _append(url, 0, file, bar, size, most)
        except Passing as problem:
            if pause is None:
                raise
            time.sleep(pause if problem.pause is None else problem.pause)
            continue
        found = _sha256_now(file)
        if found == sha256:
            return
        file.truncate(0)
        # Wrong bytes may be what another source left: only of a whole file they are this one's.
        if not start or pause is None:
            raise SourceFailed(f"wrong file: SHA-256 expected {sha256}, found {found}")


def _append(
    url: str, start: int, file: BufferedRandom, bar: tqdm, size: int | None, most: int
) -> int:
    """Appends the rest of the file from byte `start`; returns where the source really started."""
    with opened(url, start) as body:
        total = size if body.total is None else body.total
        if size is not None and total != size:
            raise SourceFailed(f"the file there has {total} bytes, expected {size}")
        file.truncate(body.start)
        have, end = body.start, most if size is None else size
        bar.reset(total=total)
        bar.update(have)
        try:
            for chunk in body.chunks:
                file.write(chunk[: end - have])
                have += len(chunk)
                bar.update(len(chunk))
                if have >= end:
                    break
        except Passing as problem:
            raise Passing(f"broke off at byte {have} of {total or 'unknown'}: {problem}") from None
    if size is None and have > end:
        file.truncate(0)
        raise SourceFailed(f"the file there is longer than {most} bytes")
    if total is not None and have < total:
        raise Passing(f"broke off at byte {have} of {total}")
    return body.start


def _bar(name: str, size: int | None, progress: bool) -> tqdm:
    options = {"unit": "B", "unit_scale": True, "disable": None if progress else True}
    return tqdm(desc=name, total=size, **options)


def _length(file: BufferedRandom) -> int:
    file.flush()
    return os.fstat(file.fileno()).st_size


def _sha256_now(file: BufferedRandom) -> str:
    file.flush()
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()
