"""How far `bf16-mixed` is from `float32`: the weight criterion, the losses, their gradients.

Two `TLWLoss` modules with the same weights draw the same noise for the same sr and hr; nothing is
updated in between. On crops of photographs or of given pairs, over k from 0.3 to 0.9, early (start
weights) and late (network and weighting network after some steps of Algorithm 1). The exit code is
1 when the weight criterion breaks its bounds, in any precision asked: 1 % in the median, 3 % in the
95th percentile.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
from cases import PHOTOGRAPHS, add_options, batch, cell, on, precisions, size_of
from common import parser, print_table, start
from torch import Tensor, nn

from tlw.data.pairs import Pairs
from tlw.imaging.ranges import to_unit
from tlw.losses.tlw import TLWLoss
from tlw.training.trainer import Run

BOUNDS = {"median": 0.01, "95 %": 0.03}  # of the weight criterion's relative deviation
CRITERION = "weight criterion"
AUTOCAST = "float32 under bf16 autocast"
KS = (0.3, 0.45, 0.6, 0.75, 0.9)
QUIET = 1e-30  # a learning rate at which Adam moves nothing


def loss_in(kind: str, options: argparse.Namespace) -> TLWLoss:
    """The loss in some precision, drawing one weight, with weights that stay as they are."""
    changes = {"samples": 1, "learning_rate": QUIET}
    if kind not in ("float32", AUTOCAST):
        changes["precision"] = kind
    loss = TLWLoss("l1", preset=options.preset, weights=options.judge_folder, **changes)
    return loss.to(options.device).train()


def looked_at(loss: TLWLoss, sr: Tensor, hr: Tensor, k: float, seed: int) -> dict[str, Tensor]:
    """Weight criterion, phi loss and gradients of one call with the noise of a seed."""
    loss.k = k
    sr = sr.detach().requires_grad_()
    torch.manual_seed(seed)
    grads: list[Tensor] = []
    phi = list(loss.weight_net.parameters())
    hook = loss.optimizer.register_step_pre_hook(
        lambda *_: grads.extend(parameter.grad.flatten() for parameter in phi)
    )
    # without its way out of the caller's autocast, so that this can be looked at, too
    TLWLoss.forward.__wrapped__(loss, sr, hr).backward()
    hook.remove()
    return {
        CRITERION: loss.last["criterion"],
        "phi loss": loss.last["phi_loss"],
        "phi loss's gradient": torch.cat(grads).clone(),
        "theta loss's gradient": sr.grad.flatten(),
    }


def deviations(
    full: TLWLoss, other: TLWLoss, sr: Tensor, hr: Tensor, k: float, seed: int,
    numbers: AbstractContextManager | None = None,
) -> dict[str, float]:  # fmt: skip
    """The relative deviation of each figure, |other - full| / |full|, of whole gradients.

    Args:
        full, other: with any weights; the other one gets the first one's.
        sr, hr: (N, 3, H, W) in [0, 1].
        numbers: a context for the other one's call, such as autocast.
    """
    other.weight_net.load_state_dict(full.weight_net.state_dict())
    expected = looked_at(full, sr, hr, k, seed)
    with numbers or nullcontext():
        found = looked_at(other, sr, hr, k, seed)
    return {
        name: float((found[name].float() - value).norm() / value.norm())
        for name, value in expected.items()
    }


def states(
    options: argparse.Namespace, backbone: str, scale: int, pairs: list[tuple[Tensor, Tensor]]
) -> Iterator[tuple[str, nn.Module, dict]]:
    """Network and weights of the weighting network, early and late."""
    run = Run(cell(backbone, scale, "l1-tlw", preset=options.preset), options.device,
              options.judge_folder)  # fmt: skip
    yield "early", run.net, run.loss.weight_net.state_dict()
    steps = options.steps if options.steps is not None else (2 if options.quick else 300)
    for step in range(steps):
        torch.manual_seed(step)
        run.step(*pairs[step % len(pairs)])
    yield f"after {steps} steps", run.net, run.loss.weight_net.state_dict()


def images(options: argparse.Namespace, scale: int) -> list[tuple[Tensor, Tensor]]:
    """Crops (lr, hr), of pairs files or of photographs."""
    size = size_of(options)
    if not options.pairs:
        names = PHOTOGRAPHS[:2] if options.quick else PHOTOGRAPHS
        return [on(options.device, *batch(size, scale, name=name)) for name in names]
    sets = [Pairs(path, scale=scale) for path in options.pairs]
    return [
        on(options.device, *(to_unit(image)[None] for image in pairs.crop(i, 0, 0, size // scale)))
        for pairs in sets
        for i in range(len(pairs))
        if min(pairs.sizes[i]) >= size
    ]


def main() -> int:
    found = parser(__doc__)
    add_options(found)
    found.set_defaults(backbones=["edsr"], scales=[2])
    found.add_argument("--pairs", type=Path, nargs="*", help="pairs files (default: photographs)")
    found.add_argument("--steps", type=int, help="before late (default 300, quick 2)")
    found.add_argument("--autocast", action="store_true",
                       help=f"looks at {AUTOCAST}, too: what the loss guards against")  # fmt: skip
    options = start(found)
    kinds = [kind for kind in precisions(options.device) if kind != "float32"] + [
        AUTOCAST
    ] * options.autocast
    if not kinds:
        print("This device has no units for bfloat16; --autocast shows what bf16 would do.")
        return 0
    within = True
    for backbone in options.backbones:
        for scale in options.scales:
            for kind in kinds:
                within &= compare(options, backbone, scale, kind)
    return 0 if within else 1


def compare(options: argparse.Namespace, backbone: str, scale: int, kind: str) -> bool:
    """Prints the table of one network and precision; whether the criterion is within its bounds."""
    autocast = torch.autocast(options.device.type, torch.bfloat16, enabled=kind == AUTOCAST)
    full, other = loss_in("float32", options), loss_in(kind, options)
    pairs = images(options, scale)
    collected: dict[tuple[str, str], list[float]] = defaultdict(list)
    for state, net, weights in states(options, backbone, scale, pairs):
        full.weight_net.load_state_dict(weights)
        for number, (lr, hr) in enumerate(pairs):
            with torch.no_grad():
                sr = net(lr)
            for k in KS:
                for seed in range(options.rounds):
                    each = deviations(full, other, sr, hr, k, 1000 * number + seed, autocast)
                    for figure, value in each.items():
                        collected[state, figure].append(value)
    print(f"{kind} against float32: relative deviation, {backbone} x{scale}, "
          f"{size_of(options)} hr pixels, preset {options.preset}\n")  # fmt: skip
    rows = [
        [state, figure, f"{np.median(values):.2e}", f"{np.quantile(values, 0.95):.2e}",
         f"{max(values):.2e}"]
        for (state, figure), values in collected.items()
    ]  # fmt: skip
    print_table(["training", "figure", *BOUNDS, "largest"], rows)
    criteria = np.concatenate([v for (_, figure), v in collected.items() if figure == CRITERION])
    return keeps_bounds(criteria)


def keeps_bounds(criteria: np.ndarray) -> bool:
    """Whether the criterion's relative deviations are within `BOUNDS`, which it prints."""
    measured = {"median": np.median(criteria), "95 %": np.quantile(criteria, 0.95)}
    for name, bound in BOUNDS.items():
        verdict = "within" if measured[name] <= bound else "BEYOND"
        print(f"weight criterion, {name}: {measured[name]:.2e}, {verdict} the bound of {bound:g}")
    print()
    return bool(all(measured[name] <= bound for name, bound in BOUNDS.items()))


if __name__ == "__main__":
    sys.exit(main())
