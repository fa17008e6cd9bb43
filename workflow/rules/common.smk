"""The config, checked, and what the rules look up in it."""

import os
import re
from pathlib import Path
from typing import get_args

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.utils import update_config

from tlw.config.backbones import is_known
from tlw.config.config import Config
from tlw.data.protocols import PROTOCOLS
from tlw.data.registry import known_sets, not_at_hand
from tlw.config.settings import SCALES, JudgeNet, Use, judge_net_of
from tlw.config.yaml_file import read_yaml
from tlw.runtime.errors import at

# Paths that a rule looks up itself, and not by its input and output, get a module's prefix here.
IMAGES = Path(workflow.modifier.path_modifier.replace_prefix("resources/images"))


def config_read_again():
    """What Snakemake made of the config files, by our own reader of YAML: Snakemake's takes
    24:00:00 for 86400, 010 for 8, yes for true. Files and `--config` are merged as Snakemake does.
    """
    if workflow.modifier.parent_modifier is not None:
        return config  # from the workflow that uses this one as a module
    given = list(workflow.overwrite_configfiles)
    own = [file for file in workflow.configfiles if file not in given]
    if workflow.config_settings.replace_workflow_config:
        own = []
    content = {}
    for file in [*own, *given]:
        part = read_yaml(file)
        if not isinstance(part, dict):
            raise ValueError(f"{file}: expected keys and values, found {part!r:.80}")
        update_config(content, part)
    update_config(content, dict(workflow.config_settings.config))
    return content


try:
    SETTINGS = Config.parse(config_read_again(), "config")
    with at("config: registry"):
        REGISTRY = known_sets(Path(SETTINGS.registry) if SETTINGS.registry else None)
    for name, grid in SETTINGS.grids.items():
        watched = [grid.validation.image_set] if grid.validation else []
        for key, names in (("train", grid.train), ("validation", watched)):
            with at(f"config: grids.{name}.{key}"):
                for image_set in not_at_hand(names, REGISTRY, IMAGES):
                    raise ValueError(image_set.instructions(IMAGES))
    with at("config: test"):
        LEFT_OUT = not_at_hand(SETTINGS.test, REGISTRY, IMAGES)
        if len(LEFT_OUT) == len(SETTINGS.test):
            raise ValueError(LEFT_OUT[0].instructions(IMAGES))
except (ValueError, OSError) as error:
    raise WorkflowError(str(error)) from None

for image_set in LEFT_OUT:  # no reason to wait with the others; the tables say so, too
    logger.warning(f"Left out of the tables: {image_set.instructions(IMAGES)}")

RESULTS = SETTINGS.results
TEST = [name for name in SETTINGS.test if name not in {x.name for x in LEFT_OUT}]
PROTOCOL = PROTOCOLS[SETTINGS.protocol]
WEIGHTS = "resources/weights"
# Of what scores: LPIPS' networks, of which DISTS needs the VGG16, and its own.
SCORING_WEIGHTS = dict.fromkeys(
    f"{WEIGHTS}/{name}.safetensors"
    for metric in (*PROTOCOL.metrics, *SETTINGS.metrics)
    for name in {"dists": ["lpips_vgg", "dists"]}.get(metric, [metric])
    if not metric.endswith("_y")
)
CELLS = {
    grid: {cell.name: cell for cell in SETTINGS.cells(grid)} for grid in SETTINGS.grids
}
CHECKPOINTS = {
    grid: {checkpoint.folder: checkpoint for checkpoint in settings.imported}
    for grid, settings in SETTINGS.grids.items()
}


wildcard_constraints:
    grid="|".join(CELLS),
    cell="|".join(sorted({name for cells in CELLS.values() for name in cells})),
    imported="|".join(
        sorted({name for found in CHECKPOINTS.values() for name in found})
    )
    or "(?!)",
    row=r"bicubic_x\d|[A-Za-z0-9.-]+/[A-Za-z0-9.-]+_x\d_[A-Za-z0-9.-]+_(seed\d+|imported)\+?",
    image_set="|".join(map(re.escape, REGISTRY)),
    use="|".join(get_args(Use)),
    scale="|".join(map(str, SCALES)),
    weights="|".join([*(f"lpips_{net}" for net in get_args(JudgeNet)), "dists"]),


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


def pairs_of_grid(grid):
    """Pairs files of all image sets of a grid, at its first scale."""
    settings = SETTINGS.grids[grid]
    scale = settings.scales[0]
    watched = [settings.validation.image_set] if settings.validation else []
    return pairs_of(settings.train, "train", scale) + pairs_of(
        [*TEST, *watched], "test", scale
    )


