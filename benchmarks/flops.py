"""Floating-point operations of a step and its parts, and how much of the machine's peak it reaches.

Counted by torch (convolutions and matrix products, a multiply-add being two), not computed by hand:
`exact` has fewer of them on a CPU, where wide layers of the judge take Winograd's way.
The peak is the best that large matrix products and convolutions reach in this same process.
"""

import argparse
import statistics
from collections.abc import Callable

import torch
from cases import add_losses, add_options, batch, cell, on, precision, size_of
from common import FORMATS, convolutions, interleave, parser, print_table, start
from plain import PlainTraining
from torch.utils.flop_counter import FlopCounterMode

from tlw.training.trainer import Run


def flops(call: Callable[[], object]) -> int:
    """What a call computes, but for what its first one prepares."""
    call()
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def peaks(device: torch.device, *, quick: bool, rounds: int) -> dict[str, float]:
    """The most operations a second in each number format, of a matrix product or a convolution."""
    side = 512 if quick else 4096
    calls = convolutions(device, quick=quick)
    for name, dtype in FORMATS.items():
        square = torch.randn(side, side, device=device, dtype=dtype)
        calls[f"product, {name}"] = lambda square=square: square @ square
    times = interleave(calls, rounds=rounds)
    speeds = {name: flops(calls[name]) / min(times[name]) for name in calls}
    return {
        name: max(speeds[f"product, {name}"], speeds[f"convolution, {name}"]) for name in FORMATS
    }


def rows_of(options: argparse.Namespace, backbone: str, scale: int, peak: dict) -> list[list[str]]:
    """Table rows: each step's operations, in passes of the network, and its shares of the peaks."""
    lr, hr = on(options.device, *batch(size_of(options), scale))
    steps, forward = {}, 0
    for loss in options.losses:
        for kind in precision():
            ours = cell(backbone, scale, loss, preset=options.preset, precision=kind)
            run = Run(ours, options.device, options.judge_folder)
            steps[f"{loss}, {kind}"] = lambda run=run: run.step(lr, hr)
            forward = forward or flops(lambda run=run: run.net(lr))
        plain = PlainTraining(ours, options.device, options.judge_folder)
        steps[f"{loss}, plain reading"] = lambda plain=plain: plain.step(lr, hr)
    counted = {name: flops(step) for name, step in steps.items()}
    times = interleave(steps, rounds=options.rounds)
    rows = []
    for name, count in counted.items():
        seconds = statistics.median(times[name])
        of_peak = [f"{count / seconds / value:.1%}" for value in peak.values()]
        rows.append([f"{backbone} x{scale}", name, f"{count / 1e9:.4g}", f"{count / forward:.3g}",
                     *of_peak, *whole_training(options, count, seconds)])  # fmt: skip
    return rows


def whole_training(options: argparse.Namespace, count: float, seconds: float) -> list[str]:
    """Pflop and hours of as many steps, of so many operations and seconds, as `--megapixels` says.

    Empty where it says nothing.
    """
    if options.megapixels is None:
        return []
    steps = options.megapixels * 1e6 / size_of(options) ** 2
    return [f"{count * steps / 1e15:.3g}", f"{seconds * steps / 3600:.3g}"]


def parts(options: argparse.Namespace, scale: int) -> list[list[str]]:
    """Operations of one forward pass of each network, for the same hr."""
    lr, hr = on(options.device, *batch(size_of(options), scale))
    found = {}
    for backbone in options.backbones:
        ours = cell(backbone, scale, "l1-tlw", preset=options.preset)
        run = Run(ours, options.device, options.judge_folder)
        found[backbone] = flops(lambda run=run: run.net(lr))
    found["weighting network"] = flops(lambda: run.loss.weight_net(hr, hr, 0.5))
    found["judge, one image"] = flops(lambda: run.loss.judge.features(hr))
    judge = found["judge, one image"]
    return [
        [f"{name} x{scale}" if name in options.backbones else name, f"{count / 1e9:.4g}",
         f"{count / judge:.3g}"]
        for name, count in found.items()
    ]  # fmt: skip


def main() -> None:
    found = parser(__doc__, rounds=5)
    add_options(found)
    add_losses(found)
    found.add_argument(
        "--megapixels",
        type=float,
        help="hr megapixels that a training sees, 5105 for a cell of the paper's Table I; adds its "
        "operations, and the hours that it takes on this device",
    )
    options = start(found)
    size = size_of(options)
    peak = peaks(options.device, quick=options.quick, rounds=options.rounds)
    measured = ", ".join(f"{name} {value / 1e9:.4g} Gflop/s" for name, value in peak.items())
    print(f"Peak, measured: {measured}\n")
    for scale in options.scales:
        print(f"One forward pass, {size} hr pixels\n")
        print_table(["network", "Gflop", "in passes of the judge"], parts(options, scale))
        rows = [row for b in options.backbones for row in rows_of(options, b, scale, peak)]
        print(f"One step, {size} hr pixels, batch 1\n")
        header = ["network", "step", "Gflop", "in forward passes of the network"]
        header += [f"of the {name} peak" for name in peak]
        print_table(header + ["Pflop of a training", "hours"] * bool(options.megapixels), rows)


if __name__ == "__main__":
    main()
