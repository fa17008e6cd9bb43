"""Verbs that score networks and images, and that set scores side by side."""

from pathlib import Path
from typing import Annotated

import typer

from tlw.cli.options import (
    PROTOCOLS,
    CellsPerGpu,
    Device,
    ExtraMetrics,
    JudgeFolder,
    MaxPixels,
    Networks,
    PairsFiles,
    Scale,
    Threads,
    Tile,
    Trusted,
    checked_metrics,
    claimed,
    may_be_imported,
    set_threads,
)
from tlw.imaging.tiles import MAX_PIXELS, TILE

SmallestDifferences = Annotated[
    tuple[float, float],
    typer.Option(help="Differences below these carry no mark: in dB, and of SSIM and LPIPS."),
]


def evaluate(
    weights: Annotated[
        list[str],
        typer.Argument(help="Weights files of one scale and protocol, or the word bicubic."),
    ],
    pairs: PairsFiles,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="CSV for each image, where one network is scored.",
            show_default="scores.csv beside each weights file; with --ensemble in CELL+",
        ),
    ] = None,
    tile: Tile = TILE,
    ensemble: Annotated[
        bool,
        typer.Option(
            "--ensemble", help="The mean over eight flips and turns, a row named with a +."
        ),
    ] = False,
    metric: ExtraMetrics = None,
    judge_folder: JudgeFolder = None,
    device: Device = "auto",
    threads: Threads = None,
    cells_per_gpu: CellsPerGpu = 1,
    network: Networks = None,
    trust: Trusted = None,
) -> None:
    """Scores trained or imported networks, or bicubic upsampling, on benchmarks.

    Several at once are faster than one by one: LPIPS looks at each reference image once for all.
    """
    if "bicubic" in weights and (len(weights) > 1 or output is None):
        raise ValueError("evaluate: bicubic is scored by itself, and into a file named by --output")
    if output is not None and len(weights) > 1:
        raise ValueError(
            f"--output: expected one weights file to score into {output}, found {len(weights)}; "
            "leave it out, and each gets a scores.csv beside it"
        )
    if ensemble and "bicubic" in weights:
        raise ValueError("--ensemble: expected networks, found bicubic, which turns change nothing")
    extra = checked_metrics(metric)
    set_threads(threads)
    from tlw.runtime.devices import pick_device
    from tlw.scoring.evaluate import evaluate_bicubic, evaluate_cells, scores_beside

    files = [Path(word) for word in weights]
    outputs = {files[0]: output} if output else scores_beside(files, ensemble=ensemble)
    with claimed(device, 1, cells_per_gpu):
        on = str(pick_device(device))
        if weights == ["bicubic"]:
            assert output is not None  # checked above
            evaluate_bicubic(pairs, output, device=on, judge_folder=judge_folder, extra=extra)
        else:
            evaluate_cells(
                outputs,
                pairs,
                device=on,
                judge_folder=judge_folder,
                tile=tile,
                networks=may_be_imported(network, trust),
                extra=extra,
                ensemble=ensemble,
            )


