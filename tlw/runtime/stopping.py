"""Signals that ask a training to stop, and the step that it may still end."""

import signal
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


def leave_signals_to_the_parent(_: int) -> None:
    """A group's SIGTERM reaches workers, too, whose end would break the parent's last step."""
    for number in stopping_signals():
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def stop_signal() -> Iterator[list[int]]:
    """A list that gets the number of the first of these signals; a second one acts at once."""
    received: list[int] = []

    def note(number: int, _: Any) -> None:
        received.append(number)
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, note) for number in stopping_signals()}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
