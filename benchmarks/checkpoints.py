"""The share of a training's time that goes into its periodic checkpoints: goal, under 1 %.

A checkpoint of each network with its optimiser is written as the trainer writes it, and held
against the time that lies between two of them. The disk is that of `--folder`.
"""

import inspect
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory

from cases import add_options, batch, cell, on
from common import parser, print_table, seconds_of, start

from tlw.checkpoint import Checkpoints
from tlw.trainer import Run, train

BETWEEN = inspect.signature(train).parameters["checkpoint_seconds"].default


def main() -> None:
    found = parser(__doc__, rounds=5)
    add_options(found)
    found.add_argument("--folder", type=Path, help="on the disk to write to (default: /tmp's)")
    options = start(found)
    rows = []
    for scale in options.scales:
        lr, hr = on(options.device, *batch(48, scale))  # what is written does not follow the images
        for backbone in options.backbones:
            ours = cell(backbone, scale, "l1-tlw", preset=options.preset)
            run = Run(ours, options.device, options.judge_folder)
            run.step(lr, hr)  # from here on Adam has a state
            with TemporaryDirectory(dir=options.folder) as folder:
                checkpoints = Checkpoints(Path(folder), {"cell": ours.name})
                times = [
                    seconds_of(lambda step=step: checkpoints.save(step, run.state()))
                    for step in range(options.rounds)
                ]
                size = max(path.stat().st_size for path in Path(folder).iterdir())
            low, high = min(times) / BETWEEN, max(times) / BETWEEN
            rows.append([f"{backbone} x{scale}", f"{size / 1e6:.3g}",
                         f"{statistics.median(times) / BETWEEN:.2%}",
                         f"{low:.2%} to {high:.2%}"])  # fmt: skip
    print(f"A checkpoint every {BETWEEN:.0f} s\n")
    print_table(["network", "MB", "of the time", "lowest to highest"], rows)


if __name__ == "__main__":
    main()
