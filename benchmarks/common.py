"""What the benchmarks share: taking turns, ratios of medians, the machine, options, tables."""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from tlw.runtime.devices import pick_device
from tlw.runtime.precision import full_float32, has_bf16_units
from tlw.runtime.provenance import commit, device_name

Times = dict[str, list[float]]
UNCOUNTED = 2  # a step that is replayed is recorded in its second call
Comparison = tuple[str, str]  # a contender, and the one that it is compared with


def interleave(contenders: Mapping[str, Callable[[], object]], *, rounds: int) -> Times:
    """Seconds of each contender in each round, after two rounds that do not count.

    All take turns in this process, and each round begins with another one: what slows the machine
    for a while slows all of them. Float32 is float32 throughout, not TF32.
    """
    names = list(contenders)
    times: Times = {name: [] for name in names}
    with full_float32():
        for turn in range(UNCOUNTED + rounds):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                seconds = seconds_of(contenders[name])
                if turn >= UNCOUNTED:
                    times[name].append(seconds)
    return times


def seconds_of(call: Callable[[], object]) -> float:
    """How long a call takes, with all that it leaves to a GPU."""
    synchronize()
    start = time.perf_counter()
    call()
    synchronize()
    return time.perf_counter() - start


def synchronize() -> None:
    """Waits for the GPU, where one is used."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def ratio(times: Times, name: str, baseline: str) -> float:
    """How many times as fast `name` is as `baseline`: the ratio of their medians."""
    return statistics.median(times[baseline]) / statistics.median(times[name])


def quartiles(times: Times, name: str, baseline: str) -> tuple[float, float]:
    """The first and third quartile of that ratio, taken round by round."""
    each = [b / t for b, t in zip(times[baseline], times[name], strict=True)]
    low, high = np.quantile(each, [0.25, 0.75])
    return float(low), float(high)


def ratio_rows(times: Times, comparisons: Iterable[Comparison]) -> list[list[str]]:
    """Rows of a table: contender, what it is compared with, times as fast, quartiles."""
    rows = []
    for name, baseline in comparisons:
        low, high = quartiles(times, name, baseline)
        median = ratio(times, name, baseline)
        rows.append([name, baseline, f"{median:.3g}", f"{low:.3g} to {high:.3g}"])
    return rows


RATIO_HEADER = ["measured", "compared with", "times as fast", "quartiles"]


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a Markdown table, columns aligned, ready for benchmarks/README.md."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("| " + " | ".join(cells) + " |", flush=True)
    print()


def parser(description: str, *, rounds: int = 7) -> argparse.ArgumentParser:
    """The options that all scripts have."""
    found = argparse.ArgumentParser(
        description=description.partition("\n\n")[0], add_help=True, allow_abbrev=False
    )
    found.add_argument("--quick", action="store_true", help="small and few, to see that it works")
    found.add_argument("--rounds", type=int, help=f"that count (default {rounds}, quick 2)")
    found.add_argument("--threads", type=int, help="CPU threads (default: torch's choice)")
    found.add_argument("--device", default="cpu", help="cpu, cuda, auto (default cpu)")
    found.add_argument(
        "--judge-folder",
        type=Path,
        help="of the judge's weights (default: TLW_WEIGHTS, else the user's cache folder)",
    )
    found.set_defaults(full_rounds=rounds)
    return found


def start(found: argparse.ArgumentParser) -> argparse.Namespace:
    """Reads the command line, sets the threads and prints what the numbers were measured on."""
    options = found.parse_args()
    if options.rounds is None:
        options.rounds = 2 if options.quick else options.full_rounds
    if options.rounds < 1:
        found.error(f"--rounds: expected 1 or more, found {options.rounds}")
    if options.threads:
        torch.set_num_threads(options.threads)
    options.device = pick_device(options.device)
    print(machine(options.device), end="\n\n", flush=True)
    return options


def machine(device: torch.device) -> str:
    """CPU, cores, instruction sets, versions, threads and GPU, and how busy the machine is."""
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else "not used"
    return "\n".join(
        [
            f"{device_name('cpu')}; {cores()} of {os.cpu_count()} cores may be used",
            f"instruction sets, as torch reports them: {', '.join(instruction_sets())}",
            f"torch {torch.__version__}, Python {platform.python_version()}, "
            f"tlw at commit {commit() or 'unknown'}",
            f"GPU: {gpu}; load average before: {load}",
        ]
    )


def instruction_sets() -> list[str]:
    """What torch's kernels may use: its own name of the CPU's level, and bf16 units."""
    units = ["units for bfloat16"] if has_bf16_units("cpu") else []
    return [torch.backends.cpu.get_cpu_capability(), *units]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
