"""One training in several ranks, one a GPU, as torchrun starts them.

Each rank takes its part of a batch, and DistributedDataParallel averages their gradients: for a
loss that is a mean over images, those of one process. What a network or loss draws at random, and
BatchNorm's statistics, are each rank's own. `TLWLoss` averages phi's gradients itself.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tlw.runtime.devices import ranks


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Joins, in the block, the ranks that torchrun started with this one, if any.

    What lies on the CPU goes by gloo, what lies on a GPU by NCCL.
    """
    if ranks() == 1:
        yield
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    yield
    all_reduce_max(0)  # the first is the last to end: it writes
    dist.destroy_process_group()


def size() -> int:
    """How many ranks train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is; 0 writes the results."""
    return dist.get_rank() if size() > 1 else 0


def averaged(net: nn.Module) -> nn.Module:
    """The network, by which to call it: its gradients will be the mean of the ranks'."""
    # not all parameters learn all the time: those of a frozen head do not
    return DistributedDataParallel(net, find_unused_parameters=True) if size() > 1 else net


def part(images: int) -> slice:
    """This rank's images of a batch; in every rank all, where they cannot be shared out evenly."""
    each, left = divmod(images, size())
    return slice(None) if left else slice(rank() * each, (rank() + 1) * each)


def mean(figures: Mapping[str, Tensor | float]) -> dict[str, Tensor | float]:
    """Figures of the whole batch from those of each rank's part."""
    if size() == 1:
        return dict(figures)
    first = torch.as_tensor(next(iter(figures.values())))
    values = torch.stack([torch.as_tensor(figure).to(first) for figure in figures.values()])
    dist.all_reduce(values)
    return dict(zip(figures, values / size(), strict=True))


def all_reduce_max(number: int) -> int:
    """The largest of the numbers that the ranks call this with, in all of them."""
    found = torch.tensor(number)  # on the CPU: a GPU would have to be waited for
    if size() > 1:
        dist.all_reduce(found, dist.ReduceOp.MAX)
    return int(found)


def of_first(make: Callable[[], Any]) -> Any:
    """What the first rank makes, in all of them."""
    found = [make() if rank() == 0 else None]
    if size() > 1:
        dist.broadcast_object_list(found, device=torch.device("cpu"))
    return found[0]
