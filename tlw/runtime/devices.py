"""Which GPU is whose, among the jobs that run beside each other on one machine.

Snakemake counts GPUs (`--resources gpu=4`) but gives none of them out. So each job claims its own:
a file that stands for its claim, under the kernel's lock, which goes with the job's last process,
however that ends. The files lie in a folder of the user's for this machine, in the folder for
temporary files. Jobs of other users do not see them; where people share a machine,
CUDA_VISIBLE_DEVICES divides it.

In a SLURM job the devices are those of its allocation, numbered anew in each, so each allocation
has locks of its own: they matter where several trainings are grouped into one SLURM job.

No torch in here, since CUDA reads CUDA_VISIBLE_DEVICES once, when it starts.
"""

import logging
import os
import re
import stat
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from filelock import FileLock, Timeout

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


class _Claim(NamedTuple):
    """What the name of a claim's file says, `<device>,<share>,<pid>,<random>.lock`."""

    device: str
    share: int
    pid: str


def _wait_for(count: int, names: Sequence[str], share: int, locks: ExitStack) -> dict[str, int]:
    """The devices taken, with the descriptors of their locks."""
    folder, told = _folder(), False
    while True:
        with FileLock(folder / "choice"):  # for milliseconds: one looks and takes at a time
            claims = _claims(folder)
            held = {name: [c for c in claims if c.device == quote(name, safe="")] for name in names}
            free = [name for name in names if _has_room(held[name], share)]
            if len(free) >= count:
                emptiest = sorted(free, key=lambda name: len(held[name]))[:count]
                return {name: _take(folder, name, share, locks) for name in emptiest}
        if not told:
            whose = (f"{name} by process {claim.pid}" for name in names for claim in held[name])
            log.info("waiting for a GPU; held: %s", ", ".join(whose))
            told = True
        time.sleep(0.2)


def _has_room(claims: Sequence[_Claim], share: int) -> bool:
    return len(claims) < min([share, *(claim.share for claim in claims)])


def _claims(folder: Path) -> list[_Claim]:
    """The claims of jobs that live; the files of others are deleted."""
    claims = []
    for path in folder.glob("*,*,*,*.lock"):
        try:
            with FileLock(path, timeout=0):
                path.unlink()
        except Timeout:
            device, share, pid, _ = path.name.split(",")
            claims.append(_Claim(device, int(share), pid))
    return claims


def _take(folder: Path, name: str, share: int, locks: ExitStack) -> int:
    """Claims a device until `locks` ends."""
    claim = ",".join([quote(name, safe=""), str(share), str(os.getpid()), uuid.uuid4().hex])
    path = folder / f"{claim}.lock"
    files: list[int] = []
    locks.callback(path.unlink, missing_ok=True)
    locks.enter_context(FileLock(path, on_acquired=files.append))
    return files[0]


def _folder() -> Path:
    """Where the lock files lie: for this user, this machine, and this SLURM job, if any."""
    user = os.getuid() if hasattr(os, "getuid") else None  # Windows has a folder for each user
    folder = Path(tempfile.gettempdir()) / f"tlw-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    theirs = user is not None and (found.st_uid != user or found.st_mode & 0o077)
    if not stat.S_ISDIR(found.st_mode) or theirs:
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
