"""Work that is too large for the memory, told in words of what was too large."""

from collections.abc import Iterator
from contextlib import contextmanager

# What torch's messages have in common, on processors and GPUs; there is no one class for them. The
# third is cuDNN's, the others are oneDNN's and the standard library's.
_TORCHS_WORDS = (
    "can't allocate memory",
    "out of memory",
    "ALLOC_FAILED",
    "could not create a primitive",
    "bad_alloc",
)


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
        end = end_of_memory(error)
        if end is None:
            raise
        reason = str(end).strip().splitlines()[0] if str(end).strip() else "out of memory"
        raise ValueError(f"{what}: too much for the memory ({reason}); {advice}") from None


def end_of_memory(error: BaseException | None) -> BaseException | None:
    """The error that says that memory did not do, where it is this one or led to it."""
    while error is not None:
        words = str(error)
        is_torchs = isinstance(error, RuntimeError) and any(s in words for s in _TORCHS_WORDS)
        if isinstance(error, MemoryError) or is_torchs:
            return error
        error = error.__cause__ or error.__context__
    return None
