"""Verbs about networks as they are: what they cost, and as files for other runtimes."""

from pathlib import Path
from typing import Annotated

import typer

from tlw.cli.options import (
    CellsPerGpu,
    Device,
    Networks,
    Output,
    Threads,
    Trusted,
    claimed,
    may_be_imported,
)


def cost(
    weights: Annotated[
        list[Path], typer.Argument(help="Weights files of trained or imported networks.")
    ],
    height: Annotated[int, typer.Option(help="Of sr, for time and memory.", min=1)] = 720,
    width: Annotated[int, typer.Option(help="Of sr, for time and memory.", min=1)] = 1280,
    rounds: Annotated[int, typer.Option(help="Timed passes; their median counts.", min=1)] = 3,
    device: Device = "auto",
    threads: Threads = None,
    cells_per_gpu: CellsPerGpu = 1,
    network: Networks = None,
    trust: Trusted = None,
) -> None:
    """Measures networks: parameters, operations, time and memory, into cost.json beside each."""
    with claimed(device, 1, cells_per_gpu):
        from tlw.networks.cost import costs
        from tlw.report.cost_table import cost_table
        from tlw.runtime.devices import pick_device

        found = costs(
            weights,
            device=str(pick_device(device)),
            size=(height, width),
            rounds=rounds,
            threads=threads,
            networks=may_be_imported(network, trust),
        )
    print(cost_table(found))  # noqa: T201


def export(
    weights: Annotated[Path, typer.Argument(help="Weights file of a network.")],
    output: Output,
    network: Networks = None,
    trust: Trusted = None,
) -> None:
    """Writes a network as ONNX with dynamic sizes, and checks it by onnxruntime."""
    from tlw.networks.export import export_network

    export_network(weights, output, networks=may_be_imported(network, trust))
