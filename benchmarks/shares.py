"""Where the time of a training step goes: network, weighting network, judge, optimisers, data.

A clock that always runs for one part of the step, moved on by hooks at the parts' beginnings and
ends. What no hook claims (mixing, sampling, the weighted errors) is the "rest of the loss".
"""

import functools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from cases import add_losses, add_options, cell, on, photograph, precision, size_of
from common import parser, print_table, start, synchronize
from torch import Tensor, nn

from tlw.data.pairs import Pairs, write_pairs
from tlw.data.protocols import protocol
from tlw.losses.tlw import TLWLoss
from tlw.training.sampling import Batches
from tlw.training.trainer import Run

NETWORK = ("network, forward", "network, backward")
WEIGHT_NET = ("weighting network, forward", "weighting network, backward")
JUDGE = ("judge, forward", "judge, backward")
REST, OPTIMISERS, DATA = "rest of the loss", "optimisers", "data"
PARTS = (*NETWORK, *WEIGHT_NET, *JUDGE, REST, OPTIMISERS, DATA)


class Clock:
    """Seconds by part; exactly one part runs at a time, the innermost one begun."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.running = [REST]
        self.since = time.perf_counter()

    def read(self) -> None:
        synchronize()
        now = time.perf_counter()
        self.seconds[self.running[-1]] += now - self.since
        self.since = now

    def begin(self, part: str) -> None:
        self.read()
        self.running.append(part)

    def end(self) -> None:
        self.read()
        self.running.pop()

    def change(self, part: str) -> None:
        """What runs is another part from now on, until its end."""
        self.read()
        self.running[-1] = part

    @contextmanager
    def part(self, part: str) -> Iterator[None]:
        self.begin(part)
        yield
        self.end()

    def timed(self, call: Callable, part: str) -> Callable:
        @functools.wraps(call)
        def timed_call(*args: object) -> object:
            with self.part(part):
                return call(*args)

        return timed_call


def watch(clock: Clock, run: Run) -> None:
    """Hooks that tell the clock which part of a step has begun or ended."""
    _watch_module(clock, run.net, *NETWORK)
    _watch_optimiser(clock, run.optimizer)
    if isinstance(run.loss, TLWLoss):
        _watch_module(clock, run.loss.weight_net, *WEIGHT_NET)
        _watch_optimiser(clock, run.loss.optimizer)
        against = clock.timed(run.loss.judge.against, JUDGE[0])
        run.loss.judge.against = lambda hr: clock.timed(against(hr), JUDGE[0])


def _watch_module(clock: Clock, module: nn.Module, forward: str, backward: str) -> None:
    def finished(_: nn.Module, __: tuple, output: Tensor) -> None:
        clock.end()
        if output.requires_grad:
            # Once the gradient is here, what is left of the backward pass is the module's own.
            output.register_hook(lambda _: clock.change(backward))

    module.register_forward_pre_hook(lambda *_: clock.begin(forward))
    module.register_forward_hook(finished)


def _watch_optimiser(clock: Clock, optimizer: torch.optim.Optimizer) -> None:
    optimizer.register_step_pre_hook(lambda *_: clock.begin(OPTIMISERS))
    optimizer.register_step_post_hook(lambda *_: clock.end())


@contextmanager
def watched_backward(clock: Clock, run: Run) -> Iterator[None]:
    """Counts a backward pass inside the loss for the judge, until a network's turn comes."""
    inside: list[bool] = []
    hooks = [
        run.loss.register_forward_pre_hook(lambda *_: inside.append(True)),
        run.loss.register_forward_hook(lambda *_: inside.clear()),
    ]
    backward = Tensor.backward

    def timed_backward(self: Tensor) -> None:
        with clock.part(JUDGE[1] if inside else REST):
            backward(self)

    Tensor.backward = timed_backward
    try:
        yield
    finally:
        Tensor.backward = backward
        for hook in hooks:
            hook.remove()


def shares(run: Run, batches: Batches, steps: int) -> dict[str, float]:
    """The part of the time that each of `PARTS` takes, from `steps` steps after a first one."""
    run.step(*on(run.device, *batches[0]))
    clock = Clock()
    watch(clock, run)
    with watched_backward(clock, run):
        clock.read()
        clock.seconds.clear()
        for step in range(1, steps + 1):
            with clock.part(DATA):
                lr, hr = on(run.device, *batches[step])
            run.step(lr, hr)
        clock.read()
    total = sum(clock.seconds.values())
    return {part: clock.seconds[part] / total for part in PARTS}


def crops_of(folder: Path, scale: int, *, workers: int | None = None) -> Pairs:
    """Pairs of the photographs with sides of 400 pixels or more."""
    images = [photograph(name) for name in ("astronaut", "coffee", "brick", "grass", "gravel")]
    target = folder / f"photographs_x{scale}.h5"
    write_pairs(images, target, name="photographs", scale=scale, protocol=protocol("paper"),
                use="train", workers=workers)  # fmt: skip
    return Pairs(target)


def main() -> None:
    found = parser(__doc__)
    add_options(found)
    add_losses(found)
    options = start(found)
    size = size_of(options)
    with TemporaryDirectory() as folder:
        for scale in options.scales:
            pairs = crops_of(Path(folder), scale)
            for backbone in options.backbones:
                columns = {}
                for loss in options.losses:
                    for kind in precision():
                        ours = cell(backbone, scale, loss, preset=options.preset, precision=kind,
                                    size=size)  # fmt: skip
                        run = Run(ours, options.device, options.judge_folder)
                        batches = Batches([pairs], ours.recipe, seed=0)
                        columns[f"{loss}, {kind}"] = shares(run, batches, options.rounds)
                print(f"{backbone} x{scale}, {size} hr pixels, batch 1: shares of a step\n")
                rows = [
                    [part, *(f"{column[part]:.1%}" for column in columns.values())]
                    for part in PARTS
                ]
                print_table(["part", *columns], rows)


if __name__ == "__main__":
    main()
