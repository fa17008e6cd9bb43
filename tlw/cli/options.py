"""What several verbs take, and what is done about the device and the threads they are given."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, get_args

import typer

from tlw.config.settings import SCALES, ExtraMetric, JudgeNet, ProtocolName

NETS = ", ".join(get_args(JudgeNet))
PROTOCOLS = " or ".join(get_args(ProtocolName))
JudgeFolder = Annotated[
    Path | None,
    typer.Option(
        "--judge-folder",
        envvar="TLW_WEIGHTS",
        help="Folder of the judge's and LPIPS' weights, fetched into it when missing.",
        show_default="the user's cache folder",
    ),
]
Registry = Annotated[
    Path | None,
    typer.Option(
        help="Registry file with image sets of yours, besides those that tlw knows.",
        show_default="none",
    ),
]
Networks = Annotated[
    list[str] | None,
    typer.Option(
        "--network",
        help="Class of yours that a weights file may name, package.module:Class; it is imported. "
        "Repeatable.",
        show_default="none",
    ),
]
Trusted = Annotated[
    list[Path] | None,
    typer.Option(
        "--trust",
        help="Weights file whose own class may be imported, whatever it is: this runs its code. "
        "Repeatable.",
        show_default="none",
    ),
]
Scale = Annotated[
    int,
    typer.Option(help=", ".join(map(str, SCALES)) + ".", min=min(SCALES), max=max(SCALES)),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, or auto: a GPU if there is one.")]
CellsPerGpu = Annotated[
    int, typer.Option(help="Jobs that may have a GPU at the same time, if all say so.", min=1)
]
Threads = Annotated[int | None, typer.Option(help="CPU threads.", min=1, show_default="all")]
PairsFiles = Annotated[list[Path], typer.Option("--pairs", help="Pairs file; repeatable.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="The file to write.")]
Tile = Annotated[
    int,
    typer.Option(
        min=0,
        help="An image of more lr pixels than a tile of this side goes through the network in "
        "such tiles; 0: never. Memory grows with its square: 512 take 4 GB at x4.",
    ),
]
MaxPixels = Annotated[
    int, typer.Option(min=1, help="An image file of more pixels is refused before it is unpacked.")
]
ExtraMetrics = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        help=f"A column beside the protocol's: {', '.join(get_args(ExtraMetric))}; repeatable.",
        show_default="none",
    ),
]


def checked_metrics(metrics: list[str] | None) -> list[str]:
    """The extra metrics; ValueError for one that is not known."""
    from tlw.runtime.errors import one_of
    from tlw.scoring.columns import EXTRA

    for metric in metrics or []:
        if metric not in EXTRA:
            raise ValueError(f"--metric: {one_of(metric, EXTRA)}")
    return metrics or []


def may_be_imported(networks: list[str] | None, trusted: list[Path] | None) -> set[str]:
    """The import paths of networks that a user has named, or trusted a file to name."""
    from tlw.networks.sr_net import network_named_in

    return {*(networks or ()), *map(network_named_in, trusted or ())}


def claimed(device: str, count: int, share: int) -> AbstractContextManager[list[int]]:
    """GPUs of its own for a job, unless its device has a number, or who started it chose them."""
    from tlw.runtime import devices

    if device not in ("auto", "cuda") or devices.ranks() > 1:
        return nullcontext([])
    return devices.claimed(count, share=share)


def set_threads(threads: int | None) -> None:
    """Gives torch so many threads; None leaves the choice to it."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
