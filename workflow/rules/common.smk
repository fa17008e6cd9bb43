"""The config, checked, and what the rules look up in it."""

import os
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from tlw.config.config import Config
from tlw.data.protocols import PROTOCOLS
from tlw.data.registry import load_registry, not_at_hand
from tlw.runtime.errors import at
from tlw.config.settings import TLWSettings

IMAGES = Path("resources/images")

try:
    SETTINGS = Config.parse(config, "config")
    REGISTRY = load_registry(Path("resources/datasets.yaml"))
    for name, grid in SETTINGS.grids.items():
        with at(f"config: grids.{name}.train"):
            for image_set in not_at_hand(grid.train, REGISTRY, IMAGES):
                raise ValueError(image_set.instructions(IMAGES))
    with at("config: test"):
        LEFT_OUT = not_at_hand(SETTINGS.test, REGISTRY, IMAGES)
        if len(LEFT_OUT) == len(SETTINGS.test):
            raise ValueError(LEFT_OUT[0].instructions(IMAGES))
except ValueError as error:
    raise WorkflowError(str(error)) from None

for image_set in LEFT_OUT:  # no reason to wait with the others; the tables say so, too
    logger.warning(f"Left out of the tables: {image_set.instructions(IMAGES)}")

RESULTS = SETTINGS.results
TEST = [name for name in SETTINGS.test if name not in {x.name for x in LEFT_OUT}]
PROTOCOL = PROTOCOLS[SETTINGS.protocol]
WEIGHTS = "resources/weights"
CELLS = {grid: {cell.name: cell for cell in SETTINGS.cells(grid)} for grid in SETTINGS.grids}
CHECKPOINTS = {
    grid: {checkpoint.folder: checkpoint for checkpoint in settings.imported}
    for grid, settings in SETTINGS.grids.items()
}


wildcard_constraints:
    grid="|".join(CELLS),
    cell="|".join(sorted({name for cells in CELLS.values() for name in cells})),
    imported="|".join(sorted({name for found in CHECKPOINTS.values() for name in found})) or "(?!)",
    row=r"bicubic_x[234]|[A-Za-z0-9.-]+/[A-Za-z0-9.-]+_x[234]_[A-Za-z0-9.-]+_(seed\d+|imported)",
    image_set=r"[A-Za-z0-9][A-Za-z0-9.-]*",
    use="train|test",
    scale="[234]",
    net="vgg|alex",


def cell_of(wildcards):
    """The resolved config of the cell that a job is for."""
    return CELLS[wildcards.grid][wildcards.cell]


def asked(wildcards, attempt):
    """What a cell's training asks a cluster for: more time and memory with each attempt."""
    request = SETTINGS.request(cell_of(wildcards))
    return request | {key: request[key] * attempt for key in ("runtime", "mem_mb")}


def scale_of(row):
    """The scale of a table's row, grid/backbone_xS_loss_seedN, ..._imported, or bicubic_xS."""
    return int(row.split("_")[1].removeprefix("x"))


def pairs_of(image_sets, use, scale):
    """Pairs files of image sets at a scale."""
    return [f"{RESULTS}/pairs/{use}/{name}_x{scale}.h5" for name in image_sets]


def checkpoint_of(wildcards):
    """The checkpoint that a job is to import."""
    return CHECKPOINTS[wildcards.grid][wildcards.imported]


def judge_of(wildcards):
    """The judge's weights, for a cell that is trained with one."""
    loss = cell_of(wildcards).loss
    nets = [loss.judge_net] if isinstance(loss, TLWSettings) else []
    return [f"{WEIGHTS}/lpips_{net}.safetensors" for net in nets]


def weights_of(row):
    """The network of a row, trained or imported; bicubic has none."""
    return [] if row.startswith("bicubic_") else [f"{RESULTS}/{row}/weights.safetensors"]


def rows_of(grid):
    """The folders of a table's rows, in order: each scale's cells, imported ones, and bicubic."""
    networks = CELLS[grid] | CHECKPOINTS[grid]
    rows = []
    for scale in dict.fromkeys(network.scale for network in networks.values()):
        rows += [f"{grid}/{name}" for name, network in networks.items() if network.scale == scale]
        rows.append(f"bicubic_x{scale}")
    return [f"{RESULTS}/{row}" for row in rows]


def number_option(grid):
    """The paper's table that a grid is compared with, as an option of `tlw tables`."""
    number = SETTINGS.grids[grid].published
    return "" if number is None else f"--number {number}"
