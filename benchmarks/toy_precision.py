"""The toy grid trained in `fast` precision and in `exact` ones: how far apart its cells end.

Runs the workflow three times, each as long as `make toy`: with config/toy.yaml, with the same but
for the precision, and with the same but for twice the threads of a job. Threads change nothing but
the order of sums, so the third says how far apart rounding alone drives a cell. The exit code is 1
where a cell's PSNR in `fast` differs by more than the bound, 0.02 dB.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import pandas as pd
import yaml
from common import machine, print_table
from torch import device

from tlw.config.config import Config

BOUND = 0.02  # dB
ROOT = Path(__file__).parents[1]
ROW = ["backbone", "scale", "loss"]
METRICS = {"PSNR": "psnr_y", "LPIPS": "lpips_vgg"}
# The precision of each run, and by how much its jobs have more threads.
RUNS = {"float32": ("float32", 1), "more threads": ("float32", 2), "bf16-mixed": ("bf16-mixed", 1)}


def run(name: str, folder: Path, cores: int, config_file: Path) -> pd.DataFrame:
    """The scores of a config's cells in one of the runs, a row for each cell."""
    precision, more = RUNS[name]
    config = yaml.safe_load(config_file.read_text())
    grids = folder / name.replace(" ", "-")
    config["results"] = str(grids)
    config["threads"] = more * config.get("threads", Config.model_fields["threads"].default)
    for recipe in config["recipes"].values():
        recipe["precision"] = precision
    path = grids.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(config))
    cores = max(cores, config["threads"])  # else Snakemake would give a job fewer threads
    words = ["snakemake", "--cores", str(cores), "--quiet", "all", "--configfile", str(path)]
    subprocess.run(words, cwd=ROOT, check=True)
    scores = [path for grid in config["grids"] for path in grids.glob(f"{grid}/*/scores.csv")]
    found = [pd.read_csv(path) for path in scores]
    return pd.concat(found).groupby(ROW)[list(METRICS.values())].mean()


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    options.add_argument("--cores", type=int, default=2, help="jobs at once (default 2)")
    options.add_argument("--config", type=Path, default=ROOT / "config" / "toy.yaml",
                         help="another config (default config/toy.yaml)")  # fmt: skip
    options.add_argument("--folder", type=Path, default=ROOT / "results" / "toy-precision",
                         help="for all runs; what is there already is not made again")  # fmt: skip
    asked = options.parse_args()
    print(machine(device("cpu")), end="\n\n", flush=True)
    asked.folder.mkdir(parents=True, exist_ok=True)
    folder = asked.folder.absolute()
    exact, threads, fast = (run(name, folder, asked.cores, asked.config) for name in RUNS)
    header, columns = ["cell"], []
    for metric, key in METRICS.items():
        header += [f"{metric}, exact", "more threads", "bf16-mixed"]
        changes = [(other - exact)[key].map("{:+.4f}".format) for other in (threads, fast)]
        columns += [exact[key].map("{:.4f}".format), *changes]
    names = [f"{backbone} x{scale} {loss}" for backbone, scale, loss in exact.index]
    print_table(header, [list(row) for row in zip(names, *columns, strict=True)])
    print("(more threads, fast: the difference from exact)\n")
    largest = {}
    for name, other in (("more threads", threads), ("bf16-mixed", fast)):
        change = (other - exact)["psnr_y"].abs()
        largest[name] = change.max()
        verdict = "within" if largest[name] <= BOUND else "BEYOND"
        print(f"{name}: largest difference {largest[name]:.4f} dB, median {change.median():.4f}: "
              f"{verdict} the bound of {BOUND:g} dB")  # fmt: skip
    return 0 if largest["bf16-mixed"] <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
