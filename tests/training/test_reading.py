"""Processes that read images ahead: whatever becomes of them, the training ends with its error."""

import os
import signal
import subprocess
import time
from pathlib import Path

import h5py
import pytest
from toys import CROPS, run, tlw_train, toy_cell, toy_pairs, write_cell

LONG = CROPS | {"steps_per_epoch": 100_000}


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in listed.read_text().split()] if listed.exists() else []


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_cannot_be_read_ends_the_training_by_name(tmp_path, workers):
    """What its pixels are is looked at when they are read, not when the file is opened."""
    pairs = toy_pairs(tmp_path)
    with h5py.File(pairs, "r+") as file:
        file["hr/0001"][0, 0] ^= 255
    write_cell(toy_cell(recipe=LONG), tmp_path / "cell")
    ended = run(tlw_train(tmp_path / "cell", pairs, "--workers", workers))
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert f"tlw: error: {pairs}: " in ended.stderr
    assert "the pixels of 1.png are not those that were written" in ended.stderr


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="/proc tells who is whose child")
def test_a_killed_process_ends_the_training_with_what_to_do(tmp_path, pairs):
    write_cell(toy_cell(recipe=LONG), tmp_path)
    training = subprocess.Popen(
        tlw_train(tmp_path, pairs, "--workers", 2), stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / "checkpoints" / "training.csv").exists():
        assert training.poll() is None, training.communicate()
        time.sleep(0.02)
    readers = children(training.pid)
    assert len(readers) >= 2
    os.kill(readers[-1], signal.SIGKILL)
    _, told = training.communicate(timeout=120)
    assert training.returncode == 1 and "Traceback" not in told
    assert "tlw: error: a process that reads images ahead has ended" in told
    assert "take fewer --workers" in told
    assert not [pid for pid in readers if Path(f"/proc/{pid}").exists()]
