"""Signals that ask to stop: noted once, obeyed the second time, left alone where ignored."""

import signal
import subprocess
import sys

import pytest

from tlw.runtime.stopping import stop_signal

STOPPED = """
import signal, sys, time
from tlw.runtime.stopping import stop_signal
with stop_signal() as received:
    signal.raise_signal(int(sys.argv[1]))
    signal.raise_signal(int(sys.argv[1]))  # at once: the same, which a starter hands on
    print(*map(int, received), flush=True)
    time.sleep(1.1)
    signal.raise_signal(int(sys.argv[1]))
    print("still here")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_first_signal_is_noted_and_the_second_acts(number):
    command = [sys.executable, "-c", STOPPED, str(int(number))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == f"{int(number)}\n" and done.returncode == -number


def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signal() as received:
            signal.raise_signal(signal.SIGHUP)
        assert received == [] and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
