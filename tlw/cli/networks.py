"""Verbs about one network: it is trained, or comes from elsewhere, and enlarges images."""

import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tlw.cli.options import (
    CellsPerGpu,
    Device,
    JudgeFolder,
    MaxPixels,
    Networks,
    Output,
    PairsFiles,
    Scale,
    Threads,
    Tile,
    Trusted,
    claimed,
    may_be_imported,
    set_threads,
)
from tlw.config.backbones import BACKBONES
from tlw.imaging.tiles import MAX_PIXELS, OVERLAP, TILE


def train(
    cell: Annotated[Path, typer.Argument(help="The cell's config, cell.json.")],
    pairs: PairsFiles,
    folder: Annotated[
        Path | None, typer.Option(help="Gets the results.", show_default="the config's")
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="Weights file that the cell starts from, if it does.")
    ] = None,
    validation: Annotated[
        Path | None, typer.Option(help="Pairs file of its validation images, if it has any.")
    ] = None,
    judge_folder: JudgeFolder = None,
    device: Device = "auto",
    threads: Threads = None,
    workers: Annotated[
        int, typer.Option(help="Processes that read images ahead; 0: none.", min=0)
    ] = 0,
    checkpoint_seconds: Annotated[float, typer.Option(help="Between checkpoints.", min=0)] = 300,
    gpus: Annotated[int, typer.Option(help="Processes that share each batch.", min=1)] = 1,
    cells_per_gpu: CellsPerGpu = 1,
    patience: Annotated[
        float, typer.Option(help="Seconds to wait for another training in the folder.", min=0)
    ] = 150,
    cuda_graphs: Annotated[
        bool,
        typer.Option(help="A GPU replays recorded steps rather than wait for the host."),
    ] = True,
) -> None:
    """Trains a cell, or goes on with it from its last checkpoint."""
    from tlw.config.config import read_cell
    from tlw.runtime.devices import ranks
    from tlw.runtime.extras import require

    require(["tensorboard"], extra="train", does="a training")
    settings = read_cell(cell)  # before torch is imported
    settings.recipe.check_processes(gpus)
    with claimed(device, gpus, cells_per_gpu):
        if gpus > 1 and ranks() == 1:
            sys.exit(_torchrun(sys.argv[1:], gpus))
        set_threads(threads and max(1, threads // ranks()))
        from tlw.training.trainer import train as train_cell

        train_cell(
            settings,
            pairs,
            folder or cell.parent,
            start=start,
            validation=validation,
            judge_folder=judge_folder,
            device=device,
            workers=workers,
            checkpoint_seconds=checkpoint_seconds,
            patience=patience,
            cuda_graphs=cuda_graphs,
        )


def estimate(
    config: Annotated[Path, typer.Argument(help="A config file.")],
    grid: Annotated[
        list[str] | None,
        typer.Option(help="Only this grid; repeatable.", show_default="all"),
    ] = None,
    judge_folder: JudgeFolder = None,
    device: Device = "auto",
    threads: Threads = None,
    cuda_graphs: Annotated[
        bool, typer.Option(help="A GPU replays recorded steps rather than wait for the host.")
    ] = True,
) -> None:
    """Says what a grid's trainings will take on this device, by a few steps of each kind of cell.

    The training sets' pairs have to be there: `snakemake --until pairs` makes them.
    """
    from tlw.config.config import Config
    from tlw.config.yaml_file import read_yaml
    from tlw.runtime.errors import one_of

    settings = Config.parse(read_yaml(config), str(config))
    for name in grid or ():
        if name not in settings.grids:
            raise ValueError(f"--grid: {one_of(name, settings.grids)}")
    set_threads(threads)
    from tlw.training.estimate import estimate as measured

    total = 0.0
    for name in grid or settings.grids:
        seeds = len(settings.grids[name].seeds)
        for cell in settings.cells(name)[::seeds]:
            folder = Path(settings.results, "pairs", "train")
            pairs = [folder / f"{image_set}_x{cell.scale}.h5" for image_set in cell.train]
            steps, seconds = measured(
                cell, pairs, device=device, judge_folder=judge_folder, cuda_graphs=cuda_graphs
            )
            hours = seeds * steps * seconds / 3600
            total += hours
            print(  # noqa: T201
                f"{name}/{cell.name.rpartition('_')[0]}: {seeds} x {steps:,} steps of "
                f"{1000 * seconds:.1f} ms: {hours:.2f} h",
                flush=True,
            )
    print(f"together {total:.2f} h, one after the other")  # noqa: T201


def pack(
    run: Annotated[Path, typer.Argument(help="A run's folder, as results/paper.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .tar to write.")],
) -> None:
    """Packs a run's trainings, finished or stopped, to go on with them on another machine."""
    from tlw.training.pack import pack as pack_run

    print(f"{output}: {len(pack_run(run, output))} cells")  # noqa: T201


def unpack(
    archive: Annotated[Path, typer.Argument(help="A .tar of `tlw pack`.")],
    run: Annotated[Path, typer.Argument(help="The run's folder, as results/paper.")],
) -> None:
    """Takes packed trainings up, each where it has come further than the one that is there."""
    from tlw.training.pack import unpack as unpack_run

    for name, told in unpack_run(archive, run).items():
        print(f"{name}: {told}")  # noqa: T201


def _torchrun(words: Sequence[str], ranks: int) -> int:
    """Runs `tlw` with these words in so many ranks; a signal to stop is handed on to them."""
    starter = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    child = subprocess.Popen(
        [sys.executable, "-m", *starter, "-m", "tlw.cli", *words],
        start_new_session=True,  # a Ctrl-C is handed on once, not twice
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: child.send_signal(number))
    return child.wait()


def import_(
    checkpoint: Annotated[str, typer.Argument(help="State dict: .pt, .pth or .safetensors.")],
    output: Output,
    scale: Scale,
    backbone: Annotated[
        str,
        typer.Option(
            help=f"{', '.join(BACKBONES)}, as the TLW authors have them; any: another's, its "
            "architecture told by its keys."
        ),
    ] = "any",
    name: Annotated[
        str | None,
        typer.Option(help="In tables.", show_default="the file's, or the backbone's with -authors"),
    ] = None,
    loss: Annotated[str, typer.Option(help="It was trained with, for tables.")] = "unknown",
) -> None:
    """Makes a checkpoint of the TLW authors, or anybody's, a weights file, for `evaluate`."""
    from tlw.config.config import Checkpoint

    plain = re.sub(r"[^A-Za-z0-9.]+", "-", Path(checkpoint).stem).strip("-.")
    name = name or (plain if backbone == "any" else f"{backbone}-authors")
    content = {"name": name, "backbone": backbone, "scale": scale}
    content |= {"loss": loss, "checkpoint": checkpoint}
    parsed = Checkpoint.parse(content, "import")  # before torch is imported
    from tlw.networks.imported import import_network

    import_network(parsed, output)


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
    max_pixels: MaxPixels = MAX_PIXELS,
    device: Device = "auto",
    threads: Threads = None,
    network: Networks = None,
    trust: Trusted = None,
) -> None:
    """Enlarges images by a trained cell: any size, 8 or 16 bits, alpha and grey kept."""
    set_threads(threads)
    from tlw.networks.upscale import upscale_images
    from tlw.runtime.devices import pick_device

    upscale_images(
        images,
        weights,
        output,
        device=pick_device(device),
        tile=tile,
        overlap=overlap,
        max_pixels=max_pixels,
        networks=may_be_imported(network, trust),
    )
