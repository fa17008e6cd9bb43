"""Signals that ask a training to stop, and the step that it may still end."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def stopping_signals() -> list[signal.Signals]:
    """SIGTERM, SIGINT, and SIGHUP where there is one, unless `nohup` has it ignored."""
    numbers = [signal.SIGTERM, signal.SIGINT]
    hang_up = getattr(signal, "SIGHUP", None)  # not on Windows
    if hang_up is not None and signal.getsignal(hang_up) != signal.SIG_IGN:
        numbers.append(hang_up)
    return numbers


@contextmanager
def stop_signal() -> Iterator[list[int]]:
    """A list that gets the number of the first of these signals; a later one acts at once.

    Within a second it counts as the same: a scheduler signals all of a job, torchrun among them,
    which hands it on.
    """
    received: list[int] = []
    since = 0.0

    def note(number: int, _: Any) -> None:
        nonlocal since
        if not received:
            since = time.monotonic()
            received.append(number)
        elif time.monotonic() - since > 1:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    before = {number: signal.signal(number, note) for number in stopping_signals()}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
