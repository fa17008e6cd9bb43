"""The share of a training's time that goes into its periodic checkpoints: goal, under 1 %.

A checkpoint of each network with its optimiser is written as the trainer writes it, and held
against the time that lies between two of them. The disk is that of `--folder`.
"""

import argparse
import inspect
import statistics
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from cases import add_options, batch, cell, on
from common import parser, print_table, seconds_of, start

from tlw.training.checkpoint import Checkpoints
from tlw.training.trainer import Run, train

BETWEEN = inspect.signature(train).parameters["checkpoint_seconds"].default


def saving(options: argparse.Namespace, backbone: str, scale: int) -> tuple[int, list[float]]:
    """Bytes of a checkpoint, and the seconds that each of some took."""
    run = Run(cell(backbone, scale, "l1-tlw", preset=options.preset), options.device,
              options.judge_folder)  # fmt: skip
    run.step(*on(options.device, *batch(48, scale)))  # from here on Adam has a state
    with TemporaryDirectory(dir=options.folder) as folder:
        checkpoints = Checkpoints(Path(folder), {"cell": backbone})
        save = (partial(checkpoints.save, step, run.state()) for step in range(options.rounds))
        times = [seconds_of(call) for call in save]
        return max(path.stat().st_size for path in Path(folder).iterdir()), times


def main() -> None:
    found = parser(__doc__, rounds=5)
    add_options(found)
    found.add_argument("--folder", type=Path, help="on the disk to write to (default: /tmp's)")
    options = start(found)
    rows = []
    for scale in options.scales:
        for backbone in options.backbones:
            size, times = saving(options, backbone, scale)
            shares = [seconds / BETWEEN for seconds in times]
            rows.append([f"{backbone} x{scale}", f"{size / 1e6:.3g}",
                         f"{statistics.median(shares):.2%}", f"{max(shares):.2%}"])  # fmt: skip
    print(f"A checkpoint every {BETWEEN:.0f} s\n")
    print_table(["network", "MB", "of the time", "the slowest one"], rows)


if __name__ == "__main__":
    main()
