"""Images a second of scoring, against LPIPS that sends both images through VGG for each cell.

PSNR and LPIPS of protocol `paper` on a benchmark, sr being there already: one cell, and several
cells together.
"""

import argparse
import statistics
from collections.abc import Callable

import torch
from cases import PHOTOGRAPHS, batch
from common import RATIO_HEADER, interleave, parser, print_table, ratio_rows, start
from reference import ReferenceLPIPS
from torch import Tensor

from tlw.data.protocols import protocol
from tlw.scoring.metrics import psnr_y
from tlw.scoring.scorer import Scorer

Scores = list[dict[str, float]]


def ours(cells: list[list[Tensor]], references: list[Tensor], scorer: Scorer) -> Scores:
    """Scores of each cell's sr images, cell by cell, the judge looking at each hr once."""
    of_images = []
    for sr_images, hr in zip(zip(*cells, strict=True), references, strict=True):
        score = scorer.against(hr)
        of_images.append([score(sr) for sr in sr_images])
    return [of_cell for scores in zip(*of_images, strict=True) for of_cell in scores]


@torch.no_grad()
def plainly(cells: list[list[Tensor]], references: list[Tensor], lpips: ReferenceLPIPS) -> Scores:
    """The same in float32 and NCHW, two passes through VGG for every image of every cell."""
    scores = []
    device = lpips.shift.device
    for images in cells:
        for sr, hr in zip(images, references, strict=True):
            sr, hr = sr.clamp(0, 1)[None], hr[None]
            distance = lpips(sr.to(device) * 2 - 1, hr.to(device) * 2 - 1)
            scores.append({"psnr_y": float(psnr_y(sr, hr)), "lpips_vgg": float(distance)})
    return scores


def check(one: Scores, other: Scores) -> None:
    """Stops where two ways of scoring do not give the same."""
    for mine, plain in zip(one, other, strict=True):
        for metric, value in plain.items():
            if abs(mine[metric] - value) > 1e-4 * abs(value):
                raise SystemExit(f"{metric}: {mine[metric]} and {value} are not the same score")


def main() -> None:
    found = parser(__doc__, rounds=5)
    found.add_argument("--size", type=int, help="side in hr pixels (default 336, quick 96)")
    found.add_argument("--images", type=int, help="of the benchmark (default 6, quick 2)")
    found.add_argument("--cells", type=int, help="scored on it (default 4, quick 2)")
    options = start(found)
    size = options.size or (96 if options.quick else 336)
    count = options.images or (2 if options.quick else 6)
    several = options.cells or (2 if options.quick else 4)
    cells, references = made_up(several, count, size)

    scorer = Scorer(protocol("paper"), 2, device=options.device, judge_folder=options.judge_folder)
    lpips = ReferenceLPIPS(options.judge_folder, calibrated=True, bgr=True).to(options.device)
    check(ours(cells, references, scorer), plainly(cells, references, lpips))
    contenders: dict[str, Callable[[], Scores]] = {}
    for name, some in (("one cell", cells[:1]), (f"{several} cells", cells)):
        contenders[f"{name}, ours"] = lambda some=some: ours(some, references, scorer)
        contenders[f"{name}, plain"] = lambda some=some: plainly(some, references, lpips)
    report(options, contenders, {"one cell": count, f"{several} cells": several * count}, size)


def made_up(cells: int, images: int, size: int) -> tuple[list[list[Tensor]], list[Tensor]]:
    """Photographs, and for each cell bicubic sr of them with some noise of its own."""
    torch.manual_seed(0)
    pairs = [batch(size, 2, name=PHOTOGRAPHS[i % len(PHOTOGRAPHS)]) for i in range(images)]
    sr = [protocol("paper").upsample_bicubic(lr, 2)[0] for lr, _ in pairs]
    made = [[image + 0.01 * torch.randn_like(image) for image in sr] for _ in range(cells)]
    return made, [hr[0] for _, hr in pairs]


def report(
    options: argparse.Namespace, contenders: dict[str, Callable], scored: dict[str, int], size: int
) -> None:
    """Times the contenders, which score `scored` images each, and prints the two tables."""
    times = interleave(contenders, rounds=options.rounds)
    print(f"Images of {size} x {size}, PSNR and LPIPS-vgg\n")
    print_table(
        RATIO_HEADER, ratio_rows(times, [(f"{name}, ours", f"{name}, plain") for name in scored])
    )
    speeds = {
        name: scored[name.rpartition(",")[0]] / statistics.median(times[name]) for name in times
    }
    print_table(["measured", "images a second"], [[n, f"{v:.3g}"] for n, v in speeds.items()])


if __name__ == "__main__":
    main()
