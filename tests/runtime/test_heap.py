"""Memory that is given back."""

import platform
import sys

import pytest
from toys import CROPS, run, tlw_train, toy_cell, write_cell

# Large tensors come and go while small ones stay, twice, as in training. Says what a process holds
# with them, and what without, in MiB.
_COME_AND_GO = """
import sys
from pathlib import Path
from tlw.runtime.heap import put_large_blocks_apart

if sys.argv[1] == "apart":
    put_large_blocks_apart()
import torch

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

before, small = resident(), []
for _ in range(2):
    large = []
    for _ in range(20):
        large.append(torch.ones(9, 2**18))
        small.append(torch.ones(2**15))
    held = resident() - before
    del large
print(held, resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc's allocator")
def test_memory_of_large_tensors_goes_back_to_the_system(monkeypatch):
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)
    held, left = resident("apart")
    assert held > 180 and left < 40
    held, left = resident("as it is")
    assert held > 180 and left > 180
    held, left = resident("apart", MALLOC_MMAP_THRESHOLD_="33554432")  # what the user has set
    assert held > 180 and left > 180


@pytest.mark.parametrize(("precision", "found"), [("bf16-mixed", "1"), ("float32", "None")])
def test_the_command_does_so_where_it_trains_in_fast_numerics(
    tmp_path, pairs, monkeypatch, precision, found
):
    monkeypatch.delenv("THP_MEM_ALLOC_ENABLE", raising=False)
    told = {"path": "toys:Telling", "arguments": {"variable": "THP_MEM_ALLOC_ENABLE"}}
    cell = toy_cell(backbone=told, recipe=CROPS | {"precision": precision})
    write_cell(cell, tmp_path)
    done = run(tlw_train(tmp_path, pairs))
    assert done.returncode == 1 and f"THP_MEM_ALLOC_ENABLE is {found}" in done.stderr


def resident(how: str, **environment: str) -> list[float]:
    done = run([sys.executable, "-c", _COME_AND_GO, how], **environment)
    assert done.returncode == 0, done.stderr
    return [float(number) for number in done.stdout.split()]
