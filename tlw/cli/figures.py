"""Verbs that make what one looks at: pictures of networks, figures, a run's page."""

from pathlib import Path
from typing import Annotated

import typer

from tlw.cli.options import (
    Device,
    Networks,
    PairsFiles,
    Threads,
    Trusted,
    may_be_imported,
    set_threads,
)

_Pictures = Annotated[
    list[Path] | None,
    typer.Option(
        "--pictures", help="index.json of `tlw pictures`; repeatable.", show_default="none"
    ),
]
_Number = Annotated[
    int | None,
    typer.Option(min=1, max=2, help="The paper's table to show beside.", show_default="neither"),
]
_Folder = Annotated[Path, typer.Option("--output", "-o", help="The folder to write to.")]


def pictures(
    weights: Annotated[
        list[Path],
        typer.Argument(help="Weights files of one scale, each with scores.csv beside it."),
    ],
    pairs: PairsFiles,
    output: _Folder,
    image: Annotated[
        list[str] | None,
        typer.Option(
            help="Shown besides those that the rule chooses, as Set14/comic.png, or, with top and "
            "left of the part in hr pixels, Set14/comic.png@60,40; repeatable.",
            show_default="none",
        ),
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    network: Networks = None,
    trust: Trusted = None,
) -> None:
    """Makes pictures to compare: where losses differ most and least, and what each makes of it."""
    import pandas as pd

    from tlw.report.tables import read_scores
    from tlw.runtime.devices import pick_device
    from tlw.scoring.shown import write_pictures

    set_threads(threads)
    scores = pd.concat([read_scores(path.with_name("scores.csv")) for path in weights])
    index = write_pictures(
        weights,
        pairs,
        scores,
        output,
        device=str(pick_device(device)),
        named=image or (),
        networks=may_be_imported(network, trust),
    )
    print(index)  # noqa: T201


def figures(
    cells: Annotated[list[Path], typer.Argument(help="Folders of scored cells, in row order.")],
    output: _Folder,
    figure: Annotated[
        list[str] | None,
        typer.Option(help="Only this one; repeatable.", show_default="all that can be drawn"),
    ] = None,
    picture: _Pictures = None,
    number: _Number = None,
) -> None:
    """Draws figures of scored cells as PDF and PNG."""
    from tlw.report.figures.drawn import Source, draw

    for name in draw(Source(cells, picture or (), number), output, figure or ()):
        print(output / f"{name}.pdf")  # noqa: T201


def report(
    cells: Annotated[list[Path], typer.Argument(help="Folders of cells, in row order.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page, an .html file.")],
    title: Annotated[str, typer.Option(help="The page's.")],
    picture: _Pictures = None,
    figure: Annotated[
        list[Path] | None,
        typer.Option("--figures", help="Folder of `tlw figures`; repeatable.", show_default="none"),
    ] = None,
    number: _Number = None,
    note: Annotated[str, typer.Option(help="Said below the title.")] = "",
    pairs: Annotated[
        list[Path] | None,
        typer.Option(
            help="Pairs file, whose image set is told of; repeatable.", show_default="none"
        ),
    ] = None,
    registry: Annotated[
        Path | None, typer.Option(help="YAML file with image sets of your own.")
    ] = None,
) -> None:
    """Makes a run's page: claims, tables, and from each number to its pixels; one file, offline."""
    from tlw.report.page.page import Shown, write_report

    shown = Shown(cells, title, picture or (), figure or (), number, note, pairs or (), registry)
    write_report(shown, output)
    print(output)  # noqa: T201
