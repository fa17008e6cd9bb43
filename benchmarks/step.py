"""A training step of the package against a plain reading of Algorithm 1, and BasicSR's plain step.

For each network and scale all contenders take turns. Before, in the same run, one step of ours and
of the plain reading, from the same weights with the same noise, shows that they compute the same
loss; where `exact` differs by more than 1e-4 the script stops. A convolution in bf16 and one in
float32 take their turns, too: what `fast` gains hangs on how many times as fast the first one is,
and on a shared machine that differs from hour to hour.
"""

import argparse
from collections.abc import Callable, Iterator
from itertools import product
from math import isnan, nan

import torch
from basicsr_like import NETWORKS, BasicTraining
from cases import add_losses, add_options, batch, cell, on, precision, size_of
from common import (
    RATIO_HEADER,
    Comparison,
    convolutions,
    interleave,
    parser,
    print_table,
    ratio_rows,
    start,
)
from plain import PlainTraining
from torch import Tensor

from tlw.training.trainer import Run

TOLERANCE = 1e-4
PROBES = "convolution, bf16", "convolution, float32"


def twins(
    options: argparse.Namespace, backbone: str, scale: int, loss: str, kind: str
) -> tuple[Run, PlainTraining]:
    """Our run of a cell in some precision, and the plain reading of it, with the same weights."""
    ours = cell(backbone, scale, loss, preset=options.preset, precision=kind)
    run = Run(ours, options.device, options.judge_folder)
    plain = PlainTraining(
        ours, options.device, options.judge_folder, prints_lpips=not options.without_lpips
    )
    plain.net.load_state_dict(run.plain_net.state_dict())
    if plain.weighted:
        plain.weight_net.load_state_dict(run.loss.weight_net.state_dict())
    return run, plain


def deviation(run: Run, plain: PlainTraining, lr: Tensor, hr: Tensor) -> float:
    """The relative difference of the losses of one step each, with the same noise."""
    losses = []
    steps = {run.net: lambda: run.step(lr, hr)["loss"], plain.net: lambda: plain.step(lr, hr)}
    for net, step in steps.items():
        net.eval()  # two passes of HAT would drop different branches
        torch.manual_seed(0)
        losses.append(float(step()))
        net.train()
    return abs(losses[0] - losses[1]) / abs(losses[1])


def contenders_of(
    options: argparse.Namespace, backbone: str, scale: int, loss: str, lr: Tensor, hr: Tensor
) -> Iterator[tuple[str, Callable[[], object], float]]:
    """Name, step and deviation from the plain reading (nan: not asked), of all that is timed."""
    for kind in precision():
        run, plain = twins(options, backbone, scale, loss, kind)
        found = deviation(run, plain, lr, hr)
        if kind == "float32":
            if not found <= TOLERANCE:
                raise SystemExit(f"{backbone} x{scale} {loss}: differs from the plain reading by "
                                 f"{found:.2g}, more than {TOLERANCE:g}: not compared")  # fmt: skip
            yield f"{loss}, plain reading", lambda plain=plain: plain.step(lr, hr), nan
        yield f"{loss}, {kind}", lambda run=run: run.step(lr, hr), found
        if options.device.type == "cuda":
            ours = cell(backbone, scale, loss, preset=options.preset, precision=kind)
            replayed = Run(ours, options.device, options.judge_folder, cuda_graphs=True)
            yield f"{loss}, {kind}, replayed", lambda run=replayed: run.step(lr, hr), nan
    if loss == "l1" and backbone in NETWORKS:
        usual = BasicTraining(backbone, scale, options.device)
        yield "l1, as in BasicSR", lambda: usual.step(lr, hr), nan


def comparisons(names: list[str]) -> Iterator[Comparison]:
    """Ours with each baseline of its loss; and a weighted step with a plain one."""
    for kind in precision():
        for loss in ("l1-tlw", "l1"):
            ours = [name for name in names if name.startswith(f"{loss}, {kind}")]
            baselines = [f"{loss}, plain reading", f"{loss}, as in BasicSR"]
            yield from product(ours, (name for name in baselines if name in names))
        if {f"l1, {kind}", f"l1-tlw, {kind}"} <= set(names):
            yield f"l1, {kind}", f"l1-tlw, {kind}"
    yield PROBES


def main() -> None:
    found = parser(__doc__)
    add_options(found)
    add_losses(found)
    found.add_argument("--without-lpips", action="store_true",
                       help="none in the plain reading that is only printed")  # fmt: skip
    options = start(found)
    size = size_of(options)
    probes = convolutions(options.device, quick=options.quick)
    for scale in options.scales:
        lr, hr = on(options.device, *batch(size, scale))
        for backbone in options.backbones:
            contenders = [
                contender
                for loss in options.losses
                for contender in contenders_of(options, backbone, scale, loss, lr, hr)
            ]
            steps = {name: step for name, step, _ in contenders}
            asked = "; ".join(f"{name}: {d:.1e}" for name, _, d in contenders if not isnan(d))
            print(f"{backbone} x{scale}, {size} hr pixels, batch 1, preset {options.preset}")
            print(f"(the loss differs from the plain reading's: {asked})\n")
            times = interleave(steps | probes, rounds=options.rounds)
            print_table(RATIO_HEADER, ratio_rows(times, comparisons(list(steps))))


if __name__ == "__main__":
    main()
