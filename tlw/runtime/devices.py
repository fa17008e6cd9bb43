"""Which GPU is whose, among the jobs that run beside each other on one machine.

Snakemake counts GPUs (`--resources gpu=4`) but gives none of them out. So each job claims its own:
a lock on a file that stands for the device, gone with the job's last process, however that ends.
The files lie in a folder of the user's for this machine, in the folder for temporary files. Jobs
of other users do not see them; where people share a machine, CUDA_VISIBLE_DEVICES divides it.

In a SLURM job the devices are those of its allocation, numbered anew in each, so each allocation
has locks of its own: they matter where several trainings are grouped into one SLURM job.

No torch in here, since CUDA reads CUDA_VISIBLE_DEVICES once, when it starts.
"""

import fcntl
import itertools
import json
import logging
import os
import re
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


def visible() -> list[str]:
    """The names of this machine's NVIDIA GPUs that CUDA would show this process, as it names them.

    TLW_DEVICES, such as "0,1,2", stands for them where there are none, to try things out.
    """
    given = os.environ.get("TLW_DEVICES", os.environ.get("CUDA_VISIBLE_DEVICES"))
    if given is None:
        return [str(index) for index in range(_count())]
    names: list[str] = []
    for name in (part.strip() for part in given.split(",")):
        if not re.fullmatch(r"\d+|(GPU|MIG)-[\w/-]+", name):
            break  # as CUDA reads it: what follows a name that is none does not count
        names.append(name)
    return names


@contextmanager
def claimed(count: int = 1, *, share: int = 1) -> Iterator[list[int]]:
    """Holds GPUs in the block, the emptiest first, and makes CUDA see these alone.

    Waits until so many are free. Where there is no GPU nothing is claimed. To be entered before
    CUDA starts.

    Args:
        count: GPUs that the job needs.
        share: jobs that may have the same GPU, if all of them say so.

    Yields:
        File descriptors of the locks, for the job's own children to hold, too.

    Raises:
        ValueError: when there are GPUs, but fewer than `count`; or when the locks' folder is not
            this user's alone.
    """
    names = visible()
    if not names:
        yield []
        return
    if len(names) < count:
        raise ValueError(f"expected {count} GPUs or more, found {len(names)}: {', '.join(names)}")
    with ExitStack() as locks:
        mine = _wait_for(count, names, share, locks)
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(mine)
        log.info("on GPU %s of %s", ",".join(mine), ",".join(names))
        yield list(mine.values())


def _wait_for(count: int, names: Sequence[str], share: int, locks: ExitStack) -> dict[str, int]:
    """The devices taken, with the descriptors of their locks."""
    folder, told = _folder(), False
    while True:
        with (folder / "choice").open("ab") as choice:
            fcntl.flock(choice, fcntl.LOCK_EX)  # for milliseconds: one looks and takes at a time
            holders = {name: _holders(folder, name) for name in names}
            free = [name for name in names if _has_room(holders[name], share)]
            if len(free) >= count:
                emptiest = sorted(free, key=lambda name: len(holders[name]))[:count]
                return {name: _take(folder, name, share, locks) for name in emptiest}
        if not told:
            whose = (
                f"{name} by process {holder['pid']}" for name in names for holder in holders[name]
            )
            log.info("waiting for a GPU; held: %s", ", ".join(whose))
            told = True
        time.sleep(0.2)


def _has_room(holders: Sequence[dict[str, int]], share: int) -> bool:
    return len(holders) < min([share, *(holder["share"] for holder in holders)])


def _holders(folder: Path, name: str) -> list[dict[str, int]]:
    """What those who hold a device now wrote into its lock files."""
    holders = []
    for path in folder.glob(f"{_stem(name)}.*"):
        with path.open("rb") as file:
            if not _locks(file.fileno()):
                holders.append(json.loads(file.read()))
    return holders


def _take(folder: Path, name: str, share: int, locks: ExitStack) -> int:
    """Locks the first free file of a device until `locks` ends."""
    for place in itertools.count():
        file = os.open(folder / f"{_stem(name)}.{place}", os.O_RDWR | os.O_CREAT, 0o600)
        if not _locks(file):
            os.close(file)
            continue
        locks.callback(os.close, file)
        locks.callback(fcntl.flock, file, fcntl.LOCK_UN)  # also for children that live on
        content = json.dumps({"pid": os.getpid(), "share": share}).encode()
        os.pwrite(file, content, 0)
        os.ftruncate(file, len(content))
        return file


def _locks(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _stem(name: str) -> str:
    return "gpu-" + quote(name, safe="")


def _folder() -> Path:
    """Where the lock files lie: for this user, this machine, and this SLURM job, if any."""
    folder = Path(tempfile.gettempdir()) / f"tlw-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ValueError(
            f"{folder}: expected a folder of yours that nobody else can use, for locks of GPUs, "
            f"found {stat.filemode(found.st_mode)} of user {found.st_uid}; remove it, or set TMPDIR"
        )
    job = os.environ.get("SLURM_JOB_ID")
    if job is not None:
        folder /= f"slurm-{quote(job, safe='')}"
        folder.mkdir(exist_ok=True)
    return folder


def _count() -> int:
    """How many NVIDIA GPUs the machine has, 0 without a driver."""
    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=True
        )
        return len(re.findall(r"^GPU \d+:", listed.stdout, re.MULTILINE))
    except (OSError, subprocess.SubprocessError):  # not there, or it finds no driver
        return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))


def ranks() -> int:
    """How many processes train one network together, as torchrun tells each of them; else 1."""
    return int(os.environ.get("WORLD_SIZE", 1)) if "LOCAL_RANK" in os.environ else 1


def pick_device(device: str) -> "torch.device":
    """The device of that name; "auto" is the first GPU, or the CPU where there is none.

    A GPU becomes torch's current one; of several ranks each has its own.

    Raises:
        ValueError: for one that cannot be used, or one with a number for several ranks.
    """
    import torch

    if ranks() > 1 and device.startswith("cuda:"):
        raise ValueError(f"expected device cuda or auto for several GPUs, found {device!r}")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and ranks() > 1:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        found = torch.device(device)
        torch.zeros(1, device=found).item()  # "meta" has no values
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {device!r} cannot be used: {reason}; try 'cpu'") from None
    if found.type == "cuda" and found.index is not None:
        torch.cuda.set_device(found)  # some of what torch does goes to the current one
    return found
