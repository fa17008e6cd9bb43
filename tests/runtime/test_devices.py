"""GPUs among jobs: each job its own, or its share, whatever becomes of the others.

There need be no GPU: TLW_DEVICES names some.
"""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from toys import run, tlw_train, toy_cell, toy_pairs, write_cell

from tlw.runtime.devices import claimed, visible

# Holds a device for a while; writes when it got it, and when it gives it back, if it lives to.
JOB = """
import os, signal, sys, time
from pathlib import Path
from tlw.runtime.devices import claimed

folder, killed = Path(sys.argv[1]), sys.argv[3] == "killed"
with claimed(share=int(sys.argv[2])):
    device = os.environ["CUDA_VISIBLE_DEVICES"]
    note = folder / f"{os.getpid()}.{device}"
    note.with_suffix(f".{device}.from").write_text(str(time.monotonic_ns()))
    time.sleep(0.2)
    note.with_suffix(f".{device}.to").write_text(str(time.monotonic_ns()))
    if killed:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def own_locks(tmp_path, monkeypatch) -> Path:
    """Locks of this test's own, and no GPUs but those that it names."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)  # what it has found is looked up again
    for name in ("CUDA_VISIBLE_DEVICES", "TLW_DEVICES", "SLURM_JOB_ID"):
        monkeypatch.setenv(name, "")  # so that it is put back, whatever a test makes of it
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", "")  # no nvidia-smi of this machine
    return folder


@pytest.fixture
def three(monkeypatch) -> None:
    monkeypatch.setenv("TLW_DEVICES", "0,1,2")


def start_jobs(folder: Path, count: int, share: int = 1) -> list[subprocess.Popen]:
    """Jobs that want a device each; every third is killed when it has held one for a while."""
    folder.mkdir()
    return [
        subprocess.Popen(
            [sys.executable, "-c", JOB, folder, str(share), "killed" if n % 3 == 0 else ""]
        )
        for n in range(count)
    ]


def held(folder: Path) -> dict[str, list[tuple[int, int]]]:
    """From when to when each device was held, by all who held it."""
    times: dict[str, list[tuple[int, int]]] = {}
    for path in folder.glob("*.from"):
        device = path.name.split(".")[1]
        span = tuple(int(path.with_suffix(end).read_text()) for end in (".from", ".to"))
        times.setdefault(device, []).append(span)
    return times


def most_at_once(spans: list[tuple[int, int]]) -> int:
    """The largest number of spans that have a moment in common."""
    return max(sum(begin <= moment < end for begin, end in spans) for moment, _ in spans)


def test_eight_jobs_on_three_devices_some_killed_never_meet_and_all_end(tmp_path, three):
    jobs = start_jobs(tmp_path / "jobs", 8)
    codes = [job.wait(timeout=120) for job in jobs]
    assert codes == [-signal.SIGKILL if n % 3 == 0 else 0 for n in range(8)]
    times = held(tmp_path / "jobs")
    assert set(times) <= {"0", "1", "2"} and sum(map(len, times.values())) == 8
    assert all(most_at_once(spans) == 1 for spans in times.values())


def test_jobs_that_allow_it_share_a_device_and_no_more_than_they_allow(tmp_path, monkeypatch):
    monkeypatch.setenv("TLW_DEVICES", "0")
    jobs = start_jobs(tmp_path / "jobs", 6, share=2)
    for job in jobs:
        job.wait(timeout=120)
    (spans,) = held(tmp_path / "jobs").values()
    assert len(spans) == 6 and most_at_once(spans) <= 2


def chosen() -> str:
    return os.environ["CUDA_VISIBLE_DEVICES"]


def test_the_emptiest_device_is_taken_and_a_share_is_kept_by_both(monkeypatch):
    monkeypatch.setenv("TLW_DEVICES", "0,1")
    with claimed(share=2):
        assert chosen() == "0"
        with claimed(share=3):
            assert chosen() == "1"
            with claimed(share=2):
                assert chosen() == "0"  # both have one; the first in the list
                with claimed(share=3):
                    assert chosen() == "1"
        with claimed(share=1):  # who shares with nobody takes an empty one
            assert chosen() == "1"


