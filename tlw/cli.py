"""The command `tlw`: one verb for each stage of the workflow. Says no science of its own.

What a verb needs is imported inside it, so that help and mistakes come before torch does.
"""

import logging
import signal
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Literal

import typer

from tlw.tiles import OVERLAP, TILE

log = logging.getLogger("tlw")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Trainable Loss Weights in super-resolution: the stages of the workflow, one by one.",
)

JudgeFolder = Annotated[
    Path | None,
    typer.Option(
        "--judge-folder",
        envvar="TLW_WEIGHTS",
        help="Folder of the judge's and LPIPS' weights, fetched into it when missing.",
        show_default="the user's cache folder",
    ),
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


@app.callback()
def _main(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Warnings and errors only.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Errors with their traceback.")] = False,
) -> None:
    level = logging.WARNING if quiet else logging.INFO
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)
    log.setLevel(logging.DEBUG if debug else logging.NOTSET)


@app.command()
def fetch(
    image_set: Annotated[str, typer.Argument(help="Name of an image set in the registry.")],
    registry: Annotated[Path, typer.Option(help="The registry of image sets.")] = Path(
        "resources/datasets.yaml"
    ),
    folder: Annotated[Path, typer.Option(help="Gets a folder of the set's name.")] = Path(
        "resources/images"
    ),
    source: Annotated[
        Path | None, typer.Option("--from", help="Folder with images that you already have.")
    ] = None,
) -> None:
    """Puts an image set in place, every file checked."""
    from tlw.datasets import fetch as fetch_set
    from tlw.datasets import load_registry
    from tlw.schema import one_of

    known = load_registry(registry)
    if image_set not in known:
        raise ValueError(f"{registry}: {one_of(image_set, known)}")
    fetch_set(known[image_set], folder, source=source)


@app.command("fetch-weights")
def fetch_weights(
    nets: Annotated[list[str], typer.Argument(help="vgg, alex.")], judge_folder: JudgeFolder = None
) -> None:
    """Puts the judge's and LPIPS' weights in place."""
    from tlw.weights import judge_weights

    for net in nets:
        print(judge_weights(net, judge_folder))  # noqa: T201


@app.command()
def pairs(
    images: Annotated[Path, typer.Argument(help="Folder of a fetched image set.")],
    output: Output,
    scale: Annotated[int, typer.Option(help="2, 3 or 4.", min=2, max=4)],
    use: Annotated[Literal["train", "test"], typer.Option(help="How images are cropped.")],
    protocol: Annotated[str, typer.Option(help="paper or standard.")] = "paper",
    threads: Threads = None,
) -> None:
    """Builds lr-hr pairs of an image set into one HDF5 file."""
    from tlw.datasets import images_of
    from tlw.pairs import write_pairs
    from tlw.protocols import protocol as protocol_named

    write_pairs(
        images_of(images),
        output,
        name=images.absolute().name,  # also of "."
        scale=scale,
        protocol=protocol_named(protocol),
        use=use,
        workers=threads,
    )


@app.command()
def cell(
    content: Annotated[str, typer.Argument(help="The cell's resolved config, as JSON.")],
    output: Output,
) -> None:
    """Checks a cell's resolved config and writes it to a file, for `train` to read."""
    import json

    from tlw.config import Cell
    from tlw.files import written_aside

    try:
        parsed = Cell.parse(json.loads(content), "cell")
    except json.JSONDecodeError as error:
        raise ValueError(f"cell: expected JSON, found {content[:80]!r}: {error}") from None
    with written_aside(output) as aside:
        aside.write_text(parsed.model_dump_json(indent=2) + "\n")


