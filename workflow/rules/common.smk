"""The config, checked, and what the rules look up in it."""

import os
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from tlw.config import Config
from tlw.protocols import PROTOCOLS
from tlw.registry import load_registry, not_at_hand
from tlw.schema import at
from tlw.settings import TLWSettings

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


wildcard_constraints:
    grid="|".join(CELLS),
    cell="|".join(sorted({name for cells in CELLS.values() for name in cells})),
    row=r"bicubic_x[234]|[A-Za-z0-9.-]+/[A-Za-z0-9.-]+_x[234]_[A-Za-z0-9.-]+_seed\d+",
    image_set=r"[A-Za-z0-9][A-Za-z0-9.-]*",
    use="train|test",
    scale="[234]",
    net="vgg|alex",


def cell_of(wildcards):
    """The resolved config of the cell that a job is for."""
    return CELLS[wildcards.grid][wildcards.cell]


def scale_of(row):
    """The scale of a table's row, grid/backbone_xS_loss_seedN or bicubic_xS."""
    return int(row.split("_")[1].removeprefix("x"))


def pairs_of(image_sets, use, scale):
    """Pairs files of image sets at a scale."""
    return [f"{RESULTS}/pairs/{use}/{name}_x{scale}.h5" for name in image_sets]


def judge_of(wildcards):
    """The judge's weights, for a cell that is trained with one."""
    loss = cell_of(wildcards).loss
    nets = [loss.judge_net] if isinstance(loss, TLWSettings) else []
    return [f"{WEIGHTS}/lpips_{net}.safetensors" for net in nets]


def weights_of(row):
    """The trained network of a row; bicubic has none."""
    return [] if row.startswith("bicubic_") else [f"{RESULTS}/{row}/weights.safetensors"]


def rows_of(grid):
    """The folders of a table's rows, in order: each scale's cells, then its bicubic row."""
    cells = CELLS[grid].values()
    rows = []
    for scale in dict.fromkeys(cell.scale for cell in cells):
        rows += [f"{grid}/{cell.name}" for cell in cells if cell.scale == scale]
        rows.append(f"bicubic_x{scale}")
    return [f"{RESULTS}/{row}" for row in rows]


def number_option(grid):
    """The paper's table that a grid is compared with, as an option of `tlw tables`."""
    number = SETTINGS.grids[grid].published
    return "" if number is None else f"--number {number}"
