"""Peak memory: of a training step, against a reference implementation, and of scoring.

Scored is an image as large as the benchmarks' largest, in tiles as `tlw evaluate` cuts it (which
leaves it whole) and in small ones. Each contender has a process of its own, whose largest resident
set counts (on a GPU, torch's largest allocation there): libraries and weights are in it, as they
are in a user's process.
"""

import argparse
import json
import resource
import subprocess
import sys

import torch
from cases import add_losses, add_options, batch, cell, on, precisions, size_of
from common import parser, print_table, start
from reference import ReferenceTraining

from tlw.data.protocols import protocol
from tlw.imaging.tiles import TILE
from tlw.networks.sr_net import build_network, super_resolve
from tlw.runtime.devices import pick_device
from tlw.scoring.scorer import Scorer
from tlw.training.trainer import Run

REFERENCE = "reference implementation"
LARGEST = 1024  # side of Urban100's largest image; Manga109's have fewer pixels
SMALL_TILE = 128


def train(asked: dict, device: torch.device) -> None:
    """Takes two steps, the second with all of Adam's state there."""
    reference = asked["contender"] == REFERENCE
    ours = cell(asked["backbone"], asked["scale"], asked["loss"], preset=asked["preset"],
                precision="float32" if reference else asked["contender"])  # fmt: skip
    training = (ReferenceTraining if reference else Run)(ours, device, asked["judge_folder"])
    lr, hr = on(device, *batch(asked["size"], asked["scale"]))
    for _ in range(2):
        training.step(lr, hr)


def score(asked: dict, device: torch.device) -> None:
    """Super-resolves and scores one image, as `tlw evaluate` does."""
    scale = asked["scale"]
    lr, hr = batch(asked["size"], scale)
    net = build_network(cell(asked["backbone"], scale, "l1").backbone, scale).to(device).eval()
    scorer = Scorer(protocol("paper"), scale, device=device, judge_folder=asked["judge_folder"])
    scorer(super_resolve(net, lr[0], tile=asked["tile"]), hr[0])


def peak(asked: dict) -> float:
    """Of one call in this process, in MB."""
    device = pick_device(asked["device"])
    (train if "contender" in asked else score)(asked, device)
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / 1e6 if sys.platform == "darwin" else largest * 1024 / 1e6


def in_a_process(options: argparse.Namespace, **asked: object) -> float:
    """The same in a process of its own, which inherits no more than this small one's peak."""
    folder = options.judge_folder and str(options.judge_folder)
    asked |= {"device": str(options.device), "judge_folder": folder, "preset": options.preset}
    command = [sys.executable, __file__, "--one", json.dumps(asked)]
    if options.threads:
        command += ["--threads", str(options.threads)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def report_training(options: argparse.Namespace) -> None:
    """Prints the table of steps."""
    size = size_of(options)
    rows = []
    for scale in options.scales:
        for backbone in options.backbones:
            for loss in options.losses:
                case = {"backbone": backbone, "scale": scale, "loss": loss, "size": size}
                peaks = {name: in_a_process(options, contender=name, **case)
                         for name in (*precisions(options.device), REFERENCE)}  # fmt: skip
                rows += [
                    [f"{backbone} x{scale}", f"{loss}, {name}", f"{each:.0f}",
                     f"{each / peaks[REFERENCE]:.2f}"]
                    for name, each in peaks.items()
                ]  # fmt: skip
    print(f"Peak memory of a step, {size} hr pixels, batch 1\n")
    print_table(["network", "step", "MB", "of the reference implementation's"], rows)


def report_scoring(options: argparse.Namespace) -> None:
    """Prints the table of scored images."""
    size = options.size or (96 if options.quick else LARGEST)
    rows = [
        [f"{backbone} x{scale}", f"{size // scale} lr pixels", *(
            f"{in_a_process(options, backbone=backbone, scale=scale, size=size, tile=tile):.0f}"
            for tile in (TILE, SMALL_TILE)
        )]
        for scale in options.scales
        for backbone in options.backbones
    ]  # fmt: skip
    print(f"Peak memory in MB, super-resolving and scoring {size} x {size} hr pixels\n")
    print_table(["network", "side", f"tiles of {TILE}", f"tiles of {SMALL_TILE}"], rows)


def main() -> None:
    found = parser(__doc__)
    add_options(found)
    add_losses(found)
    found.add_argument("--of", choices=["training", "scoring"], help="one of them (default both)")
    found.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    asked = found.parse_args()
    if asked.one:
        if asked.threads:
            torch.set_num_threads(asked.threads)
        print(peak(asked.one))
        return
    options = start(found)
    if options.of != "scoring":
        report_training(options)
    if options.of != "training":
        report_scoring(options)


if __name__ == "__main__":
    main()