def test_a_job_gets_as_many_as_it_needs_or_is_told_how_many_there_are(three):
    with claimed(), claimed(2) as locks:
        assert chosen() == "1,2" and len(locks) == 2
    with pytest.raises(ValueError, match="expected 4 GPUs or more, found 3: 0, 1, 2"), claimed(4):
        pass


def test_a_device_is_held_as_long_as_a_child_of_a_killed_job_has_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TLW_DEVICES", "0")
    code = """
import os, subprocess, sys
from tlw.runtime.devices import claimed
with claimed() as locks:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=0, pass_fds=locks)
    print(child.pid, flush=True)
    os.kill(os.getpid(), 9)
"""
    command = [sys.executable, "-c", code]
    job = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child = int(job.stdout.readline())
    assert job.wait() == -signal.SIGKILL
    waiting = start_jobs(tmp_path / "jobs", 2)
    until = time.monotonic() + 1
    while time.monotonic() < until:
        assert not list((tmp_path / "jobs").glob("*.from")), child
        time.sleep(0.05)
    job.stdin.close()
    job.stdout.close()
    assert [job.wait(timeout=120) for job in waiting] == [-signal.SIGKILL, 0]


def test_the_claim_of_a_killed_job_is_gone_and_leaves_no_file(tmp_path, own_locks, monkeypatch):
    monkeypatch.setenv("TLW_DEVICES", "0")
    (job,) = start_jobs(tmp_path / "jobs", 1)  # it is killed
    assert job.wait(timeout=120) == -signal.SIGKILL
    (folder,) = own_locks.iterdir()
    assert len(list(folder.glob("*.lock"))) == 1
    with claimed():
        assert len(list(folder.glob("*.lock"))) == 1
    assert not list(folder.glob("*.lock"))


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("2,0", ["2", "0"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("0,-1,1", ["0"]),
        ("GPU-8f2c, MIG-GPU-8f2c/1/0", ["GPU-8f2c", "MIG-GPU-8f2c/1/0"]),
    ],
)
def test_what_cuda_is_shown_is_read_as_cuda_reads_it(monkeypatch, given, names):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible() == names
    with claimed():
        assert chosen() == (names[0] if names else given)


def test_devices_are_counted_by_the_drivers_own_list(tmp_path, monkeypatch):
    """As nvidia-smi prints it, parts of a divided GPU under their GPU."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text(
        "#!/bin/sh\necho 'GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6)'\n"
        "echo '  MIG 3g.20gb     Device  0: (UUID: MIG-c6d4f1ef)'\n"
        "echo 'GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-f6edf9a4)'\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert visible() == ["0", "1"]


def test_each_slurm_job_has_devices_of_its_own(monkeypatch):
    """Every allocation numbers its devices from 0."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    for job in ("55", "56", "../57"):
        monkeypatch.setenv("SLURM_JOB_ID", job)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
        with claimed():
            monkeypatch.setenv("SLURM_JOB_ID", "next")
            with claimed():
                assert chosen() == "0"


def test_a_folder_of_locks_that_others_can_use_is_refused(own_locks, monkeypatch, three):
    folder = own_locks / f"tlw-{os.getuid()}"
    with claimed():
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o755)
    with (
        pytest.raises(ValueError, match=r"of yours that nobody else can use.*drwxr-xr-x"),
        claimed(),
    ):
        pass
    folder.rename(own_locks / "elsewhere")
    folder.symlink_to(own_locks / "elsewhere")
    with pytest.raises(ValueError, match="found lrwx"), claimed():
        pass


def test_a_training_takes_a_device_and_where_torch_has_none_the_cpu(tmp_path):
    write_cell(toy_cell(), tmp_path / "cell")
    command = tlw_train(tmp_path / "cell", toy_pairs(tmp_path), "--device", "auto")
    done = run(command, TLW_DEVICES="97,98")
    assert done.returncode == 0 and "on GPU 97 of 97,98" in done.stderr, done.stderr
    assert "starts at step 0 of 6, on cpu" in done.stderr
