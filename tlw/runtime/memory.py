"""Work that is too large for the memory, told in words of what was too large."""

from collections.abc import Iterator
from contextlib import contextmanager

# What torch's messages have in common, on processors and GPUs; there is no one class for them.
_TORCHS_WORDS = ("can't allocate memory", "out of memory", "ALLOC_FAILED")


@contextmanager
def enough_memory(what: str, advice: str) -> Iterator[None]:
    """Makes it a ValueError of what was too large and what to change when memory does not do.

    Args:
        what: the subject of the message, plural or singular: "200 x 300 lr pixels at once".
        advice: what to do, as "take smaller tiles than 512 (--tile)".

    Raises:
        ValueError: for a MemoryError of Python or NumPy, and for torch's errors of allocation.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        words = str(error)
        if not isinstance(error, MemoryError) and not any(sign in words for sign in _TORCHS_WORDS):
            raise
        reason = words.strip().splitlines()[0] if words.strip() else "out of memory"
        raise ValueError(f"{what}: too much for the memory ({reason}); {advice}") from None
