"""Training steps that a GPU replays: recorded once for a size of images, then launched as one.

A small network's step on a GPU waits for the host, which launches thousands of kernels one after
the other. A CUDA graph holds them all. What it replays is the very same kernels on the very same
addresses, so numbers are those of steps taken one by one; but Python runs at the recording only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from tlw.runtime.memory import end_of_memory

Figures = dict[str, Tensor | float]
Step = Callable[[Tensor, Tensor], Figures]
_SPARE = 1 / 8  # of a GPU's memory stays free of recordings


class Record(Protocol):
    """How work is recorded: called with it, gives what it returned, and what replays it.

    Recording calls the work, but changes no tensor that there was before.
    """

    def __call__(self, work: Callable[[], Figures]) -> tuple[Figures, Callable[[], None]]: ...

    def has_room(self) -> bool:
        """Whether there is memory for one more."""
        ...


class CudaGraphs:
    """Records on a GPU; all recordings share the memory that they work in.

    A pool of memory belongs to the stream that work is recorded in: with the pool's graphs gone,
    cuBLAS' workspace of that stream still holds it, and torch refuses to begin it anew. So each
    object has a pool and a stream of its own, and is not used again when its graphs are dropped.

    Args:
        device: the GPU.
        optimizers: those that take their step in the work.
    """

    def __init__(self, device: torch.device, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self._device, self._optimizers = device, optimizers
        self._pool, self._stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream(device)

    def has_room(self) -> bool:
        """Whether an eighth of the GPU's memory is free: a graph lies outside torch's own."""
        free, total = torch.cuda.mem_get_info(self._device)
        return free >= _SPARE * total

    def __call__(self, work: Callable[[], Figures]) -> tuple[Figures, Callable[[], None]]:
        """Raises ValueError for work that cannot be recorded, MemoryError where memory ends."""
        graph = torch.cuda.CUDAGraph()
        self._prepare(recording=True)
        # other threads, such as one that pins memory, may go on meanwhile
        capture = torch.cuda.graph(
            graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
        )
        try:
            with torch.cuda.device(self._device), capture:
                figures = work()
        except RuntimeError as error:
            if end_of_memory(error):
                raise
            # the end of a capture fails, too, when something in it did: that says more
            first = error.__context__ or error
            reason = (str(first) or type(first).__name__).splitlines()[0]
            raise ValueError(
                f"a step cannot be recorded as a CUDA graph: {reason}; a network or loss that asks "
                "a GPU for values, or moves some there, needs cuda_graphs: false"
            ) from error
        self._prepare(recording=False)
        return figures, graph.replay

    def _prepare(self, *, recording: bool) -> None:
        for optimizer in self._optimizers:
            optimizer.zero_grad()  # gradients of no other recording, nor kept for a next one
            for group in optimizer.param_groups:
                group["capturable"] = recording  # Adam asks for it then, and warns of it else


@dataclass
class _Recording:
    inputs: tuple[Tensor, Tensor]
    figures: Figures
    replay: Callable[[], None]


class Replayed:
    """A training step, (lr, hr) to figures, of which each size of images is recorded once.

    The first step of a size is taken as it is, and with it what stays is made, such as an
    optimiser's state. The second one is recorded, and replayed as are all that follow. Where memory
    is short, sizes that are not recorded yet are taken step by step.

    Args:
        step: the step. It may draw random numbers; all else that changes from step to step it reads
            from tensors that stay where they are. It leaves no gradients that anything needs.
        recorder: makes what records, anew for each beginning.
    """

    def __init__(self, step: Step, recorder: Callable[[], Record]) -> None:
        self._step, self._recorder = step, recorder
        self.forget()

    def forget(self) -> None:
        """Begins anew, since the step is another one from now on."""
        self._recordings: dict[tuple, _Recording | None] = {}  # the old ones go first
        self._record = self._recorder()

    def __call__(self, lr: Tensor, hr: Tensor) -> Figures:
        """One step; the figures are the caller's to keep."""
        size = lr.shape, hr.shape, lr.dtype, hr.dtype
        recording = self._recordings.get(size)
        if recording is None:
            is_first = size not in self._recordings
            self._recordings[size] = None
            if is_first or not self._record.has_room():
                return self._step(lr, hr)
            recording = self._recordings[size] = self._recorded(lr, hr)
        for own, given in zip(recording.inputs, (lr, hr), strict=True):
            own.copy_(given)
        recording.replay()
        return {key: _copied(figure) for key, figure in recording.figures.items()}

    def _recorded(self, lr: Tensor, hr: Tensor) -> _Recording:
        inputs = lr.clone(), hr.clone()
        return _Recording(inputs, *self._record(lambda: self._step(*inputs)))


def _copied(figure: Tensor | float) -> Tensor | float:
    """The next replay writes where this one did."""
    return figure.clone() if isinstance(figure, Tensor) else figure
