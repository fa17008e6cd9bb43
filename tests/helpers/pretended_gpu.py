"""Training and scoring on a GPU that is not there: with devices and shapes of tensors, no values.

torch's fake tensors refuse what a GPU would: an operation on tensors of two devices. And they
refuse to give a value, for which the host would wait. To be run with `pretended_gpu.cpp` loaded:

    python pretended_gpu.py edsr
    python pretended_gpu.py scores
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from toys import CROPS, SMALL_EDSR, SMALL_HAT, SMALL_RCAN, SMALL_VDSR, toy_cell

import tlw.judge.dists
import tlw.judge.lpips
from tlw.data.protocols import protocol as protocol_named
from tlw.judge.dists_weights import dists_weights
from tlw.networks.sr_net import super_resolve
from tlw.scoring.columns import EXTRA, METRICS
from tlw.scoring.scorer import Scorer
from tlw.training.trainer import Run

GPU = torch.device("cuda", 0)
_BACKBONES = {"vdsr": SMALL_VDSR, "edsr": SMALL_EDSR, "rcan": SMALL_RCAN, "hat": SMALL_HAT}


def take_steps(backbone: str, loss: str, precision: str) -> None:
    """Takes a step in each of two epochs, and super-resolves an image with the network."""
    changes = {"l1-udl": {"esu_epochs": 1}} if loss == "l1-udl" else None
    recipe = CROPS | {"precision": precision}
    cell = toy_cell(loss, backbone=_BACKBONES[backbone], changes=changes, recipe=recipe)
    with FakeTensorMode():
        run = Run(cell, GPU)
        run.loss._has_seen_images = True  # else it looks at the first hr, once
        lr, hr = (torch.zeros(2, 3, n, n, dtype=torch.uint8, device=GPU) for n in (16, 32))
        for epoch in range(2):
            run.start_epoch(epoch)
            figures = run.step(lr, hr)
        known = figures.pop("k", 0.3)  # to the host, as it follows the epoch
        assert isinstance(known, float)
        assert {figure.device for figure in figures.values()} == {GPU}
        assert {weight.grad.device for weight in run.plain_net.parameters()} == {GPU}
        sr = super_resolve(run.plain_net.eval(), torch.zeros(3, 100, 90), tile=90)
    assert sr.shape == (3, 200, 180) and sr.device.type == "cpu"


def score(protocol: str) -> None:
    """Takes every metric of two images that come from the host, as a network's sr may."""
    read = []

    def to_the_host(value: Tensor) -> float:
        assert value.device == GPU and value.shape in ((), (1,))
        read.append(value)
        return 1.0

    Tensor.__float__ = to_the_host
    Tensor.item = lambda _: 1.0  # of hr's range, which is looked at once
    weights = dists_weights(None)  # checked, which reads values
    tlw.judge.dists.dists_weights = lambda _: weights
    # every metric but that whose weights cannot be had everywhere
    metrics = set(METRICS) - {"lpips_squeeze"}
    extra = [metric for metric in EXTRA if metric in metrics]
    with FakeTensorMode():
        scorer = Scorer(protocol_named(protocol), 2, device=GPU, extra=extra)
        against = scorer.against(torch.zeros(3, 64, 60))
        for device in (GPU, "cpu"):
            assert set(against(torch.zeros(3, 64, 60, device=device))) == metrics
    assert len(read) == 2 * len(metrics)


def pretend() -> None:
    """Takes out of the way what would find out that tensors are fake, or that there is no GPU."""
    nn.Module._apply = _apply
    nn.init.trunc_normal_ = lambda tensor, **_: tensor  # asks for values
    torch.cuda.amp.common.amp_definitely_not_available = lambda: False
    torch.cuda.is_bf16_supported = lambda **_: True
    FakeTensorMode.__deepcopy__ = lambda mode, _: mode  # of a copied network's tensors
    tlw.judge.lpips.load_file = tlw.judge.dists.load_file = _load_file


def _apply(self: nn.Module, change: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """As torch's, but that a fake parameter, whose data cannot be set, is told its new device."""
    for child in self.children():
        child._apply(change)
    for parameter in self._parameters.values():
        if parameter is not None:
            parameter.fake_device = change(parameter.detach()).device
    self._buffers |= {name: change(buffer) for name, buffer in self._buffers.items()}
    return self


def _load_file(path: Path) -> dict[str, Any]:
    with unset_fake_temporarily():
        found = load_file(path)
    return {key: torch.empty(value.shape, dtype=value.dtype) for key, value in found.items()}


if __name__ == "__main__":
    pretend()
    [what] = sys.argv[1:]
    if what == "scores":
        for protocol in ("paper", "standard"):
            score(protocol)
    else:
        for loss, precision in (
            ("l1-udl", "bf16-mixed"),
            ("l1-tlw", "bf16-mixed"),
            ("mse-tlw", "float32"),
        ):
            sys.stdout.write(f"{what}, {loss}, {precision}\n")
            take_steps(what, loss, precision)
