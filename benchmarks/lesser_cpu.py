"""A step of the toy's weighted cell on this CPU, and as on one that has AVX2 alone.

Two environment variables forbid torch and oneDNN the newer instructions, which stands in for such a
machine. Processes of either kind take turns. The exit code is 1 where the lesser CPU needs more
than twice the time, as it would if a way of computing were tuned to one kind of processor; and
where oneDNN does not say that the variables took.
"""

import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import torch
import yaml
from common import parser, seconds_of, start

from tlw.config.config import Config
from tlw.training.trainer import Run

AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
MOST = 2.0
STEPS = 8
CELL = "edsr_x2_l1-tlw_seed0"


def step_seconds(judge_folder: Path | None) -> float:
    """The median time of a step on one crop, after two that do not count."""
    config = yaml.safe_load(Path("config/toy.yaml").read_text(encoding="utf-8"))
    [cell] = [c for c in Config.parse(config, "toy").cells("table1") if c.name == CELL]
    run, size = Run(cell, torch.device("cpu"), judge_folder), cell.recipe.size
    lr, hr = torch.rand(1, 3, size // cell.scale, size // cell.scale), torch.rand(1, 3, size, size)
    return median([seconds_of(lambda: run.step(lr, hr)) for _ in range(STEPS + 2)][2:])


def in_a_process(**limits: str) -> tuple[float, str]:
    """The time in a process of its own, and the instruction set that oneDNN says it uses."""
    words = [sys.executable, __file__, "--one", *sys.argv[1:]]
    done = subprocess.run(
        words, env=os.environ | {"ONEDNN_VERBOSE": "1"} | limits, stdout=subprocess.PIPE, text=True,
        check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    [isa] = {line.partition("isa:")[2] for line in lines if "info,cpu,isa:" in line}
    return float(lines[-1]), isa


def main() -> int:
    found = parser(__doc__, rounds=3)
    found.add_argument("--one", action="store_true", help="prints one time, in seconds")
    if "--one" in sys.argv:
        options = found.parse_args()
        torch.set_num_threads(options.threads or 1)
        print(step_seconds(options.judge_folder))
        return 0
    options = start(found)
    usual, lesser, names = [], [], set()
    for _ in range(options.rounds):
        for times, limits in ((usual, {}), (lesser, AVX2)):
            seconds, isa = in_a_process(**limits)
            times.append(seconds)
            names.add(f"{isa} (limited)" if limits else isa)
    ratio = median(lesser) / median(usual)
    print(f"{CELL}, a step with AVX2 alone: {ratio:.2f} times as long; oneDNN used {sorted(names)}")
    took = all("AVX2" in name and "512" not in name for name in names if "limited" in name)
    if not took:
        print("the limit did not take: oneDNN names another instruction set than AVX2")
    return 0 if took and ratio <= MOST else 1


if __name__ == "__main__":
    sys.exit(main())
