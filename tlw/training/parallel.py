"""One training in several processes, with the result of one.

Every process has the whole network and takes its part of each batch. What one process would reckon
over the batch is put together again: gradients, before an optimiser's step (all losses are means
over the batch); statistics of a BatchNorm; the least uncertainty; figures for the log. Random
numbers are drawn for the whole batch in every process, of which each takes its part. So weights
are those of one process, but for the order of sums, and are the same in all processes: the first
one's are saved, and a training may go on with another number of processes.

Not by DistributedDataParallel: it would send gradients while others are still reckoned, which for
networks of at most 17 million parameters saves next to nothing, but its wrapper does not bear a
network of which parts are frozen on the way, and it knows of one optimiser where we have two.

All of this does nothing in a process that is alone.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tlw.runtime.launch import RENDEZVOUS, processes

_PARENT_GONE = 1.0  # seconds between looks


def size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is; 0 writes the results."""
    return dist.get_rank() if size() > 1 else 0


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Joins, in the block, the processes that were started together with this one, if any.

    Tensors on the CPU go through gloo, those on a GPU through NCCL. When the process that started
    this one dies, this one gets a SIGTERM.
    """
    if processes() == 1:
        yield
        return
    backend = "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(
        backend, init_method=os.environ.get(RENDEZVOUS, "env://"),
        rank=int(os.environ["RANK"]), world_size=int(os.environ["WORLD_SIZE"]),
    )  # fmt: skip
    threading.Thread(target=_stop_without_parent, args=(os.getppid(),), daemon=True).start()
    yield
    _barrier()  # the first is the last to end: it writes
    dist.destroy_process_group()


@contextmanager
def first_one_first() -> Iterator[None]:
    """The first process goes through the block before all others do."""
    if rank() > 0:
        _barrier()
    yield
    if rank() == 0:
        _barrier()


def deal(images: int) -> slice:
    """Which of a batch's images are this process's, until the next call.

    All of them, in every process, where they cannot be dealt out evenly, as an epoch's last ones:
    then each does the same, and their mean is what each has.
    """
    global _is_dealt
    _is_dealt = images % size() == 0
    if not _is_dealt:
        return slice(None)
    each = images // size()
    return slice(rank() * each, (rank() + 1) * each)


_is_dealt = True


def drawn(draw: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """Random numbers as one process would draw them for the whole batch, this process's part.

    Args:
        draw: gives random numbers in the shape of a tensor, such as `torch.rand_like`.
        like: (N, ...), N images of this process.
    """
    if size() == 1 or not _is_dealt:
        return draw(like)
    return draw(torch.cat([like] * size())).chunk(size())[rank()]


def minimum(x: Tensor) -> Tensor:
    """The least value in the whole batch, from (N, ...); no gradient."""
    return _reduced(x.detach().min(), dist.ReduceOp.MIN) if size() > 1 else x.detach().min()


def mean(figures: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Figures of the whole batch, from those of this process's part, which are means over it."""
    if size() == 1:
        return dict(figures)
    first = next(iter(figures.values()))
    own = torch.stack([torch.as_tensor(figure).to(first) for figure in figures.values()])
    return dict(zip(figures, _reduced(own) / size(), strict=True))


def highest(number: int) -> int:
    """The highest of the numbers that the processes call this with, in all of them."""
    # On the CPU: a GPU would have to be waited for.
    return int(_reduced(torch.tensor(number), dist.ReduceOp.MAX)) if size() > 1 else number


def put_together(modules: Iterable[nn.Module], optimizers: Iterable[torch.optim.Optimizer]) -> None:
    """Makes modules and their optimisers work as those of one process, from now on."""
    if size() == 1:
        return
    for module in (part for whole in modules for part in whole.modules()):
        if isinstance(module, _BatchNorm):
            module.__class__ = JointBatchNorm  # parameters and buffers stay what they are
    for optimizer in optimizers:
        optimizer.register_step_pre_hook(_average_gradients)


class JointBatchNorm(_BatchNorm):
    """BatchNorm, in training mode on the statistics of the whole batch over all processes.

    nn.SyncBatchNorm would do, but for working on GPUs only.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...), N images of this process, to the same shape."""
        if not self.training:
            return super().forward(x)
        dims = [dim for dim in range(x.dim()) if dim != 1]
        shape = [-1 if dim == 1 else 1 for dim in range(x.dim())]
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        centre = _Sum.apply(wide.mean(dims)) / size()
        centred = wide - centre.view(shape)
        variance = _Sum.apply(centred.square().mean(dims)) / size()
        self._follow(centre, variance, x.numel() // x.shape[1] * (size() if _is_dealt else 1))
        result = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            result = result * self.weight.view(shape) + self.bias.view(shape)
        return result.to(x.dtype)

    def _check_input_dim(self, input: Tensor) -> None:
        """Takes any."""

    @torch.no_grad()
    def _follow(self, centre: Tensor, variance: Tensor, count: int) -> None:
        if self.track_running_stats:
            self.num_batches_tracked += 1
            share = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
            self.running_mean.lerp_(centre, share)
            self.running_var.lerp_(variance * count / (count - 1), share)


class _Sum(torch.autograd.Function):
    """The sum over the processes; of the gradients, too, since each one's loss reads the sum."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return _reduced(x.clone())

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return _reduced(gradient.clone())


def _average_gradients(optimizer: torch.optim.Optimizer, *_: object) -> None:
    parameters = (p for group in optimizer.param_groups for p in group["params"])
    gradients = [p.grad for p in parameters if p.grad is not None]
    averages = _reduced(torch.cat([gradient.flatten() for gradient in gradients])) / size()
    parts = averages.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def _reduced(x: Tensor, operation: dist.ReduceOp = dist.ReduceOp.SUM) -> Tensor:
    """Over all processes, in place."""
    try:
        dist.all_reduce(x, operation)
    except RuntimeError as error:  # gloo's; under NCCL who started the processes ends them
        reason = str(error).splitlines()[0]
        raise ConnectionError(f"process {rank()} of {size()}: lost the others: {reason}") from error
    return x


def _barrier() -> None:
    highest(0)


def _stop_without_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_GONE)
    os.kill(os.getpid(), signal.SIGTERM)