def score(
    sr: Annotated[Path, typer.Argument(help="Folder of images that a method made.")],
    hr: Annotated[Path, typer.Argument(help="Folder of the reference images.")],
    scale: Scale,
    protocol: Annotated[
        str,
        typer.Option(
            help=f"{PROTOCOLS}: the paper's own numbers are from sr not rounded to 8 bits."
        ),
    ] = "standard",
    name: Annotated[
        str | None, typer.Option(help="The method's, in tables.", show_default="its folder's")
    ] = None,
    suffix: Annotated[
        str,
        typer.Option(
            help="What names of sr have behind the image's, as _x4.", show_default="nothing"
        ),
    ] = "",
    hr_suffix: Annotated[
        str, typer.Option(help="The same for hr, as _HR.", show_default="nothing")
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="CSV for each image.", show_default="none"),
    ] = None,
    metric: ExtraMetrics = None,
    max_pixels: MaxPixels = MAX_PIXELS,
    judge_folder: JudgeFolder = None,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Scores images of any method against the reference images of the same names."""
    from tlw.data.protocols import protocol as protocol_named

    rules, extra = protocol_named(protocol), checked_metrics(metric)
    set_threads(threads)
    from tlw.imaging.image_files import folder_name
    from tlw.report.means import table_of
    from tlw.report.typeset import to_markdown
    from tlw.runtime.devices import pick_device
    from tlw.runtime.one_by_one import OneByOne
    from tlw.scoring.evaluate import of_row, write_scores
    from tlw.scoring.score import score_images

    work = OneByOne("scored")
    scores = score_images(
        sr,
        hr,
        scale=scale,
        protocol=rules,
        suffix=suffix,
        hr_suffix=hr_suffix,
        device=str(pick_device(device)),
        judge_folder=judge_folder,
        extra=extra,
        max_pixels=max_pixels,
        work=work,
    )
    row = of_row(scores, name or folder_name(sr), scale)
    if output is not None:
        write_scores(row, output)
    print(to_markdown(table_of(row, {}), title=f"Scores of {row['backbone'].iloc[0]}"))  # noqa: T201
    work.end(f"the mean is of the other {len(row)}")


def tables(
    cells: Annotated[list[Path], typer.Argument(help="Folders of scored cells, in row order.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Path without suffix.")],
    title: Annotated[str, typer.Option(help="The caption.")] = "Scores",
    published: Annotated[
        Path | None,
        typer.Option(help="CSV of a paper's numbers.", show_default="this paper's"),
    ] = None,
    number: Annotated[
        int | None,
        typer.Option(
            min=1, max=2, help="The paper's table to compare with.", show_default="neither"
        ),
    ] = None,
    left_out: Annotated[
        list[str] | None,
        typer.Option(
            help="Benchmark whose images are not at hand; repeatable.", show_default="none"
        ),
    ] = None,
    note: Annotated[
        str, typer.Option(help="A sentence below the table.", show_default="none")
    ] = "",
    smallest: SmallestDifferences = (0.005, 0.0005),
) -> None:
    """Writes a table of scored cells as CSV, Markdown and LaTeX, and prints it."""
    from tlw.report.statistics import Smallest
    from tlw.report.tables import PUBLISHED, write_tables

    text = write_tables(
        cells,
        output,
        title=title,
        published=published or PUBLISHED,
        number=number,
        left_out=left_out or (),
        note=note,
        smallest=Smallest(*smallest),
    )
    print(text)  # noqa: T201


def compare(
    cells: Annotated[list[Path], typer.Argument(help="Folders of scored cells.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="CSV to write, too.", show_default="none"),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            help="A loss, or a cell's folder, that all others are compared with; or the word "
            "itself: the seeds of each network with each other, where any mark is chance.",
            show_default="each weighted loss with its unweighted baseline",
        ),
    ] = None,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.999, help="Of the intervals.")] = 0.95,
    smallest: SmallestDifferences = (0.005, 0.0005),
) -> None:
    """Tells which differences between losses are significant, image by image, seed by seed."""
    from tlw.report.compare import write_comparison
    from tlw.report.statistics import Smallest

    text = write_comparison(
        cells, output, against=against, confidence=confidence, smallest=Smallest(*smallest)
    )
    print(text)  # noqa: T201


def cite(
    cells: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of trained cells.", show_default="everything is cited"),
    ] = None,
) -> None:
    """Prints a methods paragraph and BibTeX of what cells rest on: papers, networks, image sets."""
    from tlw.report.cite import cite as cited
    from tlw.report.tables import read_scores

    scored = [cell / "scores.csv" for cell in cells or () if (cell / "scores.csv").is_file()]
    benchmarks = [name for path in scored for name in read_scores(path)["benchmark"].unique()]
    print(cited(cells or (), dict.fromkeys(benchmarks)), end="")  # noqa: T201
