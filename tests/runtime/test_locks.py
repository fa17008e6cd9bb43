"""The lock of a folder: one holder, freed by its death, on this machine and on another."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from toys import FRAGILE_VDSR, environment, run, tlw_train, toy_cell, toy_pairs, write_cell

from tlw.runtime.locks import only_one
from tlw.training.trainer import train

HOLD = """
import sys, time
from pathlib import Path
from tlw.runtime.locks import only_one

with only_one(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""
ELSEWHERE = {
    **{"host": "node7", "pid": 4711, "job": "55", "since": "2026-01-02T03:04:05.678+00:00"},
    **{"machine": "another kernel", "locked": True},
}


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "cell" / ".lock"


def holder(path: Path, **changes: str) -> subprocess.Popen:
    """A process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, path],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | changes,
    )
    assert process.stdout.readline() == "held\n"
    return process


def ended(process: subprocess.Popen) -> None:
    process.kill()
    process.communicate()


def test_a_second_one_is_kept_out_and_told_who_holds_it(path):
    process = holder(path, SLURM_JOB_ID="55")
    who = rf"{path.parent}: process {process.pid} on \S+, SLURM job 55, since 20\S+, trains here"
    with pytest.raises(TimeoutError, match=who), only_one(path, patience=0):
        pass
    ended(process)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_who_dies_on_this_machine_is_succeeded_without_waiting(path, number):
    process = holder(path)
    process.send_signal(number)
    process.communicate()
    assert json.loads(path.read_text())["pid"] == process.pid
    with only_one(path, patience=0) as lock:
        lock.check()
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert path.read_text() == ""


def test_a_waiting_one_goes_on_when_the_holder_is_killed(path, caplog):
    process = holder(path)
    killer = threading.Timer(0.5, process.kill)
    killer.start()
    with only_one(path, patience=60):
        assert process.wait() == -signal.SIGKILL
    process.communicate()
    assert f"process {process.pid} on" in caplog.text and "waiting up to 60 s" in caplog.text


def test_of_many_that_start_at_once_one_holds_it_at_a_time(path):
    """Each adds one to a number, in steps that others would fall into."""
    number = path.with_name("number")
    number.parent.mkdir()
    number.write_text("0")
    code = """
import sys, time
from pathlib import Path
from tlw.runtime.locks import only_one

path, number = map(Path, sys.argv[1:])
for _ in range(3):
    with only_one(path):
        value = int(number.read_text())
        time.sleep(0.02)
        number.write_text(str(value + 1))
"""
    processes = [subprocess.Popen([sys.executable, "-c", code, path, number]) for _ in range(4)]
    assert [process.wait(timeout=120) for process in processes] == [0] * 4
    assert number.read_text() == "12"


def test_a_holder_on_another_machine_that_gives_signs_of_life_is_waited_for(path):
    path.parent.mkdir()
    path.write_text(json.dumps(ELSEWHERE))
    over = threading.Event()

    def beat() -> None:
        while not over.wait(0.05):
            os.utime(path)

    thread = threading.Thread(target=beat)
    thread.start()
    with (
        pytest.raises(TimeoutError, match="process 4711 on node7, SLURM job 55, since 2026-01-02"),
        only_one(path, patience=3, stale=2),
    ):
        pass
    over.set()
    thread.join()
    with only_one(path, patience=60, stale=0.5):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_holder_whose_machine_is_gone_is_succeeded_though_its_lock_is_left(path):
    """As a server may leave it: a process on this machine keeps the lock, in the other's name."""
    process = holder(path)
    path.write_text(json.dumps(ELSEWHERE))
    with only_one(path, patience=60, stale=0.5):
        record = json.loads(path.read_text())
        assert record["pid"] == os.getpid() and record["locked"] is False
        # Where the lock says nothing, even one on this machine is judged by its signs of life.
        ended(process)
        with pytest.raises(TimeoutError):
            subprocess_takes(path)


def subprocess_takes(path: Path) -> None:
    """Tries, in another process, to get the lock within a second."""
    code = (
        "import sys; from pathlib import Path; from tlw.runtime.locks import only_one\n"
        "with only_one(Path(sys.argv[1]), patience=1): pass"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    if done.returncode:
        raise TimeoutError(done.stderr)


def test_one_that_was_suspended_for_too_long_is_told_and_leaves_the_lock_to_the_other(path):
    with only_one(path, beat=0.05) as lock:
        lock.check()
        path.write_text(json.dumps(ELSEWHERE))
        until = time.monotonic() + 60
        with pytest.raises(OSError, match="taken over by process 4711 on node7"):
            while time.monotonic() < until:
                lock.check()
    assert json.loads(path.read_text()) == ELSEWHERE


def test_a_heartbeat_touches_the_file(path):
    with only_one(path, beat=0.05):
        os.utime(path, (0, 0))
        until = time.monotonic() + 60
        while path.stat().st_mtime == 0:
            assert time.monotonic() < until
            time.sleep(0.01)


def test_two_trainings_of_a_cell_the_first_killed_end_with_the_weights_of_one(tmp_path):
    pairs, cell, folder = toy_pairs(tmp_path), toy_cell(backbone=FRAGILE_VDSR), tmp_path / "cell"
    write_cell(cell, folder)
    command = tlw_train(folder, pairs, "--checkpoint-seconds", 0)
    with only_one(folder / ".lock"):
        refused = run([*command, "--patience", "0"])
        assert refused.returncode == 1 and "Traceback" not in refused.stderr
        assert f"tlw: error: {folder}: process {os.getpid()} on " in refused.stderr
        assert {path.name for path in folder.iterdir()} == {"cell.json", ".lock"}
    first = subprocess.Popen(command, env=environment(TOYS_SIGNAL="SIGKILL@4"))
    while not (folder / ".lock").read_text():
        assert first.poll() is None
        time.sleep(0.01)
    second = run(command)
    assert first.wait() == -signal.SIGKILL
    assert second.returncode == 0 and "goes on at step 3 of 6" in second.stderr
    train(cell, [pairs], tmp_path / "whole", device="cpu")
    weights = [(at / "weights.safetensors").read_bytes() for at in (folder, tmp_path / "whole")]
    assert weights[0] == weights[1]