@app.command()
def train(
    cell: Annotated[Path, typer.Argument(help="The cell's config, cell.json.")],
    pairs: PairsFiles,
    folder: Annotated[
        Path | None, typer.Option(help="Gets the results.", show_default="the config's")
    ] = None,
    judge_folder: JudgeFolder = None,
    device: Device = "auto",
    threads: Threads = None,
    workers: Annotated[int, typer.Option(help="Processes that read images ahead.", min=0)] = 0,
    checkpoint_seconds: Annotated[float, typer.Option(help="Between checkpoints.", min=0)] = 300,
    gpus: Annotated[int, typer.Option(help="Processes that share each batch.", min=1)] = 1,
    cells_per_gpu: CellsPerGpu = 1,
    patience: Annotated[
        float, typer.Option(help="Seconds to wait for another training in the folder.", min=0)
    ] = 150,
) -> None:
    """Trains a cell, or goes on with it from its last checkpoint."""
    from tlw import launch
    from tlw.config import read_cell

    settings = read_cell(cell)  # before torch is imported
    settings.recipe.check_processes(gpus)
    with _claimed(device, gpus, cells_per_gpu) as locks:
        if gpus > 1 and launch.processes() == 1:
            sys.exit(launch.launch(sys.argv[1:], gpus, keep_open=locks))
        _set_threads(threads and max(1, threads // launch.processes()))
        from tlw.trainer import train as train_cell

        train_cell(
            settings,
            pairs,
            folder or cell.parent,
            judge_folder=judge_folder,
            device=device,
            workers=workers,
            checkpoint_seconds=checkpoint_seconds,
            patience=patience,
        )


@app.command()
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
            show_default="scores.csv beside each weights file",
        ),
    ] = None,
    tile: Tile = TILE,
    judge_folder: JudgeFolder = None,
    device: Device = "auto",
    threads: Threads = None,
    cells_per_gpu: CellsPerGpu = 1,
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
    _set_threads(threads)
    from tlw.devices import pick_device
    from tlw.evaluate import evaluate_bicubic, evaluate_cells, scores_beside

    files = [Path(word) for word in weights]
    outputs = {files[0]: output} if output else scores_beside(files)
    with _claimed(device, 1, cells_per_gpu):
        options = {"device": str(pick_device(device)), "judge_folder": judge_folder}
        if weights == ["bicubic"]:
            evaluate_bicubic(pairs, output, **options)
        else:
            evaluate_cells(outputs, pairs, tile=tile, **options)


@app.command("import")
def import_(
    checkpoint: Annotated[str, typer.Argument(help="State dict: .pt, .pth or .safetensors.")],
    output: Output,
    backbone: Annotated[str, typer.Option(help="vdsr, edsr, rcan or hat.")],
    scale: Annotated[int, typer.Option(help="2, 3 or 4.", min=2, max=4)],
    name: Annotated[
        str | None, typer.Option(help="In tables.", show_default="the backbone's with -authors")
    ] = None,
    loss: Annotated[str, typer.Option(help="It was trained with, for tables.")] = "unknown",
) -> None:
    """Makes a checkpoint of the TLW authors a weights file, for `evaluate`."""
    from tlw.config import Checkpoint

    content = {"name": name or f"{backbone}-authors", "backbone": backbone, "scale": scale}
    content |= {"loss": loss, "checkpoint": checkpoint}
    parsed = Checkpoint.parse(content, "import")  # before torch is imported
    from tlw.imported import import_network

    import_network(parsed, output)


