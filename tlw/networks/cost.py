"""What a network costs: its size, and its operations, time and memory for one image.

Operations are of an output of 1280 x 720, as the NTIRE challenges count; torch counts them, in
convolutions and matrix products. Time and memory are measured on a device, in float32 and of whole
images, in a process of their own.
"""

import json
import math
import os
import statistics
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from tlw.backbones import count_parameters
from tlw.networks.sr_net import SRNet, load_network
from tlw.runtime.errors import at
from tlw.runtime.files import written_aside
from tlw.runtime.precision import full_float32
from tlw.runtime.provenance import device_name, versions

OUTPUT = (720, 1280)  # height and width, in sr pixels
FILE = "cost.json"


def costs(
    weights: Sequence[Path],
    *,
    device: str,
    size: tuple[int, int] = OUTPUT,
    rounds: int = 3,
    threads: int | None = None,
    networks: Collection[str] = (),
) -> dict[Path, dict[str, Any]]:
    """Measures networks one after the other, each into a `cost.json` beside its weights.

    What is there of other devices stays.

    Args:
        size: height and width of sr for time and memory; rounded up to whole lr pixels.
        rounds: passes that are timed, after one that is not; their median counts.
        networks: classes from elsewhere that the files may name, see `load_network`.

    Returns:
        What stands in each file: network, scale, parameters, multiply_adds, output (height and
        width of what these are for), and `devices`: by name output, seconds, peak_bytes (what one
        pass takes beyond the weights; None where the system does not tell), rounds, versions.

    Raises:
        ValueError: for two weights in one folder, and for files that are no network.
    """
    folders: dict[Path, Path] = {}
    for path in weights:
        first = folders.setdefault(path.parent.resolve(), path)
        if first != path:
            raise ValueError(
                f"{first} and {path} would both be written to {path.with_name(FILE)}; put them "
                "into folders of their own"
            )
    found = {}
    for path in weights:
        net, cell = load_network(path, networks=networks)
        target = path.with_name(FILE)
        content: dict[str, Any] = {
            "network": cell.backbone_name,
            "scale": cell.scale,
            "parameters": count_parameters(net),
            "multiply_adds": multiply_adds(net, cell.scale),
            "output": list(_output(OUTPUT, cell.scale)),
            "devices": _devices(target),
        }
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
            job = alone.submit(_measure, path, device, size, rounds, threads, networks)
            measured = job.result()
        content["devices"][measured.pop("device")] = measured
        with written_aside(target) as aside:
            aside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        found[path] = content
    return found


def multiply_adds(net: SRNet, scale: int, size: tuple[int, int] = OUTPUT) -> int:
    """Multiply-adds of one image whose sr is as large as `size`, or a little larger.

    Nothing is computed, so it takes no memory either.
    """
    shapes = deepcopy(net).to("meta").eval()
    height, width = _input(size, scale)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shapes(torch.empty(1, 3, height, width, device="meta"))
    return counter.get_total_flops() // 2


def _measure(
    path: Path,
    device: str,
    size: tuple[int, int],
    rounds: int,
    threads: int | None,
    networks: Collection[str],
) -> dict[str, Any]:
    """Time and memory of one image, in a fresh process."""
    if threads is not None:
        torch.set_num_threads(threads)
    net, cell = load_network(path, networks=networks)
    net.to(device)
    lr = torch.rand(1, 3, *_input(size, cell.scale), device=device)
    with torch.inference_mode(), full_float32():
        peak = _peak(net, lr)
        seconds = [_seconds(net, lr) for _ in range(rounds)]
    return {
        "device": device_name(device),
        "output": list(_output(size, cell.scale)),
        "seconds": statistics.median(seconds),
        "peak_bytes": peak,
        "rounds": rounds,
        "versions": versions(),
    }


def _seconds(net: SRNet, lr: torch.Tensor) -> float:
    _wait(lr)
    start = time.perf_counter()
    net(lr)
    _wait(lr)
    return time.perf_counter() - start


def _wait(lr: torch.Tensor) -> None:
    if lr.device.type == "cuda":
        torch.cuda.synchronize(lr.device)


def _peak(net: SRNet, lr: torch.Tensor) -> int | None:
    """Bytes that the first pass takes at its largest, beyond what is there before it."""
    if lr.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(lr.device)
        before = torch.cuda.memory_allocated(lr.device)
        net(lr)
        return torch.cuda.max_memory_allocated(lr.device) - before
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not os.access(clear, os.W_OK):  # Linux alone counts anew
        net(lr)
        return None
    clear.write_text("5")  # the peak is from now on
    before = _kilobytes(status, "VmRSS")
    net(lr)
    return 1024 * (_kilobytes(status, "VmHWM") - before)


def _kilobytes(status: Path, key: str) -> int:
    [line] = [line for line in status.read_text().splitlines() if line.startswith(f"{key}:")]
    return int(line.split()[1])


def _input(size: tuple[int, int], scale: int) -> tuple[int, int]:
    height, width = (math.ceil(side / scale) for side in size)
    return height, width


def _output(size: tuple[int, int], scale: int) -> tuple[int, int]:
    height, width = (scale * side for side in _input(size, scale))
    return height, width


def _devices(target: Path) -> dict[str, Any]:
    """What was measured before; a ValueError for a file of another kind."""
    if not target.exists():
        return {}
    with at(str(target)):
        try:
            return dict(json.loads(target.read_text(encoding="utf-8"))["devices"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"expected what `tlw cost` writes, found another file ({error!r}); move it away"
            ) from None
