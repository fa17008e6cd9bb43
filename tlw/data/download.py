"""Getting files: from mirrors in order, resumed, checked by SHA-256, renamed into place when right.

Nothing here knows what the files are for. A file that this module leaves at its target has the
SHA-256 that was asked for; what is half done lies beside it under `<name>.part`.
"""

import fcntl
import hashlib
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import requests
from tqdm import tqdm

log = logging.getLogger(__name__)

# pooch would do all of this but resume, which 3.5 GB over a weak line need.
CONNECT_SECONDS, SILENCE_SECONDS = 5.0, 30.0
ATTEMPTS = 3
CHUNK = 1 << 16  # what is lost at most when a line breaks off


class DownloadError(OSError):
    """No source gave the file; the message has one reason for each of them."""


class _MirrorFailed(Exception):
    """What is wrong with one mirror."""


class _BrokeOff(_MirrorFailed):
    """The mirror stopped before the end: worth another attempt, from there."""


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, 64 lower-case hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
    progress: bool = True,
) -> Path:
    """The file `target`, taken from the first of `urls` that gives the right bytes.

    A right file in place is returned at once. What an earlier call left in `<target>.part` is gone
    on from where the server can (HTTP Range). Two processes may ask for one file at a time.

    Args:
        sha256: of the whole file; `size` in bytes if known.
        progress: a bar on standard error, where that is a terminal.

    Raises:
        DownloadError: no mirror gave it.
        ValueError: another file lies at `target`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        check_file(target, sha256)
        return target
    part = target.with_name(target.name + ".part")
    with alone(part) as file:
        if target.exists():  # another process made it while this one waited
            part.unlink()
            check_file(target, sha256)
            return target
        reasons = []
        for url in urls:
            try:
                _from_mirror(url, file, sha256=sha256, size=size, progress=progress)
            except _MirrorFailed as problem:
                log.warning("%s: %s", url, problem)
                reasons.append(f"  {url}: {problem}")
            else:
                os.fsync(file.fileno())
                os.replace(part, target)
                return target
        kept = _length(file)
        if not kept:
            part.unlink()
    raise DownloadError(
        f"could not download {target.name}:\n"
        + "\n".join(reasons)
        + (f"\n{kept} bytes are kept in {part}; another try goes on from there." if kept else "")
        + f"\nOr get the file by other means and put it at {target}; its SHA-256 must be {sha256}"
    )


@contextmanager
def alone(path: Path) -> Iterator[BinaryIO]:
    """`path` open for reading and appending, waiting until no other process has it so.

    A process that ends, however it does, loses its lock.
    """
    while True:
        with open(path, "a+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError as problem:
                log.warning("%s: this file system has no locks (%s); going on", path, problem)
            # The process that had the lock may have renamed or removed the file it locked.
            still_there = False
            with suppress(FileNotFoundError):
                still_there = os.path.samestat(os.fstat(file.fileno()), path.stat())
            if still_there:
                yield file
                return


def _length(file: BinaryIO) -> int:
    file.flush()
    return os.fstat(file.fileno()).st_size


def _sha256_now(file: BinaryIO) -> str:
    file.flush()
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


def _from_mirror(
    url: str, file: BinaryIO, *, sha256: str, size: int | None, progress: bool
) -> None:
    """Completes `file` from one mirror or raises _MirrorFailed, leaving no wrong bytes in it."""
    for attempt in range(1, ATTEMPTS + 1):
        start = _length(file)
        if start and start == size and _sha256_now(file) == sha256:
            return
        if size is not None and start >= size:
            file.truncate(start := 0)
        try:
            start = _stream(url, file, start=start, size=size, progress=progress)
        except requests.RequestException as problem:
            raise _MirrorFailed(_reason(problem)) from problem
        except _BrokeOff:
            if attempt == ATTEMPTS:
                raise
            continue
        found = _sha256_now(file)
        if found == sha256:
            return
        file.truncate(0)
        # The wrong bytes may be what another mirror left: only a whole file is this one's fault.
        if not start or attempt == ATTEMPTS:
            raise _MirrorFailed(f"wrong file: SHA-256 expected {sha256}, found {found}")


def _stream(url: str, file: BinaryIO, *, start: int, size: int | None, progress: bool) -> int:
    """Appends the rest of the file from byte `start`; returns where the server really started."""
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with requests.get(
        url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, SILENCE_SECONDS)
    ) as response:
        if start and response.status_code == 416:  # what is here is as long as the file there
            return start
        if response.status_code not in (200, 206):
            raise _MirrorFailed(f"HTTP {response.status_code} {response.reason}".rstrip())
        if response.status_code == 200:
            start = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise _MirrorFailed("answered with another range than the one asked for")
        coming = response.headers.get("Content-Length")
        total = start + int(coming) if coming else size
        if size is not None and total != size:
            raise _MirrorFailed(f"the file there has {total} bytes, expected {size}")
        file.truncate(start)
        bar = tqdm(
            desc=Path(file.name).stem,
            initial=start,
            total=total,
            unit="B",
            unit_scale=True,
            disable=None if progress else True,
        )
        with bar:
            _append(response, file, bar, total=total, size=size)
    return start


def _append(
    response: requests.Response, file: BinaryIO, bar: tqdm, *, total: int | None, size: int | None
) -> None:
    try:
        for chunk in response.iter_content(CHUNK):
            file.write(chunk)
            bar.update(len(chunk))
            if size is not None and bar.n > size:
                break
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as problem:
        why = "timed out" if "timed out" in str(problem) else "broke off"
        raise _BrokeOff(f"{why} at byte {_length(file)} of {total or 'unknown'}") from problem
    have = _length(file)
    if total is not None and have < total:
        raise _BrokeOff(f"broke off at byte {have} of {total}")
    if size is not None and have > size:
        file.truncate(0)
        raise _MirrorFailed(f"the file there is longer than the {size} bytes expected")


def _reason(problem: requests.RequestException) -> str:
    match problem:
        case requests.ConnectTimeout():
            return f"timed out: no connection within {CONNECT_SECONDS:g} s"
        case requests.Timeout():
            return f"timed out: no answer within {SILENCE_SECONDS:g} s"
        case requests.exceptions.SSLError():
            return f"no trusted connection: {problem}"
        case requests.ConnectionError():
            # requests wraps what happened in what urllib3 did about it.
            return f"cannot be reached: {getattr(problem.args[0], 'reason', problem)}"
    return str(problem)


def pip_download(requirement: str, sha256: str, folder: Path) -> Path:
    """One file of a pinned package (`name==version`), from whatever index pip is configured for.

    pip refuses any file that has not this SHA-256 before it looks into it. (Of a source archive
    it then asks the metadata, which runs the set-up script of that pinned archive.)
    Returns the path of the file in `folder`.

    Raises:
        DownloadError: with pip's last lines.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        pinned = Path(scratch, "requirements.txt")
        pinned.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
        files = Path(scratch, "files")
        command = [sys.executable, "-m", "pip", "download", "--no-input", "--no-deps"]
        command += ["--progress-bar=off", "--require-hashes", "--requirement", str(pinned)]
        done = subprocess.run(
            [*command, "--dest", str(files)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            lines = re.sub(r"\n\s*\n", "\n", done.stdout + done.stderr).strip().splitlines()[-8:]
            raise DownloadError(
                f"pip could not download {requirement} with SHA-256 {sha256}; its last lines:\n  "
                + "\n  ".join(lines)
                + f"\nSee that `{sys.executable} -m pip download {requirement}` works"
            )
        (file,) = files.iterdir()
        check_file(file, sha256)
        return Path(shutil.move(file, folder / file.name))
