"""Several processes for one training, one for each GPU, as `torchrun` would start them.

Not torchrun itself, which ends with status 1 where a training stopped by a signal ends with 143,
adds a page of its own to an error, and leaves its children behind when it is killed. No torch in
here: the process that starts the others reckons nothing.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

RENDEZVOUS = "TLW_RENDEZVOUS"  # where the processes find each other, for `torch.distributed`
_GRACE = 20.0  # seconds for the others to end by themselves when one has failed


def processes() -> int:
    """How many processes were started together with this one, by `launch` or torchrun; else 1."""
    return int(os.environ.get("WORLD_SIZE", 1)) if "LOCAL_RANK" in os.environ else 1


def launch(words: Sequence[str], size: int, *, keep_open: Sequence[int] = ()) -> int:
    """Runs `tlw` with these words in `size` processes at once, to their end.

    SIGTERM and SIGINT are handed on. When a process fails the others are ended; what it wrote to
    stderr is shown, else only that of the first process.

    Args:
        keep_open: file descriptors that the processes inherit.

    Returns:
        The exit status, 0 or that of the process that failed first.
    """
    with tempfile.TemporaryDirectory(prefix="tlw-") as folder, ExitStack() as stack:
        children: list[subprocess.Popen] = []
        stack.callback(_kill, children)
        stack.enter_context(_signals_handed_on(children))
        logs = [Path(folder) / f"{rank}.log" for rank in range(size)]
        for rank, path in enumerate(logs):
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
            place[RENDEZVOUS] = f"file://{folder}/rendezvous"
            children.append(
                subprocess.Popen(
                    [sys.executable, "-m", "tlw.cli", *words],
                    env=os.environ | {key: str(value) for key, value in place.items()},
                    stderr=None if rank == 0 else stack.enter_context(path.open("wb")),
                    pass_fds=keep_open,
                    start_new_session=True,  # a signal to our group is handed on once, not twice
                )
            )
        failed = _wait(children)
        if failed is None:
            return 0
        if failed > 0:
            sys.stderr.write(logs[failed].read_text(errors="replace"))
        status = children[failed].returncode
        return 128 - status if status < 0 else status


def _wait(children: Sequence[subprocess.Popen]) -> int | None:
    """Until all have ended; which one failed first, if any."""
    failed, until = None, float("inf")
    while True:
        running = [child for child in children if child.poll() is None]
        if failed is None:
            failed = next((rank for rank, c in enumerate(children) if c.returncode), None)
            until = time.monotonic() + _GRACE
        if not running:
            return failed
        if failed is not None and time.monotonic() >= until:
            _kill(running)
        time.sleep(0.05)


def _kill(children: Sequence[subprocess.Popen]) -> None:
    for child in children:
        child.kill()  # nothing happens to one that has ended
        child.wait()


@contextmanager
def _signals_handed_on(children: Sequence[subprocess.Popen]) -> Iterator[None]:
    def hand_on(number: int, _: FrameType | None) -> None:
        for child in children:
            child.send_signal(number)

    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, hand_on) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
