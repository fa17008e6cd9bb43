"""Verbs that put in place what training and scoring read: images, their pairs, judges' weights."""

from pathlib import Path
from typing import Annotated, cast

import typer

from tlw.cli.options import (
    NETS,
    PROTOCOLS,
    JudgeFolder,
    MaxPixels,
    Output,
    Registry,
    Scale,
    Threads,
)
from tlw.config.settings import JudgeNet, Use
from tlw.imaging.tiles import MAX_PIXELS


def fetch(
    image_set: Annotated[
        str, typer.Argument(help="Name of an image set that tlw knows, or that --registry has.")
    ],
    registry: Registry = None,
    folder: Annotated[Path, typer.Option(help="Gets a folder of the set's name.")] = Path(
        "resources/images"
    ),
    source: Annotated[
        Path | None, typer.Option("--from", help="Folder with images that you already have.")
    ] = None,
) -> None:
    """Puts an image set in place, every file checked."""
    from tlw.data.fetch import fetch as fetch_set
    from tlw.data.registry import known_sets
    from tlw.runtime.errors import one_of

    known = known_sets(registry)
    if image_set not in known:
        raise ValueError(f"image set: {one_of(image_set, known)}")
    fetch_set(known[image_set], folder, source=source)


def fetch_weights(
    nets: Annotated[list[str], typer.Argument(help=f"{NETS}, dists.")],
    judge_folder: JudgeFolder = None,
) -> None:
    """Puts the judge's and LPIPS' weights in place."""
    from tlw.judge.dists_weights import dists_weights
    from tlw.judge.weights import judge_weights

    for net in nets:
        if net == "dists":
            made = dists_weights(judge_folder)
        else:
            made = judge_weights(cast(JudgeNet, net), judge_folder)  # which refuses others
        print(made)  # noqa: T201


def pairs(
    images: Annotated[Path, typer.Argument(help="Folder of a fetched image set.")],
    output: Output,
    scale: Scale,
    use: Annotated[Use, typer.Option(help="How images are cropped.")],
    protocol: Annotated[str, typer.Option(help=f"{PROTOCOLS}.")] = "paper",
    max_pixels: MaxPixels = MAX_PIXELS,
    threads: Threads = None,
) -> None:
    """Builds lr-hr pairs of an image set into one HDF5 file."""
    from tlw.data.fetch import images_of, sources_of
    from tlw.data.pairs import write_pairs
    from tlw.data.protocols import protocol as protocol_named
    from tlw.imaging.image_files import folder_name

    write_pairs(
        images_of(images),
        output,
        name=folder_name(images),
        scale=scale,
        protocol=protocol_named(protocol),
        use=use,
        sources=sources_of(images),
        workers=threads,
        max_pixels=max_pixels,
    )
