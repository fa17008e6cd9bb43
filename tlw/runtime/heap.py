"""How a process asks the system for memory, where training in `fast` precision would waste it.

glibc's allocator keeps what is freed below 32 MiB in its heap, and a step's feature maps, which in
bfloat16 are that small, leave holes there: VDSR's step held 0.9 GB at most, and the process 1.5.
"""

import ctypes
import os
import sys

_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD in <malloc.h>
_LARGE = 8 * 2**20


def put_large_blocks_apart() -> None:
    """From now on blocks of 8 MiB go back to the system when they are freed.

    To get them anew takes time, some of which huge pages save; torch asks for these if it is told
    to before its first tensor. Does nothing but on Linux with glibc, nor for what the user has set
    by MALLOC_MMAP_THRESHOLD_ or THP_MEM_ALLOC_ENABLE.
    """
    if sys.platform != "linux":
        return
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option and "MALLOC_MMAP_THRESHOLD_" not in os.environ:
        set_option(_MMAP_THRESHOLD, _LARGE)
