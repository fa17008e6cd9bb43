"""The toy grid trained in `fast` numerics and in `exact` ones: how far apart its cells end.

Runs the workflow twice, with config/toy.yaml and with the same but for the numerics; each takes as
long as `make toy`. The exit code is 1 where a cell's PSNR differs by more than the bound, 0.02 dB.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import pandas as pd
import yaml
from common import machine, print_table
from torch import device

BOUND = 0.02  # dB
ROOT = Path(__file__).parents[1]
ROW = ["backbone", "scale", "loss"]


def run(numerics: str, folder: Path, cores: int, config_file: Path) -> pd.DataFrame:
    """The scores of a config's cells in some numerics, a row for each cell."""
    config = yaml.safe_load(config_file.read_text())
    config["results"] = str(folder / numerics)
    for recipe in config["recipes"].values():
        recipe["numerics"] = numerics
    path = folder / f"{numerics}.yaml"
    path.write_text(yaml.safe_dump(config))
    words = ["snakemake", "--cores", str(cores), "--quiet", "all", "--configfile", str(path)]
    subprocess.run(words, cwd=ROOT, check=True)
    grids = folder / numerics
    scores = [path for grid in config["grids"] for path in grids.glob(f"{grid}/*/scores.csv")]
    found = [pd.read_csv(path) for path in scores]
    return pd.concat(found).groupby(ROW)[["psnr_y", "lpips_vgg"]].mean()


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    options.add_argument("--cores", type=int, default=2, help="jobs at once (default 2)")
    options.add_argument("--config", type=Path, default=ROOT / "config" / "toy.yaml",
                         help="another config (default config/toy.yaml)")  # fmt: skip
    options.add_argument("--folder", type=Path, default=ROOT / "results" / "toy-numerics",
                         help="for both runs; what is there already is not made again")  # fmt: skip
    asked = options.parse_args()
    print(machine(device("cpu")), end="\n\n", flush=True)
    asked.folder.mkdir(parents=True, exist_ok=True)
    exact, fast = (
        run(kind, asked.folder.absolute(), asked.cores, asked.config) for kind in ("exact", "fast")
    )
    change = fast - exact
    print_table(
        ["cell", "PSNR, exact", "fast - exact", "LPIPS, exact", "fast - exact"],
        [
            [f"{backbone} x{scale} {loss}", f"{exact.loc[row, 'psnr_y']:.4f}",
             f"{change.loc[row, 'psnr_y']:+.4f}", f"{exact.loc[row, 'lpips_vgg']:.4f}",
             f"{change.loc[row, 'lpips_vgg']:+.4f}"]
            for row in exact.index
            for backbone, scale, loss in [row]
        ],
    )  # fmt: skip
    largest = change["psnr_y"].abs().max()
    verdict = "within" if largest <= BOUND else "BEYOND"
    print(f"largest difference {largest:.4f} dB, {verdict} the bound of {BOUND:g} dB")
    return 0 if largest <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
