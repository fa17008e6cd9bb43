"""What this machine has and what it lacks, a line for each thing that a run needs.

Nothing here names a folder, a user or a host, so that the answer may be given to anybody.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, get_args

import typer

from tlw.cli.options import JudgeFolder, Registry

if TYPE_CHECKING:
    from tlw.data.registry import ImageSet

ROOM_GB = 20  # of images, pairs and results of the paper's grid
EXTRAS = {
    "tensorboard": "train",
    "snakemake": "workflow",
    "snakemake-executor-plugin-slurm": "workflow",
    "spandrel": "import",
    "onnx": "export",
}


class Check(NamedTuple):
    """One line: what was looked at, whether it will do, what was found, and what to do else."""

    name: str
    ok: bool
    found: str
    advice: str = ""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="For programs, and for issues.")] = False,
    registry: Registry = None,
    images: Annotated[Path, typer.Option(help="Where image sets are.")] = Path("resources/images"),
    judge_folder: JudgeFolder = None,
    online: Annotated[
        bool, typer.Option("--online", help="Asks the sources of images, too.")
    ] = False,
) -> None:
    """Looks whether this machine has what tlw needs; exit code 1 where something is not ok."""
    from tlw.data.registry import known_sets

    sets = known_sets(registry)
    checks = [
        *_python(), *_devices(), *_extras(), *_weights(judge_folder), *_disk(),
        *(_images(image_set, images) for image_set in sets.values()),
    ]  # fmt: skip
    if online:
        checks += [check for image_set in sets.values() for check in _sources(image_set)]
    if as_json:
        print(json.dumps([check._asdict() for check in checks], indent=2))  # noqa: T201
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            advice = f": {check.advice}" if check.advice and not check.ok else ""
            mark = "ok    " if check.ok else "not ok"
            print(f"{mark}  {check.name:{width}}  {check.found}{advice}")  # noqa: T201
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


def _python() -> Iterator[Check]:
    import tlw

    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Check("Python", sys.version_info >= (3, 11, 4), found, "tlw needs 3.11.4 or newer")
    yield Check("tlw", True, tlw.__version__)
    command = shutil.which("tlw")
    mine = Path(sys.executable).parent.resolve()
    same = command is not None and Path(command).parent.resolve() == mine
    where = "none" if command is None else "of this Python" if same else "of another Python"
    yield Check("command tlw on PATH", same, where, "activate the environment that tlw is in")
    for name in ("torch", "numpy", "pillow", "h5py", "safetensors", "scikit-image"):
        there = _version(name)
        advice = "pip install it, at the version that constraints.txt has"
        yield Check(name, there is not None, there or "not installed", advice)


def _extras() -> Iterator[Check]:
    for name, extra in EXTRAS.items():
        found = f"not installed; who needs it: pip install 'tlw[{extra}]'"
        yield Check(name, True, _version(name) or found)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _devices() -> Iterator[Check]:
    import torch

    from tlw.runtime.precision import has_bf16_units

    cpu = f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
    units = "with" if has_bf16_units("cpu") else "without"
    yield Check("CPU", True, f"{cpu}, {units} units for bfloat16")
    driver, built = _driver(), torch.version.cuda or "none"
    count = torch.cuda.device_count()
    if count == 0:
        found = f"none that torch sees (built for CUDA: {built}; driver: {driver or 'none'})"
        advice = "install a torch whose CUDA this driver has, see pytorch.org"
        yield Check("GPU", driver is None, found, advice)
    for index in range(count):
        name, memory = torch.cuda.get_device_name(index), torch.cuda.mem_get_info(index)[1]
        found = f"{name}, {memory / 1e9:.0f} GB, CUDA {built}, driver {driver or 'not told'}"
        yield Check(f"GPU {index}", True, found)


def _driver() -> str | None:
    """The version of NVIDIA's driver, where it says that there is a GPU."""
    words = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.split()
    return lines[0] if done.returncode == 0 and lines else None


def _weights(folder: Path | None) -> Iterator[Check]:
    from tlw.config.settings import JudgeNet
    from tlw.judge.weights import weights_at_hand

    for net in get_args(JudgeNet):
        found = weights_at_hand(net, folder)
        told = "at hand" if found else "not at hand"
        advice = f"`tlw fetch-weights {net}` fetches them; what needs them does so by itself"
        yield Check(f"weights of LPIPS {net}", found, told, advice)


def _disk() -> Iterator[Check]:
    free = shutil.disk_usage(os.curdir).free / 1e9
    advice = f"the paper's grid takes about {ROOM_GB} GB"
    yield Check("disk space here", free >= ROOM_GB, f"{free:.0f} GB free", advice)


def _images(image_set: "ImageSet", folder: Path) -> Check:
    from tlw.data.fetch import images_of
    from tlw.data.registry import empty

    name, home = f"image set {image_set.name}", folder / image_set.name
    try:
        if empty(home):
            how = "to be got by hand" if image_set.by_hand else "not fetched yet"
            return Check(name, True, how)
        found = len(images_of(home))
    except (ValueError, OSError):
        advice = f"`tlw fetch {image_set.name}` completes it, or says what is wrong"
        return Check(name, False, "incomplete", advice)
    return Check(name, True, f"{found} images")


def _sources(image_set: "ImageSet") -> Iterator[Check]:
    import requests

    for source in image_set.sources:
        urls = getattr(source, "urls", ())
        if not urls:
            continue
        found: list[int | str] = []
        for url in source.urls_of(image_set.files[0].file) if source.kind == "files" else urls:
            try:
                found.append(requests.head(url, timeout=10, allow_redirects=True).status_code)
            except requests.RequestException as error:
                found.append(type(error).__name__)
        told = ", ".join(map(str, found))
        advice = f"take another network, or `tlw fetch {image_set.name} --from FOLDER`"
        yield Check(f"sources of {image_set.name}", 200 in found, told, advice)
