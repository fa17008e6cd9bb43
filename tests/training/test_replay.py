"""Replayed steps, recorded on a CPU by a tape of its operations; on a GPU by CUDA graphs."""

import gc
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from toys import CROPS, SMALL_EDSR, SMALL_HAT, SMALL_RCAN, SMALL_VDSR, toy_cell
from toys import run as run_command
from trainings import assert_same_results, train_here

from tlw.config.config import Cell
from tlw.config.record import read_record
from tlw.runtime.memory import enough_memory
from tlw.training.replay import CudaGraphs, Figures, Replayed
from tlw.training.trainer import Run

CPU = torch.device("cpu")


class Tape(TorchDispatchMode):
    """What a CUDA graph is, for a CPU: the operations of some work, on the tensors they had.

    Python runs at the recording only, and a value that it brought in is the same at every replay.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple] = []
        self.own: set[int] = set()
        self.before: dict[int, tuple[Tensor, Tensor]] = {}

    def has_room(self) -> bool:
        return True

    def __call__(self, work: Callable[[], Figures]) -> tuple[Figures, Callable[[], None]]:
        tape, random = Tape(), torch.get_rng_state()
        with tape:
            figures = work()
        torch.set_rng_state(random)
        with torch.no_grad():
            for tensor, content in tape.before.values():
                tensor.copy_(content)
        return figures, tape.replay

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        for tensor in tensors_of((args, kwargs)):
            if id(tensor) not in self.before and storage(tensor) not in self.own:
                self.before[id(tensor)] = tensor, tensor.clone()
        results = operation(*args, **kwargs)
        seen = {storage(tensor) for tensor in tensors_of((args, kwargs))}
        self.own |= {storage(tensor) for tensor in tensors_of(results)} - seen
        self.operations.append((operation, args, kwargs, tensors_of(results)))
        return results

    @torch.no_grad()
    def replay(self) -> None:
        for operation, args, kwargs, results in self.operations:
            again = tensors_of(operation(*args, **kwargs))
            for tensor, new in zip(results, again, strict=True):
                if storage(tensor) != storage(new):  # else it is a view, or was written in place
                    tensor.copy_(new)


def tensors_of(tree: object) -> list[Tensor]:
    """Those with memory that can be seen, which packed kernels have not."""
    leaves = (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))
    return [leaf for leaf in leaves if leaf.layout == torch.strided]


def storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def steps(run: Run) -> list[dict[str, float]]:
    """The figures of three epochs' steps, with images of two sizes."""
    torch.manual_seed(3)
    images = {size: torch.rand(2, 3, size, size, device=run.device) for size in (16, 18, 32, 36)}
    found = []
    for epoch in range(3):
        run.start_epoch(epoch)
        for step, size in enumerate([16, 18, 16, 16]):
            torch.manual_seed(10 * epoch + step)
            found.append(run.step(images[size], images[2 * size]))
    return [{key: float(figure) for key, figure in figures.items()} for figures in found]


def small_cell(backbone: dict, loss: str, precision: str) -> Cell:
    changes = {"judge_net": "alex"} if loss.endswith("tlw") else {"esu_epochs": 1}
    changes = {} if loss == "l1" else {loss: changes}
    return toy_cell(
        loss, backbone=backbone, recipe=CROPS | {"precision": precision}, changes=changes
    )


each_kind = pytest.mark.parametrize(
    ("backbone", "loss", "precision"),
    [
        (SMALL_VDSR, "l1", "float32"),
        (SMALL_EDSR, "l1-udl", "bf16-mixed"),
        (SMALL_RCAN, "l1-tlw", "bf16-mixed"),
        (SMALL_HAT, "mse-tlw", "float32"),
    ],
)


@each_kind
def test_replayed_steps_are_those_taken_one_by_one_bit_by_bit(backbone, loss, precision):
    cell = small_cell(backbone, loss, precision)
    plain, replayed = Run(cell, CPU), Run(cell, CPU)
    replayed.replayed = Replayed(replayed._take, Tape)
    assert steps(replayed) == steps(plain)
    one, other = (
        {
            k: v
            for k, v in (run.net.state_dict() | run.loss.state_dict()).items()
            if "_extra" not in k
        }
        for run in (plain, replayed)
    )
    torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize(("loss", "taken"), [("l1", 2 + 2), ("l1-tlw", 2 + 2), ("l1-udl", 3 + 4)])
def test_a_size_s_first_step_is_taken_the_second_recorded_and_none_after_it(loss, taken):
    """Of three epochs with three images of one size and one of another; UDL begins anew once."""
    run = Run(small_cell(SMALL_VDSR, loss, "float32"), CPU)
    calls = []
    run.replayed = Replayed(lambda *images: calls.append(images) or run._take(*images), Tape)
    steps(run)
    assert len(calls) == taken


def test_an_eager_step_amid_replayed_ones_is_the_same_and_shows_its_gradient():
    cell = small_cell(SMALL_EDSR, "l1", "float32")
    plain, replayed = Run(cell, CPU), Run(cell, CPU)
    replayed.replayed = Replayed(replayed._take, Tape)
    lr, hr = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 32, 32)
    for step in range(1, 7):
        plain.step(lr, hr)
        replayed.step(lr, hr, eager=step in (1, 5))
        if step == 5:
            for run in (plain, replayed):
                run.note_gradient(step)
    assert replayed.gradient_rms == plain.gradient_rms and plain.gradient_rms[5] > 0
    torch.testing.assert_close(plain.net.state_dict(), replayed.net.state_dict(), rtol=0, atol=0)


