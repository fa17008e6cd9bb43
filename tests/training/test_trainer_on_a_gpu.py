"""Training as a GPU asks for it: shown on a CPU as far as that goes, and on a GPU that is there."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from toys import CROPS, SMALL_EDSR, SMALL_HAT, SMALL_RCAN, SMALL_VDSR, curve, toy_cell
from toys import run as run_command
from trainings import THREE_EPOCHS, fragile_cell, train_here

from tlw.config.record import read_record
from tlw.training.run import Run
from tlw.training.trainer import _has_room, train


def test_while_it_trains_a_gpu_would_convolve_in_float32_not_in_tf32(tmp_path, pairs, monkeypatch):
    take, found, cudnn = Run.step, [], torch.backends.cudnn
    # torch 2.9 has a switch for each kind of operation, which must not be mixed with the older one
    is_newer = hasattr(torch.backends.cuda.matmul, "fp32_precision")
    switch, name = (cudnn.conv, "fp32_precision") if is_newer else (cudnn, "allow_tf32")

    def step(self, *images, **options):
        found.append(getattr(switch, name))
        return take(self, *images, **options)

    monkeypatch.setattr(Run, "step", step)
    before = getattr(switch, name)
    train_here(toy_cell(), pairs, tmp_path)
    assert set(found) == ({"ieee"} if is_newer else {False}) and getattr(switch, name) == before


@pytest.mark.parametrize(("files", "room"), [(3, False), (4, False), (5, True)])
def test_a_gpu_keeps_the_images_where_three_quarters_stay_free(monkeypatch, pairs, files, room):
    free = files * pairs.stat().st_size
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 2 * free))
    assert _has_room(torch.device("cuda:1"), [pairs]) is room
    assert not _has_room(torch.device("cuda:1"), [pairs, pairs])
    assert not _has_room(torch.device("cpu"), [pairs])


class Asked(TorchDispatchMode):
    """The operations whose result the host has to know, and so waits for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        shape_of_values = ("nonzero", "masked_select", "unique_consecutive", "bincount")
        if name in ("_local_scalar_dense", "equal", "is_nonzero", *shape_of_values):
            self.names.add(name)
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("precision", ["float32", "bf16-mixed"])
@pytest.mark.parametrize("loss", ["l1", "l1-udl", "l1-tlw", "mse-tlw"])
@pytest.mark.parametrize("backbone", [SMALL_VDSR, SMALL_EDSR, SMALL_RCAN, SMALL_HAT])
def test_no_value_is_asked_for_within_a_step(backbone, loss, precision):
    cell = toy_cell(loss, backbone=backbone, recipe=CROPS | {"precision": precision})
    run = Run(cell, torch.device("cpu"))
    lr, hr = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 32, 32)
    run.start_epoch(0)
    run.step(lr, hr)  # the first prepares what stays
    with Asked() as asked:
        run.step(lr, hr)
    assert not asked.names
    with asked:
        float(hr.mean())
    assert asked.names == {"_local_scalar_dense"}


class Launched(TorchDispatchMode):
    """How many operations would launch a kernel: those that make no view and no memory alone."""

    NONE = (
        *("alias", "as_strided", "detach", "expand", "lift_fresh", "permute", "select", "slice"),
        *("split", "split_with_sizes", "squeeze", "t", "transpose", "unbind", "unsqueeze", "view"),
        *("_reshape_alias", "_unsafe_view", "empty", "empty_like", "empty_strided", "new_empty"),
        "new_empty_strided",
    )

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.overloadpacket.__name__ not in self.NONE
        return func(*args, **kwargs or {})


# Networks as deep as the paper's, and narrow, which changes no number of operations.
DEEP = {
    "vdsr": {"features": 4},
    "edsr": {"features": 4},
    "rcan": {"features": 4, "reduction": 2},
    "hat": {"embed": 6, "heads": [6, 6, 6, 6], "squeeze": 3, "features": 4},
}
# Recorded with torch 2.13; before a step on a GPU is replayed, it waits for each of them.
LAUNCHES = {
    **{("vdsr", "l1"): 77, ("vdsr", "l1-udl"): 102, ("vdsr", "l1-tlw"): 1028},
    **{("edsr", "l1"): 168, ("edsr", "l1-udl"): 193, ("edsr", "l1-tlw"): 1119},
    **{("rcan", "l1"): 5280, ("hat", "l1"): 2493},
}


@pytest.mark.parametrize(("backbone", "loss"), LAUNCHES)
def test_a_step_launches_no_more_than_was_recorded_and_memory_lies_as_fused_adam_wants(
    backbone, loss
):
    """Two in a hundred are another version of torch's. Where strides of weight, gradient and
    moments differ, the fused optimiser does not take them together.
    """
    cell = toy_cell(loss, backbone={"path": backbone, "arguments": DEEP[backbone]})
    run = Run(cell, torch.device("cpu"))
    lr, hr = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 32, 32)
    run.start_epoch(0)
    run.step(lr, hr)
    with Launched() as launched:
        run.step(lr, hr)
    assert launched.count <= 1.02 * LAUNCHES[backbone, loss]
    for parameter, state in run.optimizer.state.items():
        moments = [state["exp_avg"], state["exp_avg_sq"], parameter.grad]
        assert {strides(moment) for moment in moments} == {strides(parameter)}


