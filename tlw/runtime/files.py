"""Writing files so that nobody ever sees half of one, and knowing them by their hash."""

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_aside(target: Path | str) -> Iterator[Path]:
    """A path beside `target` to write to; it becomes `target` when the block ends without an error.

    So `target` is always absent or whole. After an error the file aside is removed; after a
    SIGKILL it stays as `.<name>.<random>.part`, which nothing reads (of a long name it has the
    first 50 characters). An OSError names `target`, or the other file that the block could not
    read.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Names may have 255 bytes, of which one character in UTF-8 takes up to 4.
    aside = target.with_name(f".{target.name[:50]}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield aside
        with aside.open("rb+") as file:
            os.fsync(file.fileno())  # some file systems report a full disk only here
        aside.replace(target)
    except OSError as error:
        if error.filename not in (None, str(aside)):
            raise  # of a file that the block reads
        raise _not_written(target, error) from error
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """The system's errors in writing, which do not say to which file, name `path`."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise _not_written(path, error) from error


def _not_written(path: Path | str, error: OSError) -> OSError:
    reason = f"{path}: could not be written ({error.strerror or error})"
    return OSError(error.errno, reason) if error.errno else OSError(reason)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, 64 lower-case hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
