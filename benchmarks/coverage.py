"""How often the intervals of differences hold the truth, and how often marks are false.

Simulated: the difference of two losses at a seed and an image is the sum of an effect of the image
(variance 1), one of the seed (variance `ratio`) and a rest of both (variance 1/4). Effects are
normal, skewed as exponential ones are, or lognormal: now and then one is far out. Measured:
networks of one loss and twelve seeds, set against each other; their scores are in
self_comparison.csv.

    python benchmarks/coverage.py             # the tables of docs/statistics.md, within a minute
"""

import argparse
import csv
from pathlib import Path

import numpy as np

from tlw.report.intervals import interval

SEEDS = (1, 2, 3, 5)
IMAGES = (5, 14, 100)
RATIOS = (0, 0.1, 1, 10)  # variance of a seed's effect over that of an image's
SHAPES = ("normal", "skewed", "outlier")
TRIALS = 4000
SCORES = Path(__file__).with_name("self_comparison.csv")


def simulated(
    seeds: int, images: int, ratio: float, shape: str, trials: int
) -> tuple[np.ndarray, np.ndarray]:
    """Differences (seeds, images, trials) of losses that do not differ, and the seeds' effects.

    Each case has its own generator, so that any number of a table can be made again by itself.
    """
    random = np.random.default_rng([seeds, images, RATIOS.index(ratio), SHAPES.index(shape)])

    def effects(*size: int) -> np.ndarray:
        if shape == "normal":
            return random.normal(size=size)
        if shape == "skewed":
            return random.exponential(size=size) - 1
        mean, variance = np.exp(0.5), (np.e - 1) * np.e  # of a lognormal number of sigma 1
        return (random.lognormal(size=size) - mean) / np.sqrt(variance)

    of_seeds = np.sqrt(ratio) * effects(seeds, 1, trials)
    of_images = effects(1, images, trials)
    return of_seeds + of_images + random.normal(0, 0.5, (seeds, images, trials)), of_seeds


def coverage(seeds: int, images: int, ratio: float, shape: str, trials: int = TRIALS) -> float:
    """The share of 95 % intervals that hold the true mean: of one seed, that of its networks."""
    differences, of_seeds = simulated(seeds, images, ratio, shape, trials)
    low, high = interval(differences)
    truth = of_seeds[0, 0] if seeds == 1 else 0
    return float(np.mean((low <= truth) & (truth <= high)))


def marked(
    seeds: int,
    images: int,
    ratio: float,
    shape: str,
    trials: int = TRIALS,
    gain: float = 0,
) -> float:
    """The share of comparisons that get a mark where the losses differ by `gain` on average."""
    differences, _ = simulated(seeds, images, ratio, shape, trials)
    low, high = interval(differences + gain)
    return float(np.mean((low > 0) | (high < 0)))


def read_scores(path: Path) -> dict[str, np.ndarray]:
    """PSNR (seeds, images) by benchmark."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    seeds = sorted({int(row["seed"]) for row in rows})
    found = {}
    for benchmark in dict.fromkeys(row["benchmark"] for row in rows):
        of_seed = [
            [float(r["psnr_y"]) for r in rows if (r["benchmark"], r["seed"]) == (benchmark, str(s))]
            for s in seeds
        ]
        found[benchmark] = np.array(of_seed)
    return found


def marked_against_itself(psnr: np.ndarray, seeds: int, splits: int = 1000) -> float:
    """The share of splits of the networks into two sides of `seeds` that get a mark."""
    random = np.random.default_rng(seeds)
    drawn = [random.permutation(len(psnr))[: 2 * seeds] for _ in range(splits)]
    differences = np.stack([psnr[d[:seeds]] - psnr[d[seeds:]] for d in drawn], axis=-1)
    low, high = interval(differences)
    return float(np.mean((low > 0) | (high < 0)))


def _print_table(heads: list[str], rows: list[list[str]]) -> None:
    print("| " + " | ".join(heads) + " |")
    print("|" + "---|" * len(heads))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def _simulate(measure, trials, *, seeds=SEEDS, shapes=SHAPES, **options) -> None:
    heads = ["seeds", "images", *(f"{shape} {ratio:g}" for shape in shapes for ratio in RATIOS)]
    rows = []
    for count in seeds:
        for images in IMAGES:
            of_row = [
                measure(count, images, ratio, shape, trials, **options)
                for shape in shapes for ratio in RATIOS
            ]  # fmt: skip
            rows.append([str(count), str(images), *(f"{100 * share:.1f}" for share in of_row)])
    _print_table(heads, rows)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=TRIALS, help="of each number")
    trials = parser.parse_args().trials
    print(
        "Columns: the shape of the effects and the ratio of variances, seeds over images; in %.\n"
    )
    print(
        "Intervals that hold the truth (95 % are promised; with one seed, that of its networks)\n"
    )
    _simulate(coverage, trials)
    print("Marked though the losses do not differ: ▲▼ with two seeds and more, △▽ with one\n")
    _simulate(marked, trials)
    print("Marked where they differ by half an image's standard deviation\n")
    _simulate(marked, trials, seeds=SEEDS[1:], shapes=("normal",), gain=0.5)
    print("Marked though it is one loss: networks trained with L1, by seeds on each side\n")
    rows = [
        [name, str(psnr.shape[1]),
         *(f"{100 * marked_against_itself(psnr, seeds):.1f}" for seeds in SEEDS)]
        for name, psnr in read_scores(SCORES).items()
    ]  # fmt: skip
    _print_table(["benchmark", "images", *map(str, SEEDS)], rows)


if __name__ == "__main__":
    main()