def strides(tensor: torch.Tensor) -> tuple[int, ...]:
    """Of the dimensions that have more than one place, as those of a 1 x 1 kernel have not."""
    return tuple(s for s, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1)


@pytest.mark.parametrize("loss", ["l1", "l1-udl", "l1-tlw"])
def test_no_node_that_adds_a_gradient_up_outlives_its_step(loss):
    """A recorded step must not find one of before, which would add up on another stream."""
    run = Run(toy_cell(loss, backbone=SMALL_EDSR), torch.device("cpu"))
    networks = [run.net, getattr(run.loss, "weight_net", run.net)]
    weights = [next(iter(network.parameters())) for network in networks]

    def node_of(weight):
        return torch.autograd.graph.get_gradient_edge(weight).node

    def mark(*_):
        for weight in weights:
            if weight.requires_grad and torch.is_grad_enabled():
                node_of(weight).metadata["marked"] = True

    lr, hr = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 32, 32)
    run.start_epoch(0)
    seen = []
    for network in networks:
        network.register_forward_pre_hook(mark)
        network.register_forward_hook(
            lambda *_: seen.append(node_of(weights[0]).metadata.get("marked"))
        )
    kept = node_of(weights[0])  # the mark is seen while a node lives
    run.step(lr, hr)
    assert any(seen) and kept.metadata == {"marked": True}
    del kept
    run.step(lr, hr)
    for weight in weights:
        weight.requires_grad_(True)
        assert node_of(weight).metadata == {}


@pytest.fixture(scope="session")
def pretended_gpu(tmp_path_factory) -> Path:
    """The library that makes torch believe in a GPU."""
    compiler, torch_folder = shutil.which("c++"), Path(torch.__file__).parent
    if not compiler or torch.version.cuda or sys.platform != "linux":
        pytest.skip("needs a C++ compiler and a CPU build of torch, on Linux")
    library = tmp_path_factory.mktemp("pretended") / "pretended_gpu.so"
    options = ["-std=c++20", "-shared", "-fPIC", f"-I{torch_folder / 'include'}"]
    source = Path(__file__).parents[1] / "helpers" / "pretended_gpu.cpp"
    libraries = [f"-L{torch_folder / 'lib'}", "-lc10", "-ltorch_cpu"]
    subprocess.run([compiler, *options, source, "-o", library, *libraries], check=True)
    return library


@pytest.mark.parametrize("what", ["vdsr", "edsr", "rcan", "hat", "scores"])
def test_no_step_and_no_metric_on_a_gpu_mixes_devices_or_asks_for_a_value(pretended_gpu, what):
    """On a pretended one, see `pretended_gpu.py`."""
    paths = {
        "LD_PRELOAD": str(pretended_gpu),
        "LD_LIBRARY_PATH": str(Path(torch.__file__).parent / "lib"),
    }
    script = Path(__file__).parents[1] / "helpers" / "pretended_gpu.py"
    done = run_command([sys.executable, str(script), what], **paths)
    assert done.returncode == 0, done.stdout + done.stderr


# --- on a GPU ---------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("precision", ["float32", "bf16-mixed"])
@pytest.mark.parametrize("loss", ["l1", "l1-tlw", "mse-tlw", "l1-udl"])
def test_a_gpu_trains_and_resumes(tmp_path, pairs, monkeypatch, loss, precision, graphs):
    cell = fragile_cell(loss, recipe=THREE_EPOCHS | {"precision": precision})
    options = {"device": "cuda", "cuda_graphs": graphs}
    train(cell, [pairs], tmp_path / "whole", **options)
    monkeypatch.setenv("TOYS_SIGNAL", "SIGTERM@3")
    with pytest.raises(SystemExit):
        train(cell, [pairs], tmp_path / "cell", workers=2, **options)
    monkeypatch.delenv("TOYS_SIGNAL")
    train(cell, [pairs], tmp_path / "cell", workers=2, **options)
    losses = [
        [float(row["loss"]) for row in curve(tmp_path / name / "training.csv")]
        for name in ("whole", "cell")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)  # sums on a GPU come in any order
    sittings = read_record(tmp_path / "cell" / "record.json").sittings
    assert {sitting.device for sitting in sittings} == {torch.cuda.get_device_name()}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_cpu_and_a_gpu_take_about_the_same_steps(tmp_path, pairs):
    cell = toy_cell(backbone=SMALL_EDSR)
    for device in ("cpu", "cuda"):
        train(cell, [pairs], tmp_path / device, device=device)
    one, other = [curve(tmp_path / device / "training.csv") for device in ("cpu", "cuda")]
    for a, b in zip(one, other, strict=True):
        assert float(a["loss"]) == pytest.approx(float(b["loss"]), rel=1e-2)
