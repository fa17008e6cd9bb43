"""Batches in their order, read ahead by processes that end when the training does, however it ends.

A cluster's SIGTERM reaches these processes, too, and must not end them: the training may still
finish its step. But torch and Python end them by SIGTERM as well, and wait for that. So they listen
to it from the moment on that the training says it is over.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.synchronize import Event
from typing import Any

import torch.multiprocessing
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tlw.training.sampling import Batches


@contextmanager
def read_ahead(
    batches: Batches, start: int, *, workers: int, pinned: bool
) -> Iterator[Iterator[tuple[Tensor, Tensor]]]:
    """The batches from step `start` on, for the block.

    Args:
        workers: processes that read; 0 reads in this one.
        pinned: they come in pinned memory, for a GPU.

    Raises:
        ValueError, OSError: in the block, as reading a batch raises them in any process.
        ChildProcessError: in the block, when a process was killed.
    """
    over = torch.multiprocessing.get_context().Event()
    loader = DataLoader(
        _Told(batches), batch_size=None, sampler=range(start, len(batches)), num_workers=workers,
        pin_memory=pinned, worker_init_fn=partial(_stay_until, over),
    )  # fmt: skip
    try:
        yield map(_raised, loader)
    except (RuntimeError, ConnectionError, EOFError) as error:
        # the last two when it was killed while it handed a batch over
        if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
            raise
        if hasattr(signal, "SIGCHLD"):  # at which torch raises it again, wherever this process is
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        raise ChildProcessError(
            f"a process that reads images ahead has ended, of {workers}: {error}. Where memory is "
            "short the system kills such processes: take fewer --workers, or more memory"
        ) from error
    finally:
        over.set()


class _Told(Dataset):
    """Gives what reading raises in place of the batch: sent as such it would be a traceback."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __getitem__(self, step: int) -> Any:
        try:
            return self.batches[step]
        except (ValueError, OSError) as error:
            return error


def _raised(batch: Any) -> tuple[Tensor, Tensor]:
    if isinstance(batch, Exception):
        raise batch
    return batch


def _stay_until(over: Event, _: int) -> None:
    def end(*_: object) -> None:
        if over.is_set():
            os._exit(0)

    signal.signal(signal.SIGTERM, end)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