def checkpoint_of(wildcards):
    """The checkpoint that a job is to import."""
    return CHECKPOINTS[wildcards.grid][wildcards.imported]


def registry_of(image_set):
    """The option of `tlw fetch` that a set from the user's own registry needs."""
    return [] if image_set in known_sets() else [f"--registry={SETTINGS.registry}"]


def judge_of(wildcards):
    """The judge's weights, for a cell that is trained with one."""
    net = judge_net_of(cell_of(wildcards).loss)
    return [f"{WEIGHTS}/lpips_{net}.safetensors"] if net else []


def start_of(wildcards):
    """The weights file that a cell starts from, perhaps another cell's, as a list."""
    start = cell_of(wildcards).start
    return [start] if start else []


def validation_of(wildcards):
    """The pairs of a cell's validation images, as a list."""
    cell = cell_of(wildcards)
    watched = cell.validation and cell.validation.image_set
    return pairs_of([watched], "test", cell.scale) if watched else []


def weights_of(row):
    """The network of a row, trained or imported, or of its ensemble's; bicubic has none."""
    if row.startswith("bicubic_"):
        return []
    return [f"{RESULTS}/{row.removesuffix('+')}/weights.safetensors"]


def network_scored(row, inputs):
    """What `tlw evaluate` is told to score: weights, an ensemble's with its option, or bicubic."""
    weights = inputs.get("weights") or "bicubic"
    return [weights, "--ensemble"] if row.endswith("+") else weights


def networks_of(grid, scale):
    """The cells and imported networks of a grid at a scale, by folder."""
    networks = CELLS[grid] | CHECKPOINTS[grid]
    return {
        name: network
        for name, network in networks.items()
        if network.scale == int(scale)
    }


def foreign_networks(rows):
    """The options of `tlw evaluate` that name the classes of the user's in this config."""
    cells = [
        CELLS.get(os.path.dirname(row), {}).get(os.path.basename(row).removesuffix("+"))
        for row in rows
    ]
    paths = dict.fromkeys(cell.backbone.path for cell in cells if cell)
    return [f"--network={path}" for path in paths if not is_known(path)]


def scores_of(grid):
    """What a table waits for: each row's scores, or what says that all of a scale are there."""
    rows = rows_of(grid, RESULTS)
    if not SETTINGS.grids[grid].score_together:
        return [f"{row}/scores.csv" for row in rows]
    scales = dict.fromkeys(scale_of(os.path.basename(row)) for row in rows)
    alone = [row for row in rows if os.path.basename(row).startswith("bicubic_")]
    return [f"{row}/scores.csv" for row in alone] + [
        f"{RESULTS}/{grid}/scored_x{scale}" for scale in scales
    ]


def rows_of(grid, results):
    """The folders of a table's rows, in order: each scale's cells, imported ones, and bicubic."""
    networks = CELLS[grid] | CHECKPOINTS[grid]
    rows = []
    for scale in dict.fromkeys(network.scale for network in networks.values()):
        rows += [
            f"{grid}/{name}"
            for name, network in networks.items()
            if network.scale == scale
        ]
        rows.append(f"bicubic_x{scale}")
    return [f"{results}/{row}" for row in rows]


def ensembles_of(grid, results):
    """The folders of the networks' self-ensembles, where the grid has such rows."""
    networks = CELLS[grid] | CHECKPOINTS[grid] if SETTINGS.grids[grid].ensembles else {}
    return [f"{results}/{grid}/{name}+" for name in networks]


def pictures_of(grid):
    """The folders of pictures that are made of a grid: one a scale."""
    networks = (CELLS[grid] | CHECKPOINTS[grid]).values()
    scales = dict.fromkeys(network.scale for network in networks)
    return [f"{RESULTS}/pictures/{grid}_x{scale}" for scale in scales]


def run_of(output):
    """A run's folder, given <run>/<folder>/<what is made of a grid>."""
    return os.path.dirname(os.path.dirname(output))


def number_of(grid):
    """The option that names the paper's table to show beside, if the grid has one."""
    number = SETTINGS.grids[grid].published
    return [] if number is None else [f"--number={number}"]


def table_options(grid):
    """The options of `tlw tables` that a grid has or has not."""
    settings = SETTINGS.grids[grid]
    note = [f"--note={settings.note}"] if settings.note else []
    return (
        number_of(grid)
        + note
        + [f"--left-out={image_set.name}" for image_set in LEFT_OUT]
    )