@app.command()
def score(
    sr: Annotated[Path, typer.Argument(help="Folder of images that a method made.")],
    hr: Annotated[Path, typer.Argument(help="Folder of the reference images.")],
    scale: Annotated[int, typer.Option(help="2, 3 or 4.", min=2, max=4)],
    protocol: Annotated[
        str,
        typer.Option(help="standard, or paper: its own numbers are from sr not rounded to 8 bits."),
    ] = "standard",
    name: Annotated[
        str | None, typer.Option(help="The method's, in tables.", show_default="its folder's")
    ] = None,
    suffix: Annotated[
        str, typer.Option(help="What sr has behind hr's name, as _x4.", show_default="nothing")
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="CSV for each image.", show_default="none"),
    ] = None,
    judge_folder: JudgeFolder = None,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Scores images of any method against the reference images of the same names."""
    from tlw.protocols import protocol as protocol_named

    rules = protocol_named(protocol)
    _set_threads(threads)
    from tlw.devices import pick_device
    from tlw.score import score_images, write_row

    options = {"scale": scale, "protocol": rules, "suffix": suffix, "judge_folder": judge_folder}
    scores = score_images(sr, hr, **options, device=str(pick_device(device)))
    print(write_row(scores, output, name=name or sr.absolute().name, scale=scale))  # noqa: T201


@app.command()
def tables(
    cells: Annotated[list[Path], typer.Argument(help="Folders of scored cells, in row order.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Path without suffix.")],
    title: Annotated[str, typer.Option(help="The caption.")] = "Scores",
    published: Annotated[Path, typer.Option(help="CSV of the paper's numbers.")] = Path(
        "resources/published.csv"
    ),
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
) -> None:
    """Writes a table of scored cells as CSV, Markdown and LaTeX, and prints it."""
    from tlw.tables import write_tables

    options = {"title": title, "published": published, "number": number}
    print(write_tables(cells, output, **options, left_out=left_out or ()))  # noqa: T201


@app.command()
def compare(
    cells: Annotated[list[Path], typer.Argument(help="Folders of scored cells.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="CSV to write, too.", show_default="none"),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            help="A loss, or a cell's folder, that all others are compared with.",
            show_default="each weighted loss with its unweighted twin",
        ),
    ] = None,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.999, help="Of the intervals.")] = 0.95,
) -> None:
    """Tells which differences between losses are real, image by image."""
    from tlw.compare import write_comparison

    print(write_comparison(cells, output, against=against, confidence=confidence))  # noqa: T201


@app.command()
def upscale(
    images: Annotated[
        list[Path], typer.Argument(help="Image files, or folders of them.", metavar="IMAGE")
    ],
    weights: Annotated[Path, typer.Option(help="File of a trained cell.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Folder that gets a PNG of each; one of that name is replaced."
        ),
    ],
    tile: Tile = TILE,
    overlap: Annotated[
        int, typer.Option(min=0, help="What a tile sees beyond what is kept, in lr pixels.")
    ] = OVERLAP,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Enlarges images by a trained cell: any size, 8 or 16 bits, alpha and grey kept."""
    _set_threads(threads)
    from tlw.devices import pick_device
    from tlw.upscale import upscale_images

    upscale_images(images, weights, output, device=pick_device(device), tile=tile, overlap=overlap)


@app.command()
def schema() -> None:
    """Prints the JSON schema of a config file."""
    import json

    from tlw.config import Config

    print(json.dumps(Config.model_json_schema(), indent=2))  # noqa: T201


def _claimed(device: str, count: int, share: int) -> AbstractContextManager[list[int]]:
    """GPUs of its own for a job, unless its device has a number, or who started it chose them."""
    from tlw import devices, launch

    if device not in ("auto", "cuda") or launch.processes() > 1:
        return nullcontext([])
    return devices.claimed(count, share=share)


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def main() -> None:
    """Runs the command; a mistake of the user's is told in its own words, without a traceback."""
    signal.signal(signal.SIGTERM, _leave)  # the default would leave half a file aside
    sys.unraisablehook = _stop_once_more
    try:
        app()
    except (ValueError, OSError, FloatingPointError) as error:
        log.debug("The error came from here:", exc_info=True)
        sys.exit(f"tlw: error: {_told(error)}")


def _leave(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def _stop_once_more(lost: "sys.UnraisableHookArgs") -> None:  # a name for type checkers only
    """Raises a stop again, a moment later, that fell into a destructor: there Python drops it."""
    stop = lost.exc_value
    if not isinstance(stop, KeyboardInterrupt | SystemExit):
        sys.__unraisablehook__(lost)
        return

    def stop_now(*_: object) -> None:
        raise stop

    signal.signal(signal.SIGALRM, stop_now)
    signal.setitimer(signal.ITIMER_REAL, 0.01)


def _told(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return str(error)


if __name__ == "__main__":
    main()
