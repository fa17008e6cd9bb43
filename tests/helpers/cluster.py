"""A small real SLURM on this machine, and Snakemake on it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 400  # seconds; much more than a busy machine needs


@dataclass(frozen=True)
class Job:
    """A job as squeue shows it; `comment` names its rule and wildcards."""

    id: str
    state: str
    node: str
    limit: str  # of time
    comment: str


class Cluster:
    """A SLURM below one folder, brought up and down by the scripts in `scripts`."""

    def __init__(self, folder: Path, scripts: Path) -> None:
        self.folder, self.scripts = folder, scripts
        self.environment = os.environ | {
            "PATH": f"{folder}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "SLURM_CONF": f"{folder}/etc/slurm.conf",
        }

    def up(self) -> None:
        """Brings up what is not up."""
        self("bash", self.scripts / "slurm-up.sh", self.folder)

    def down(self) -> None:
        self("bash", self.scripts / "slurm-down.sh", self.folder, "--purge")

    def __call__(self, *words: str | Path) -> str:
        """Runs a command on it; its output."""
        done = subprocess.run(
            [*map(str, words)], env=self.environment, text=True, timeout=PATIENCE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0, f"{words}: {done.stdout}"
        return done.stdout

    def jobs(self, part: str = "") -> list[Job]:
        """All jobs, ended ones, too, whose comment has that part; the oldest first."""
        lines = self("squeue", "--states=all", "--noheader", "--sort=i", "--format=%i|%T|%N|%l|%k")
        found = [Job(*line.split("|")) for line in lines.splitlines()]
        return [job for job in found if part in job.comment]

    def job(self, part: str) -> Job:
        """The newest of them."""
        return self.jobs(part)[-1]

    def hurry(self, job: Job) -> bool:
        """Starts a job that is back in the queue now, not in two minutes; whether it could be."""
        [now] = [other for other in self.jobs() if other.id == job.id]
        if now.state != "PENDING":
            return False
        self("scontrol", "update", f"jobid={job.id}", "starttime=now")
        return True

    def limit(self, job: Job, *, minutes_left: int) -> None:
        """Changes the time limit of a running job; to the past, if no minutes are left."""
        used = self("squeue", "--noheader", "--format=%M", "--jobs", job.id).strip()
        minutes = int(used.split(":")[-2]) + 1 + minutes_left
        self("scontrol", "update", f"jobid={job.id}", f"timelimit={minutes}")

    def slurmd(self, node: str) -> int:
        """The process that is this node."""
        return int((self.folder / "run" / f"slurmd-{node}.pid").read_text())

    def start(self, folder: Path, *words: str, **changes: str) -> "Run":
        """`snakemake --profile slurm` in a folder; states are asked for every second."""
        command = [sys.executable, str(self.scripts / "fastpoll.py"), "--profile", "slurm"]
        quick = ["--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "20"]
        log = folder / f"run-{time.monotonic_ns()}.txt"
        return Run([*command, *words, *quick], folder, self.environment | changes, log=log)


class Run:
    """A process that is going on, its output in a file."""

    def __init__(
        self, command: list[str], folder: Path, environment: dict[str, str], *, log: Path
    ) -> None:
        self.log = log
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
            )

    @property
    def output(self) -> str:
        return self.log.read_text()

    def until(self, condition: Callable[[], Any]) -> Any:
        """Waits for something to be true while this goes on; what it was."""

        def met() -> Any:
            assert self.process.poll() is None, self.output
            return condition()

        return until(met, lambda: self.output)

    def wait(self, patience: float = PATIENCE) -> str:
        """Waits for its end, which must be a good one; what it printed."""
        try:
            assert self.process.wait(patience) == 0, self.output
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end:\n{self.output}") from None
        return self.output

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def until(condition: Callable[[], Any], said: Callable[[], str] = str) -> Any:
    """Waits for something to be true; what it was."""
    patience = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < patience, said()
        time.sleep(0.1)
    return found


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and not only its entry that nobody has reaped yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def kill(pid: int) -> None:
    """Ends a process as nothing else would: it cannot notice."""
    os.kill(pid, signal.SIGKILL)
    until(lambda: not is_alive(pid))


def widen(cluster: Cluster) -> None:
    """Groups may ask for a day, and ended jobs are shown for an hour: machines may be slow."""
    settings = cluster.folder / "etc" / "slurm.conf"
    content = settings.read_text().replace("MaxTime=60", "MaxTime=2-0")
    settings.write_text(re.sub(r"MinJobAge=\d+", "MinJobAge=3600", content))
    cluster("scontrol", "reconfigure")


def end_what_is_left(folder: Path) -> None:
    """Ends jobs' processes that SLURM has lost sight of: their environment names its folder."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it has ended meanwhile
            if os.fsencode(folder) + b"/bin:" in path.read_bytes():
                os.kill(int(path.parent.name), signal.SIGKILL)


@contextmanager
def running(folder: Path, shared: Path, **knobs: int) -> Iterator[Cluster]:
    """A cluster for the time of a block; skips the tests where none can be had."""
    if os.geteuid() != 0:
        pytest.skip("a SLURM of our own needs root")
    for daemon in ("slurmctld", "slurmd", "munged"):
        if not shutil.which(daemon, path=f"{os.environ['PATH']}:/usr/sbin:/sbin"):
            pytest.skip(f"{daemon} is not installed: apt-get install slurm-wlm munge")
    if not (shared / "slurm" / "slurm-up.sh").exists():
        pytest.skip(f"no scripts that bring a SLURM up at {shared / 'slurm'}")
    names = {f"LOOP_{name.upper()}": str(value) for name, value in knobs.items()}
    cluster = Cluster(folder, shared / "slurm")
    cluster.environment |= names
    try:
        cluster.up()
        widen(cluster)
        yield cluster
    finally:
        cluster.down()
        end_what_is_left(folder)
