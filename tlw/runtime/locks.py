"""One trainer at a time in a cell's folder, whichever machine it runs on.

A cluster may start a requeued job while its first run still ends on another node. Two signs say
that the holder of a lock lives:

- a lock of the kernel on the file (`fcntl.lockf`). It goes with the process, however that ends, and
  reaches other machines on file systems that share locks (NFS 4, CephFS, GPFS, Lustre with flock).
  It is the kind that children do not inherit: processes that read images ahead may outlive a
  killed trainer by seconds.
- a heartbeat: the holder touches the file every ten seconds. It decides where the kernel's lock
  says nothing sure, of a holder on another machine: locks may end at the border of a machine, and
  a server may keep those of a node that is gone. Such a holder counts as dead, and its lock is
  taken over, once the file has stood still for a minute, by the clock of the one who waits.

So who dies is succeeded at once on its own machine, and after a minute on another. Who was only
suspended for so long finds another's name in the file, and stops. The file is never deleted:
whoever deletes one may delete that of the next holder.
"""

import errno
import fcntl
import json
import logging
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)
_LONGEST = 4096  # bytes of a record


class Lock:
    """A lock that this process holds. `only_one` makes it."""

    def __init__(self, path: Path, file: int, beat: float, locked: bool) -> None:
        self.path, self._file, self._every = path, file, beat
        self._record = _sign(path, file, locked)
        self._lost, self._over = False, threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises OSError once another process has taken the lock over."""
        if self._lost:
            raise OSError(
                f"{self.path.parent}: taken over by {_told(_read(self._file))}, since this process "
                "gave no sign of life for too long; the training goes on there"
            )

    def release(self) -> None:
        """Frees the lock, if it is still this process's."""
        self._over.set()
        self._thread.join()
        try:
            if self._is_mine():
                os.ftruncate(self._file, 0)
        finally:
            os.close(self._file)

    def _is_mine(self) -> bool:
        return os.pread(self._file, _LONGEST, 0) == self._record

    def _beat(self) -> None:
        while not (self._lost or self._over.wait(self._every)):
            with suppress(OSError):  # a file server that is away, perhaps until the next beat
                self._lost = not self._is_mine()
                if not self._lost:
                    os.utime(self._file)


@contextmanager
def only_one(
    path: Path, *, patience: float = 150.0, stale: float = 60.0, beat: float = 10.0
) -> Iterator[Lock]:
    """Holds the lock in the block; waits before, for a while, when another process has it.

    Args:
        path: the lock file; it is made, and stays.
        patience: seconds to wait; more than `stale`, so as to outlast a holder that is dead.
        stale: seconds without a heartbeat after which a holder on another machine counts as dead.
        beat: seconds between heartbeats.

    Raises:
        TimeoutError: naming the holder, when patience ends.
        OSError: when the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file, until = _File(path, stale), time.monotonic() + patience
    while (lock := file.take(beat)) is None:
        who = f"{path.parent}: {_told(file.holder)}"
        if time.monotonic() >= until:
            raise TimeoutError(
                f"{who} trains here, and has not ended in {patience:g} s of waiting. Let it end, "
                "or end it, then start this again"
            )
        if file.is_new:
            log.warning("%s trains here; waiting up to %g s for it to end", who, patience)
        time.sleep(0.2)
    try:
        yield lock
    finally:
        lock.release()


class _File:
    """A lock file that is looked at again and again, until it can be taken."""

    def __init__(self, path: Path, stale: float) -> None:
        self.path, self.stale = path, stale
        self.holder: dict[str, Any] = {}
        self.is_new = False  # the holder, since the look before
        self._seen, self._since = None, 0.0

    def take(self, beat: float) -> Lock | None:
        """The lock, if it can be had now."""
        with ExitStack() as undo:
            # Opened anew for each look, for then a file server says how the file is now.
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            undo.callback(os.close, file)
            locked = _kernel_lock(file)
            stands_still = self._look(file)
            if self._is_free(locked, stands_still):
                lock = Lock(self.path, file, beat, locked=locked is True)
                undo.pop_all()
                return lock
        return None

    def _look(self, file: int) -> bool:
        """Whether nobody has touched the file for long enough."""
        holder, now = _read(file), time.monotonic()
        self.is_new, self.holder = holder != self.holder, holder
        seen = holder, os.fstat(file).st_mtime_ns
        if seen != self._seen:
            self._seen, self._since = seen, now
        return now - self._since >= self.stale

    def _is_free(self, locked: bool | None, stands_still: bool) -> bool:
        if not self.holder:
            return locked is not False  # else somebody is about to sign
        if self.holder.get("locked") and self.holder.get("machine") == _machine():
            return locked is True
        return stands_still


def _kernel_lock(file: int) -> bool | None:
    """Whether the kernel's lock could be had; None where the file system has none."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            return None
        raise
    return True


def _sign(path: Path, file: int, locked: bool) -> bytes:
    record = {
        "host": platform.node(),
        "pid": os.getpid(),
        "job": os.environ.get("SLURM_JOB_ID"),
        "since": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "machine": _machine(),
        "locked": locked,
    }
    content = json.dumps(record).encode()
    try:
        os.pwrite(file, content, 0)
        os.ftruncate(file, len(content))
        os.fsync(file)
    except OSError as error:
        reason = f"{path}: could not be written ({error.strerror})"
        raise OSError(error.errno, reason) from error
    return content


def _read(file: int) -> dict[str, Any]:
    """The record in a lock file; without anything to go by when it is half written."""
    content = os.pread(file, _LONGEST, 0)
    try:
        return json.loads(content) if content else {}
    except ValueError:
        return {"host": "an unknown machine"}


def _told(holder: dict[str, Any]) -> str:
    job = f", SLURM job {holder['job']}" if holder.get("job") else ""
    pid, host = holder.get("pid", "another"), holder.get("host", "this machine")
    return f"process {pid} on {host}{job}, since {holder.get('since', 'just now')},"


def _machine() -> str:
    """What tells one running kernel from another: a machine's name may not."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return boot.read_text().strip() if boot.exists() else platform.node()
