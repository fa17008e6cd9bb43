"""Signals that ask a training to stop, and the step that it may still end."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stop_signal() -> Iterator[list[int]]:
    """A list that gets the number of the first SIGTERM or SIGINT; a later one acts at once.

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

    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
