"""How long one waits before anything happens: the command `tlw`, and Snakemake's plan of a grid.

Everything is a process of its own and is compared with bare Python and with `import torch` in the
same run. The jobs' cost is what a plan of many cells takes longer than that of a few.
"""

import functools
import os
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from common import interleave, parser, print_table, start

ROOT = Path(__file__).parents[1]
BARE, TORCH, PLAN = "python -c pass", "python -c 'import torch'", "snakemake -n all"
PYTHON, SNAKEMAKE = [sys.executable], [sys.executable, "-m", "snakemake", "-n", "--cores", "1"]


def clone(folder: Path) -> Path:
    """A copy of what the workflow needs, with nothing made yet."""
    for name in ("workflow", "config", "resources"):
        ignored = shutil.ignore_patterns("images", "weights", "__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    return folder


def grid_of(cells: int, path: Path) -> Path:
    """A config of one table of so many cells, which differ in their seed."""
    config = {
        "results": f"results/{path.stem}",
        "test": ["toy-test"],
        "grids": {
            "seeds": {
                **{"title": "Seeds", "train": ["toy-train"], "recipe": "short"},
                **{"backbones": ["vdsr"], "scales": [2], "losses": ["l1"]},
                "seeds": list(range(cells)),
            }
        },
        "recipes": {"short": {"sampling": "whole", "epochs": 1}},
    }
    path.write_text(yaml.safe_dump(config))
    return path


def jobs_in(plan: str) -> int:
    """The number of jobs that a dry run names."""
    return int(re.findall(r"^total +(\d+)", plan, re.MULTILINE)[-1])


def commands_of(cells: int, here: Path) -> dict[str, list[str]]:
    """What is timed, by name, in a clone at `here`; last the plans of 1 cell and of all."""
    broken = here / "cell.json"
    broken.write_text('{"scale": 5}')
    tlw, plan = [*PYTHON, "-m", "tlw.cli"], [*SNAKEMAKE, "all", "--configfile"]
    return {
        BARE: [*PYTHON, "-c", "pass"],
        TORCH: [*PYTHON, "-c", "import torch"],
        "tlw --help": [*tlw, "--help"],
        "tlw, an error in a config": [*tlw, "train", str(broken), "--pairs", "none.h5"],
        f"{PLAN}, toy grid": [*plan, "config/toy.yaml"],
        f"{PLAN}, 1 cell": [*plan, str(grid_of(1, here / "one.yaml"))],
        f"{PLAN}, {cells} cells": [*plan, str(grid_of(cells, here / "many.yaml"))],
    }


def main() -> None:
    found = parser(__doc__, rounds=5)
    found.add_argument("--cells", type=int, help="of the large grid (default 1000, quick 20)")
    options = start(found)
    cells = options.cells or (20 if options.quick else 1000)
    if cells < 2:
        found.error(f"--cells: expected 2 or more, found {cells}")
    said: dict[str, str] = {}
    with TemporaryDirectory() as folder:
        here = clone(Path(folder))
        commands = commands_of(cells, here)

        def timed(name: str) -> None:
            said[name] = output_of(commands[name], here)

        calls = {name: functools.partial(timed, name) for name in commands}
        times = interleave(calls, rounds=options.rounds)

    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    rows = [
        [name, f"{value / medians[BARE]:.3g}", f"{value / medians[TORCH]:.3g}"]
        for name, value in medians.items()
    ]
    print_table(["process", "times bare Python", "times import torch"], rows)
    one, many = f"{PLAN}, 1 cell", f"{PLAN}, {cells} cells"
    more = jobs_in(said[many]) - jobs_in(said[one])
    per_job = (medians[many] - medians[one]) / more / medians[BARE]
    print(f"{PLAN}: {more} jobs more take {per_job:.3g} of a bare Python each")


def output_of(command: list[str], folder: Path) -> str:
    """Runs a command to its end; only the broken config may, and must, fail."""
    paths = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    if (done.returncode != 0) != ("train" in command):
        words = " ".join(command)
        raise SystemExit(f"{words}: ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    main()
