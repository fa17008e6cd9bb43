"""Freed memory that stays: counted in pages that the system had to make."""

import platform
import subprocess
import sys

import pytest

PAGES = """
import resource
from contextlib import nullcontext
import torch
from tlw.memory import freed_memory_kept

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

for context in (nullcontext, freed_memory_kept, nullcontext):
    with context():
        pages()
        print(pages())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_kept_memory_needs_no_new_pages_and_is_given_back_in_the_end():
    run = subprocess.run([sys.executable, "-c", PAGES], stdout=subprocess.PIPE, check=True)
    before, kept, after = map(int, run.stdout.split())
    assert before > 100  # few, where they are huge ones
    assert kept < before / 10
    assert after > before / 2
