"""Peak memory of a training step, in each numerics, against the plain reading of Algorithm 1.

Each contender takes its steps in a process of its own, whose largest resident set counts (on a GPU,
torch's largest allocation there): libraries and weights are in it, as they are in a user's process.
"""

import argparse
import json
import resource
import subprocess
import sys

import torch
from cases import add_losses, add_options, batch, cell, numerics, on, size_of
from common import parser, print_table, start
from plain import PlainTraining

from tlw.devices import pick_device
from tlw.trainer import Run

PLAIN = "plain reading"


def steps(asked: dict) -> float:
    """Takes two steps, the second with all of Adam's state there; the peak, in MB."""
    device = pick_device(asked["device"])
    plain = asked["contender"] == PLAIN
    ours = cell(asked["backbone"], asked["scale"], asked["loss"], preset=asked["preset"],
                numerics="exact" if plain else asked["contender"])  # fmt: skip
    training = (PlainTraining if plain else Run)(ours, device, asked["judge_folder"])
    lr, hr = on(device, *batch(asked["size"], asked["scale"]))
    for _ in range(2):
        training.step(lr, hr)
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def in_a_process(options: argparse.Namespace, **asked: object) -> float:
    """The same in a process of its own, which inherits no more than this small one's peak."""
    folder = options.judge_folder and str(options.judge_folder)
    asked |= {"device": str(options.device), "judge_folder": folder, "preset": options.preset}
    command = [sys.executable, __file__, "--one", json.dumps(asked)]
    if options.threads:
        command += ["--threads", str(options.threads)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    found = parser(__doc__)
    add_options(found)
    add_losses(found)
    found.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    asked = found.parse_args()
    if asked.one:
        if asked.threads:
            torch.set_num_threads(asked.threads)
        print(steps(asked.one))
        return
    options = start(found)
    size = size_of(options)
    rows = []
    for scale in options.scales:
        for backbone in options.backbones:
            for loss in options.losses:
                case = {"backbone": backbone, "scale": scale, "loss": loss, "size": size}
                peaks = {name: in_a_process(options, contender=name, **case)
                         for name in (*numerics(), PLAIN)}  # fmt: skip
                rows += [
                    [f"{backbone} x{scale}", f"{loss}, {name}", f"{peak:.0f}",
                     f"{peak / peaks[PLAIN]:.2f}"]
                    for name, peak in peaks.items()
                ]  # fmt: skip
    print(f"Peak memory of a step, {size} hr pixels, batch 1\n")
    print_table(["network", "step", "MB", "of the plain reading's"], rows)


if __name__ == "__main__":
    main()
