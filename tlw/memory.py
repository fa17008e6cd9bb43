"""Freed memory that stays with the process for the next step."""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
_MIB = 2**20


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Has glibc keep large blocks that are freed, instead of giving each back to the system.

    A step on a CPU frees and asks for the same blocks again and again; made anew, their pages cost
    some 5 % of its time. With another C library nothing happens.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_THRESHOLD, 1024 * _MIB)
    libc.mallopt(_TRIM_THRESHOLD, 2048 * _MIB - 1)
    try:
        yield
    finally:
        # where glibc itself moves them to once a program has freed large blocks
        libc.mallopt(_MMAP_THRESHOLD, 32 * _MIB)
        libc.mallopt(_TRIM_THRESHOLD, 64 * _MIB)
        libc.malloc_trim(0)
