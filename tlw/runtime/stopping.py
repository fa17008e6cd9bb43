"""Signals that ask a training to stop, and the step that it may still end."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def leave_signals_to_the_parent(_: int) -> None:
    """A group's SIGTERM reaches workers, too, whose end would break the parent's last step."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def stop_signal() -> Iterator[list[int]]:
    """A list that gets the number of the first SIGTERM or SIGINT; a second one acts at once."""
    received: list[int] = []

    def note(number: int, _: Any) -> None:
        received.append(number)
        signal.signal(number, signal.SIG_DFL)

    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