def test_figures_of_a_step_stay_when_the_next_one_is_replayed():
    weight = torch.zeros(3)
    replayed = Replayed(lambda lr, hr: {"loss": weight.add_(hr - lr).sum(), "scale": 2.0}, Tape)
    found = [replayed(torch.zeros(3), torch.full((3,), float(step))) for step in range(4)]
    assert [figures["loss"].item() for figures in found] == [0, 3, 9, 18]
    assert {figures["scale"] for figures in found} == {2.0}


def test_where_memory_is_short_sizes_not_recorded_yet_are_taken_step_by_step(monkeypatch):
    calls = []
    replayed = Replayed(lambda lr, hr: calls.append(len(lr)) or {"loss": (hr - lr).sum()}, Tape)
    for step in range(4):
        monkeypatch.setattr(Tape, "has_room", lambda _, step=step: step < 2)
        for size in (3, 5) if step else (3,):
            assert replayed(torch.zeros(size), torch.ones(size))["loss"] == size
    assert calls == [3, 3, 5, 5, 5]


class Pools:
    """A stand-in for torch's graphs, with what its allocator asks of a pool (torch 2.11).

    A pool belongs to those graphs that use it, but a library's workspace in it holds it back when
    they are gone; and a pool that is held and not used must not be captured into.
    """

    def __init__(self) -> None:
        self.users: dict[object, int] = {}

    def graph_pool_handle(self) -> object:
        return object()

    @contextmanager
    def graph(self, graph, *, pool, stream, capture_error_mode) -> Iterator[None]:
        assert self.users.get(pool, 1) > 0, "the pool was captured into before, and left"
        self.users[pool] = self.users.get(pool, 0) + 1
        graph.left = lambda: self.users.update({pool: self.users[pool] - 1})
        yield


class Graph:
    def replay(self) -> None:
        pass

    def __del__(self) -> None:
        self.left()


@pytest.mark.parametrize("backbone", [SMALL_RCAN, SMALL_HAT])
def test_recordings_that_begin_anew_do_so_in_memory_of_their_own(monkeypatch, backbone):
    pools = Pools()
    monkeypatch.setattr(torch.cuda, "graph", pools.graph)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", pools.graph_pool_handle)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: object())
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5, 8))
    run = Run(small_cell(backbone, "l1-udl", "float32"), CPU)
    run.replayed = Replayed(run._take, lambda: CudaGraphs(CPU, [run.optimizer]))
    steps(run)
    gc.collect()
    assert sorted(pools.users.values()) == [0, 2]  # one graph of the ESU's step, two of the UDL's


@pytest.mark.parametrize(("free", "room"), [(10**9, True), (10**9 - 1, False)])
def test_an_eighth_of_a_gpu_stays_free_of_recordings(monkeypatch, free, room):
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: object())
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 8 * 10**9))
    assert CudaGraphs(CPU, []).has_room() is room


def test_what_ends_a_capture_is_told_rather_than_the_end_itself(monkeypatch):
    @contextmanager
    def graph(*_: object, **__: object) -> Iterator[None]:
        try:
            yield
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")

    def step(lr: Tensor, hr: Tensor) -> Figures:
        raise RuntimeError(words)

    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: object())
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    record = CudaGraphs(CPU, [])
    words = "operation not permitted when stream is capturing"
    with pytest.raises(ValueError, match=f"cannot be recorded .*: {words}; .*cuda_graphs: false"):
        record(lambda: step(None, None))
    words = "CUDA out of memory. Tried to allocate 2.00 GiB"
    with (
        pytest.raises(ValueError, match=r"x: too much for the memory \(CUDA out of memory.*; y"),
        enough_memory("x", "y"),
    ):
        record(lambda: step(None, None))


def test_on_a_cpu_cuda_graphs_change_nothing_and_the_record_says_so(tmp_path, pairs):
    for asked in (False, True):
        train_here(toy_cell(), pairs, tmp_path / str(asked), cuda_graphs=asked)
        (sitting,) = read_record(tmp_path / str(asked) / "record.json").sittings
        assert sitting.cuda_graphs is False
    assert_same_results(tmp_path / "True", tmp_path / "False")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@each_kind
def test_a_gpu_s_replayed_steps_are_those_taken_one_by_one(backbone, loss, precision):
    cell, device = small_cell(backbone, loss, precision), torch.device("cuda")
    plain, replayed = Run(cell, device), Run(cell, device, cuda_graphs=True)
    for one, other in zip(steps(plain), steps(replayed), strict=True):
        # sums on a GPU come in any order; phi's loss passes through zero, so it is a sum's rest
        assert other == pytest.approx(one, rel=1e-2, abs=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_step_that_asks_a_gpu_for_values_is_refused_with_what_to_do():
    """In a process of its own: up to torch 2.11 a failed capture ends the use of CUDA in its."""
    done = run_command([sys.executable, "-c", ASKS_FOR_A_VALUE])
    assert done.returncode and done.stdout == "taken as it is\n"
    assert re.search(r"ValueError: .*cannot be recorded .* needs cuda_graphs: false", done.stderr)


ASKS_FOR_A_VALUE = """
import torch
from tlw.training.replay import CudaGraphs, Replayed

device = torch.device("cuda")
step = lambda lr, hr: {"loss": (hr - lr).sum().item()}
replayed = Replayed(step, lambda: CudaGraphs(device, []))
images = torch.rand(1, 3, 8, 8, device=device)
replayed(images, images)
print("taken as it is", flush=True)
replayed(images, images)
"""
