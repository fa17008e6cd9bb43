"""One process at a time, whichever machine it runs on: a cell's trainer, a file's download.

A cluster may start a requeued job while its first run still ends on another node, and file systems
that several machines share seldom share the kernel's locks. So the lock is a lease of the library
filelock: a file that exists while somebody holds it, names the holder, and is touched every ten
seconds. A holder that died on this machine is succeeded at once, since its process is gone; one on
another machine once the file has stood still for a minute, by the clock of the one who waits. Who
was only suspended for so long finds that out by `Lock.check`.

Two machines of one name (as "localhost") count as one, and then the lock does not protect.
"""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import SoftFileLease, Timeout

from tlw.runtime.files import naming

log = logging.getLogger(__name__)
FRESH = 60.0  # seconds; a lock that has stood still for longer is nobody's


class Lock:
    """A lock that this process holds. `only_one` makes it."""

    def __init__(self, lease: SoftFileLease) -> None:
        self._lease = lease

    def check(self) -> None:
        """Raises OSError once the lock is another process's, or nobody's."""
        lost = self._lease.compromise
        if lost is None:
            return
        path = Path(lost.lock_file)
        if lost.reason == "owner-changed":
            raise OSError(
                f"{path.parent}: taken over by {_holder(self._lease)}, since this process gave no "
                "sign of life for too long; the work goes on there"
            )
        raise OSError(
            f"{path}: the lock of this process is lost ({lost.error or lost.reason}); another one "
            "may have started here. See that none runs, then start this again"
        )


@contextmanager
def only_one(
    path: Path,
    *,
    patience: float = 150.0,
    stale: float = FRESH,
    beat: float | None = None,
    does: str = "trains here",
) -> Iterator[Lock]:
    """Holds the lock in the block; waits before, for a while, when another process has it.

    Args:
        path: the lock file, there as long as the lock is held. A link there is not followed.
        patience: seconds to wait; more than `stale`, so as to outlast a holder that is dead.
        stale: seconds without a heartbeat after which a holder on another machine counts as dead,
            the same for all who want this lock.
        beat: seconds between heartbeats; a sixth of `stale` if not given.
        does: what a holder does, in messages.

    Raises:
        TimeoutError: naming the holder, when patience ends.
        OSError: when the file cannot be written.
    """
    # Not thread-local, since the heartbeat's thread must be able to tell the others.
    lease = SoftFileLease(
        path,
        lease_duration=stale,
        heartbeat_interval=beat or stale / 6,
        poll_interval=0.2,
        thread_local=False,
    )
    with naming(path):
        _take(lease, path, patience, does)
    try:
        yield Lock(lease)
    finally:
        lease.release()


def _take(lease: SoftFileLease, path: Path, patience: float, does: str) -> None:
    try:
        lease.acquire(timeout=0)
        return
    except Timeout:
        limit = f" up to {patience:g} s" if patience < math.inf else ""
        log.warning("%s: %s %s; waiting%s for it", path.parent, _holder(lease), does, limit)
    try:
        lease.acquire(timeout=patience)
    except Timeout:
        raise TimeoutError(
            f"{path.parent}: {_holder(lease)} {does}, and has not ended in {patience:g} s of "
            f"waiting. Let it end, or end it, then start this again; if there is none, delete "
            f"{path}"
        ) from None


def _holder(lease: SoftFileLease) -> str:
    owner = lease.owner
    if owner is None:
        return "an unknown process"
    return f"process {owner.pid} on {owner.hostname.partition('?')[0]}"  # "?": of a container
