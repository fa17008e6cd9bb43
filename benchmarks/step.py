"""A training step of the package against a reference implementation of Algorithm 1.

For each network, scale and size all contenders take turns. Before, in the same run, one step of
each, from the same weights with the same noise, shows that they compute the same loss; where
`float32` differs by more than 1e-4 the script stops. A weighted step is also taken with a judge of
torch's plain operations: what the package does beyond those must not cost anything on anybody's
processor, so the exit code is 1 where ours is less than 0.97 times as fast.
"""

import argparse
import sys
from collections.abc import Callable

import torch
from cases import add_losses, add_options, batch, cell, on, precisions
from common import RATIO_HEADER, interleave, parser, print_table, ratio, ratio_rows, start
from reference import PlainJudge, ReferenceTraining
from torch import Tensor

from tlw.training.trainer import Run

TOLERANCE = 1e-4
SIZES = (36, 96, 336)  # of the toy's crops, of usual crops, of the paper's tiles, in hr pixels
LEAST = 0.97
PLAIN = "ours, plain judge"
REFERENCE = "reference"

Steps = dict[str, Callable[[], object]]


def matched(
    options: argparse.Namespace, backbone: str, scale: int, loss: str, precision: str
) -> tuple[Run, ReferenceTraining]:
    """Our run of a cell in a precision, and the reference of it, with the same weights."""
    ours = cell(backbone, scale, loss, preset=options.preset, precision=precision)
    run = Run(ours, options.device, options.judge_folder)
    reference = ReferenceTraining(
        ours, options.device, options.judge_folder, prints_lpips=not options.without_lpips
    )
    reference.net.load_state_dict(run.plain_net.state_dict())
    if reference.weighted:
        reference.weight_net.load_state_dict(run.loss.weight_net.state_dict())
    return run, reference


def deviation(run: Run, reference: ReferenceTraining, lr: Tensor, hr: Tensor) -> float:
    """The relative difference of the losses of one step each, with the same noise."""
    losses = []
    steps = {
        run.net: lambda: run.step(lr, hr)["loss"],
        reference.net: lambda: reference.step(lr, hr),
    }
    for net, step in steps.items():
        net.eval()  # two passes of HAT would drop different branches
        torch.manual_seed(0)
        losses.append(float(step()))
        net.train()
    return abs(losses[0] - losses[1]) / abs(losses[1])


def contenders(
    options: argparse.Namespace, backbone: str, scale: int, loss: str, lr: Tensor, hr: Tensor
) -> Steps:
    """What is timed, by name; says how far each loss is from the reference's."""
    steps: Steps = {}
    for precision in precisions(options.device):
        run, reference = matched(options, backbone, scale, loss, precision)
        found = deviation(run, reference, lr, hr)
        print(f"{loss}, {precision}: the loss differs from the reference's by {found:.1e}")
        if precision == "float32":
            if not found <= TOLERANCE:
                raise SystemExit(f"more than {TOLERANCE:g}: not compared")
            steps[REFERENCE] = lambda reference=reference: reference.step(lr, hr)
        steps[f"ours, {precision}"] = lambda run=run: run.step(lr, hr)
    if reference.weighted and not options.without_plain:
        plain, _ = matched(options, backbone, scale, loss, "float32")
        s = plain.loss.settings
        judge = PlainJudge(
            options.judge_folder, calibrated=s.calibrated, bgr=s.channels == "bgr"
        ).to(options.device)
        plain.loss.judge = judge
        steps[PLAIN] = lambda: plain.step(lr, hr)
    return steps


def main() -> int:
    found = parser(__doc__)
    add_options(found)
    add_losses(found)
    found.add_argument("--sizes", type=int, nargs="+", help="in hr pixels (default 36 96 336)")
    found.add_argument("--without-lpips", action="store_true",
                       help="none in the reference that is only printed")  # fmt: skip
    found.add_argument("--without-plain", action="store_true", help="no judge of plain operations")
    options = start(found)
    sizes = options.sizes or ((36,) if options.quick else SIZES)
    slow = []
    for scale in options.scales:
        for size in sizes:
            lr, hr = on(options.device, *batch(size, scale))
            for backbone in options.backbones:
                for loss in options.losses:
                    case = f"{backbone} x{scale}, {loss}, {size} hr pixels"
                    print(f"{case}, batch 1, preset {options.preset}")
                    steps = contenders(options, backbone, scale, loss, lr, hr)
                    times = interleave(steps, rounds=options.rounds)
                    ours = [name for name in steps if name not in (REFERENCE, PLAIN)]
                    pairs = [(name, REFERENCE) for name in ours]
                    if PLAIN in steps:
                        pairs.append(("ours, float32", PLAIN))
                        if ratio(times, "ours, float32", PLAIN) < LEAST:
                            slow.append(case)
                    print()
                    print_table(RATIO_HEADER, ratio_rows(times, pairs))
    for case in slow:
        print(f"{case}: less than {LEAST} times as fast as with a judge of plain operations")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
