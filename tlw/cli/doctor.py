"""What this machine has and what it lacks, a line for each thing that a run needs.

Nothing here names a folder, a user or a host, so that the answer may be given to anybody.
"""

import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

ROOM_GB = 20  # of images, pairs and results of the paper's grid


class Check(NamedTuple):
    """One line: what was looked at, whether it will do, what was found, and what to do else."""

    name: str
    ok: bool
    found: str
    advice: str = ""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="For programs, and for issues.")] = False,
    registry: Annotated[Path, typer.Option(help="The registry of image sets.")] = Path(
        "resources/datasets.yaml"
    ),
    images: Annotated[Path, typer.Option(help="Where image sets are.")] = Path("resources/images"),
    online: Annotated[bool, typer.Option(help="Asks the sources of images, too.")] = False,
) -> None:
    """Looks whether this machine has what tlw needs; exit code 1 where something is not ok."""
    checks = [
        *_python(), *_devices(), *_workflow(), *_weights(), *_disk(), *_sets(registry, images),
        *(_sources(registry) if online else []),
    ]  # fmt: skip
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
    yield Check("Python", sys.version_info >= (3, 11), found, "tlw needs 3.11 or newer")
    yield Check("tlw", True, tlw.__version__)
    command = shutil.which("tlw")
    mine = Path(sys.executable).parent.resolve()
    same = command is not None and Path(command).parent.resolve() == mine
    where = "none" if command is None else "of this Python" if same else "of another Python"
    yield Check("command tlw on PATH", same, where, "activate the environment that tlw is in")
    for name in ("torch", "numpy", "pillow", "h5py", "safetensors", "scikit-image"):
        yield _package(name, "pip install it, at the version that constraints.txt has")


def _devices() -> Iterator[Check]:
    import torch

    from tlw.runtime.precision import has_bf16_units

    cpu = f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
    units = "with" if has_bf16_units("cpu") else "without"
    yield Check("CPU", True, f"{cpu}, {units} units for bfloat16")
    if not torch.cuda.is_available():
        built = torch.version.cuda or "none"
        yield Check("GPU", True, f"none that torch sees (built for CUDA: {built})")
        return
    for index in range(torch.cuda.device_count()):
        name, memory = torch.cuda.get_device_name(index), torch.cuda.mem_get_info(index)[1]
        yield Check(f"GPU {index}", True, f"{name}, {memory / 1e9:.0f} GB, CUDA {torch.version.cuda}")


def _workflow() -> Iterator[Check]:
    advice = "pip install 'tlw[workflow]', if you want the grid and not the losses alone"
    for name in ("snakemake", "snakemake-executor-plugin-slurm"):
        yield _package(name, advice)


def _package(name: str, advice: str) -> Check:
    try:
        return Check(name, True, version(name))
    except PackageNotFoundError:
        return Check(name, False, "not installed", advice)


def _weights() -> Iterator[Check]:
    from tlw.judge.weights import weights_at_hand

    for net in ("vgg", "alex"):
        found = weights_at_hand(net)
        told = "at hand" if found else "not at hand"
        advice = f"`tlw fetch-weights {net}` fetches them; a training does so by itself"
        yield Check(f"weights of LPIPS {net}", found, told, advice)


def _disk() -> Iterator[Check]:
    free = shutil.disk_usage(os.curdir).free / 1e9
    advice = f"the paper's grid takes about {ROOM_GB} GB"
    yield Check("disk space here", free >= ROOM_GB, f"{free:.0f} GB free", advice)


def _sets(registry: Path, folder: Path) -> Iterator[Check]:
    from tlw.data.fetch import images_of, load_registry

    if not registry.exists():
        yield Check("image sets", True, "no registry here: start it in the repository's folder")
        return
    for name in load_registry(registry):
        yield Check(f"image set {name}", True, _told(lambda name=name: images_of(folder / name)))


def _told(images: Callable[[], list[Path]]) -> str:
    try:
        return f"{len(images())} images"
    except ValueError:
        return "not fetched yet"


def _sources(registry: Path) -> Iterator[Check]:
    import requests

    from tlw.data.fetch import load_registry

    for name, image_set in load_registry(registry).items():
        for source in image_set.sources:
            urls = getattr(source, "urls", ())
            if not urls:
                continue
            first = image_set.files[0].file if source.kind == "files" else None
            found = []
            for url in source.urls_of(first) if first else urls:
                try:
                    found.append(requests.head(url, timeout=10, allow_redirects=True).status_code)
                except requests.RequestException as error:
                    found.append(type(error).__name__)
            told = ", ".join(map(str, found))
            advice = f"take another network, or `tlw fetch {name} --from FOLDER`"
            yield Check(f"sources of {name}", 200 in found, told, advice)
