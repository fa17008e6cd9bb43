"""The one schema of the configuration: what a grid is, and what defines each of its cells.

`Config` is what a user writes (config/*.yaml), `Cell` what comes out of it for one training: every
setting resolved, nothing left to defaults that could change under it. `Imported` takes a cell's
place for weights that were not trained here. No torch in here, see `tlw.config.schema`.
"""

import hashlib
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from tlw.config.backbones import BACKBONES, check, is_known
from tlw.config.paths import FilePath, FolderPath, expanded
from tlw.config.recipe import RECIPES, Recipe, Validation
from tlw.config.resources import Request, request_for
from tlw.config.schema import Arguments, Flag, IsNumber, Model, Name, Number, Whole, may_import
from tlw.config.settings import (
    LOSSES,
    PRESETS,
    SCALES,
    ExtraMetric,
    LossSettings,
    PresetName,
    ProtocolName,
    Scale,
    judge_net_of,
    loss_settings,
)
from tlw.config.yaml_file import read_yaml
from tlw.runtime.errors import at, near, one_of

PICTURE = r"^[A-Za-z0-9.-]+/[^/@]+(@\d+,\d+)?$"  # benchmark/image, perhaps @top,left
DEVICES = ("auto", "cpu", "cuda")
CELLS = 10_000  # of one grid; each is a folder, and a job or two


def _each_once(values: tuple) -> tuple:
    for place, value in enumerate(values):
        if value in values[:place]:
            raise ValueError(f"expected each once, found {value!r} twice")
    return values


def _fits_generators(seed: int) -> int:
    if seed >= 2**63:
        raise ValueError(f"expected a seed below 2^63 (19 digits), found {seed}")
    return seed


Names = Annotated[tuple[Name, ...], Field(min_length=1), AfterValidator(_each_once)]
Scales = Annotated[tuple[Scale, ...], Field(min_length=1), AfterValidator(_each_once)]
Seed = Annotated[Whole, Field(ge=0), AfterValidator(_fits_generators)]
Seeds = Annotated[tuple[Seed, ...], Field(min_length=1), AfterValidator(_each_once)]
Images = Literal["signed-rgb", "signed-bgr", "unit-rgb"]


class Backbone(Model):
    """A super-resolution network: where its class is, and what it is built with."""

    path: str = Field(description="a known name, or an import path package.module:Class")
    arguments: Arguments = Field(default={}, description="keyword arguments, but the scale")
    images: Images = Field(
        default="signed-rgb", description="the range and channel order that the network works in"
    )

    @model_validator(mode="after")
    def _can_be_built(self, info: ValidationInfo) -> "Backbone":
        if is_known(self.path) or may_import(info):
            check(self.path, self.arguments)
        return self


class Checkpoint(Model):
    """A checkpoint of the TLW authors, or anybody's, and the row of a table that it becomes."""

    name: Name = Field(description="the network's name in the table")
    backbone: str = Field(
        default="any",
        description="which of the authors' networks: vdsr, edsr, rcan, hat; any: another's",
    )
    scale: Scale = Field(description="2, 3 or 4")
    loss: Name = Field(default="unknown", description="what it was trained with, for the table")
    checkpoint: str = Field(min_length=1, description="the file: .pt, .pth or .safetensors")

    @property
    def folder(self) -> str:
        """The folder of what is made of it, beside those of cells: name_xS_loss_imported."""
        return f"{self.name}_x{self.scale}_{self.loss}_imported"

    @model_validator(mode="after")
    def _backbone_is_known(self) -> "Checkpoint":
        _require(BACKBONES | {"any": ""}, [self.backbone], "backbone")
        return self


class Grid(Model):
    """One table: backbones x scales x losses x seeds, trained alike, and rows from elsewhere."""

    title: str = Field(description="the caption of its table")
    published: Annotated[Literal[1, 2] | None, IsNumber] = Field(
        default=None, description="the paper's table whose numbers stand beside ours"
    )
    train: Names = Field(description="image sets to train on")
    recipe: Name = Field(description="a name from `recipes`, or one that tlw knows")
    preset: PresetName = Field(default="paper", description="the reading of the method")
    backbones: Names = Field(description="known names, or names from `backbones`")
    scales: Scales = Field(description="2, 3, 4")
    losses: Names = Field(description="known names, or names from `losses`")
    seeds: Seeds = Field(default=(0,), description="seeds")
    start: str | None = Field(
        default=None,
        min_length=1,
        description="the weights file that a training starts from; {backbone}, {scale}, {loss} and "
        "{seed} stand for the cell's own",
    )
    validation: Validation | None = Field(
        default=None, description="how trainings are watched, if they are"
    )
    imported: tuple[Checkpoint, ...] = Field(
        default=(), description="checkpoints of the TLW authors, rows of the table, too"
    )

    pictures: tuple[Annotated[str, Field(pattern=PICTURE)], ...] = Field(
        default=(),
        description="images to show besides those that the rule chooses, as Set14/comic.png, or, "
        "with top and left of the part shown in hr pixels, Set14/comic.png@60,40",
    )
    note: str = Field(default="", max_length=500, description="a sentence below its table")
    ensembles: Flag = Field(
        default=False,
        description="a row with a + beside each network: the mean over eight flips and turns",
    )
    score_together: Flag = Field(
        default=False,
        description="one job scores all networks of a scale; for small ones, all in memory at once",
    )

    @field_validator("imported")
    @classmethod
    def _checkpoints_are_paths(cls, imported: tuple[Checkpoint, ...]) -> tuple[Checkpoint, ...]:
        found = []
        for place, row in enumerate(imported):
            with at(f"{place}.checkpoint"):
                found.append(row.model_copy(update={"checkpoint": expanded(row.checkpoint)}))
        return tuple(found)

    def start_of(self, backbone: str, scale: int, loss: str, seed: int) -> str | None:
        """The weights file that a cell starts from, if there is one."""
        if self.start is None:
            return None
        words = {"backbone": backbone, "scale": scale, "loss": loss, "seed": seed}
        found = self.start
        for word, value in words.items():
            found = found.replace(f"{{{word}}}", str(value))
        if "{" in found:
            raise ValueError(
                f"start: expected no braces but {', '.join(f'{{{word}}}' for word in words)}, "
                f"found {self.start}"
            )
        with at("start"):
            return expanded(found)

    @model_validator(mode="after")
    def _a_disk_can_hold_it(self) -> "Grid":
        lists = self.backbones, self.scales, self.losses, self.seeds
        count = math.prod(map(len, lists))
        if count > CELLS:
            raise ValueError(
                f"expected {CELLS:,} cells or fewer, found {count:,} ({len(self.backbones)} "
                f"backbones x {len(self.scales)} scales x {len(self.losses)} losses x "
                f"{len(self.seeds)} seeds)"
            )
        return self

    @model_validator(mode="after")
    def _imported_rows_are_rows_of_their_own(self) -> "Grid":
        with at("imported"):
            _each_once(tuple(checkpoint.folder for checkpoint in self.imported))
            for name in (checkpoint.name for checkpoint in self.imported):
                if name in (*self.backbones, "bicubic"):
                    raise ValueError(f"name: found {name!r}, which other rows of the table have; "
                                     f"choose one such as '{name}-authors'")  # fmt: skip
        return self


class Config(Model):
    """A whole run: grids of cells, and what their names stand for."""

    results: FolderPath = Field(
        min_length=1,
        description="folder for everything that this run makes; ~ and $VARIABLES are filled in",
    )
    protocol: ProtocolName = Field(default="paper", description="how pairs are made and scored")
    test: Names = Field(description="the benchmarks, image sets")
    metrics: Annotated[tuple[ExtraMetric, ...], AfterValidator(_each_once)] = Field(
        default=(), description="what is scored beside the protocol's metrics"
    )
    registry: FilePath | None = Field(
        default=None, description="a YAML file with image sets of the user's own"
    )
    device: str = Field(
        default="auto", description="cpu, cuda, cuda:1; auto: a GPU if there is one"
    )
    cells_per_gpu: Whole = Field(
        default=1, ge=1, le=1000, description="jobs that may have a GPU at the same time"
    )
    cuda_graphs: Flag = Field(
        default=True, description="a GPU replays training steps that it recorded"
    )
    threads: Whole = Field(default=4, ge=1, le=1024, description="CPU threads of a job")
    checkpoint_seconds: Number = Field(
        default=300, ge=0, le=1_000_000, description="seconds between a training's checkpoints"
    )
    grids: dict[Name, Grid] = Field(min_length=1, description="the tables")
    recipes: dict[Name, Recipe] = Field(default={}, description="ways to train")
    backbones: dict[Name, Backbone] = Field(
        default={}, description="networks besides the known ones, or these with other arguments"
    )
    losses: dict[Name, dict[str, Any]] = Field(
        default={}, description="changed settings of the known losses, or losses of your own"
    )
    resources: dict[str, Request] = Field(
        default={}, description="what a training asks a cluster for, by backbone or backbone_xS"
    )

    @field_validator("device")
    @classmethod
    def _device_is_one_of_torchs(cls, device: str) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", device):
            hint = "; did you mean 'cuda'?" if "gpu" in device.lower() else near(device, DEVICES)
            raise ValueError(f"expected auto, cpu, cuda or cuda:1, found {device!r}{hint}")
        return device

    @model_validator(mode="after")
    def _names_are_known(self) -> "Config":
        with at("losses"):
            for loss in self.losses:
                self._loss(loss, "paper")
        known: dict[str, dict[str, Any]] = {
            "recipe": RECIPES | self.recipes,
            "backbones": BACKBONES | self.backbones,
            "losses": LOSSES | self.losses,
        }
        for name, grid in self.grids.items():
            with at(f"grids.{name}"):
                _require(known["recipe"], [grid.recipe], "recipe")
                _require(known["backbones"], grid.backbones, "backbones")
                _require(known["losses"], grid.losses, "losses")
                with at("pictures"):
                    _require(dict.fromkeys(self.test), [p.split("/")[0] for p in grid.pictures],
                             "benchmark")  # fmt: skip
                if grid.validation:
                    self._refuse_seen(grid.validation.image_set, grid.train)
                for cell in self.cells(name):  # each says itself what does not fit together
                    with at(f"resources of {cell.backbone_name}_x{cell.scale}: gpu"):
                        cell.recipe.check_processes(max(1, self.request(cell)["gpu"]))
        with at("resources"):
            names = known["backbones"]
            scaled = {f"{name}_x{scale}": None for name in names for scale in SCALES}
            _require({**names, **scaled}, self.resources, "entry")
        return self

    def request(self, cell: "Cell") -> dict[str, int]:
        """What a cell's training asks for, see `tlw.config.resources`."""
        names = cell.backbone_name, cell.backbone.path, cell.scale
        return request_for(self.resources, *names, device=self.device)

    def cells(self, grid_name: str) -> list["Cell"]:
        """The resolved cells of one grid, in the order of its lists."""
        return list(self._cells(self.grids[grid_name], Path(self.results, grid_name)))

    def _refuse_seen(self, image_set: str, train: tuple[str, ...]) -> None:
        """Nothing may be chosen by images that a network is trained or tested on."""
        for use, names in (("train", train), ("test", self.test)):
            if image_set in names:
                raise ValueError(
                    f"validation.image_set: expected a set that is neither trained nor tested on, "
                    f"found {image_set}, which is in {use}; DIV2K-valid is one"
                )

    def _cells(self, grid: Grid, folder: Path) -> Iterator["Cell"]:
        for backbone in grid.backbones:
            network = self.backbones.get(backbone) or Backbone(path=backbone)
            for scale in grid.scales:
                for loss in grid.losses:
                    preset, settings = self._loss(loss, grid.preset)
                    for seed in grid.seeds:
                        cell = {
                            "backbone_name": backbone,
                            "backbone": network,
                            "scale": scale,
                            "loss_name": loss,
                            "loss": settings,
                            "preset": preset,
                            "seed": seed,
                            "train": grid.train,
                            "protocol": self.protocol,
                            "recipe": self._recipe(grid).at(scale),
                            "start": grid.start_of(backbone, scale, loss, seed),
                            "validation": grid.validation,
                        }
                        parsed = Cell.parse(cell, f"{backbone} x{scale} {loss}")
                        if parsed.start and Path(parsed.start).parent == folder / parsed.name:
                            raise ValueError(
                                f"start: {parsed.name} would start from its own weights; name "
                                "those of another grid or scale"
                            )
                        yield parsed

    def _loss(self, name: str, preset: PresetName) -> tuple[PresetName, LossSettings]:
        """A loss of this config, and the preset that it completes itself from."""
        changes = dict(self.losses.get(name, {}))
        preset = changes.pop("preset", preset)
        return preset, loss_settings(name, preset, **changes)

    def _recipe(self, grid: Grid) -> Recipe:
        recipe = self.recipes.get(grid.recipe) or RECIPES[grid.recipe]
        return recipe.model_copy(update={"init": recipe.init or PRESETS[grid.preset]["init"]})


class Network(Model):
    """What a weights file says of its network: how it is built, and which row of a table it is."""

    backbone_name: Name
    backbone: Backbone
    scale: Scale
    loss_name: Name


class Imported(Network):
    """A network that was not trained here: the checkpoint that its weights come from."""

    source: str = Field(min_length=1, description="the checkpoint's file name")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="of that file")


class Cell(Network):
    """One trained network: everything that its training reads, besides the images."""

    loss: Annotated[LossSettings, Field(discriminator="kind")]
    preset: PresetName
    seed: Seed
    train: Names
    protocol: ProtocolName
    recipe: Recipe
    start: str | None = None
    validation: Validation | None = None

    @property
    def name(self) -> str:
        """The cell's folder: backbone_xS_loss_seedN."""
        return f"{self.backbone_name}_x{self.scale}_{self.loss_name}_seed{self.seed}"

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that change with any setting."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    @model_validator(mode="after")
    def _fits_together(self) -> "Cell":
        if self.recipe.init is None:
            raise ValueError("recipe.init: missing; a cell leaves nothing to its preset")
        size = self.recipe.size
        if size is not None and size % self.scale:
            raise ValueError(
                f"recipe.size: expected a multiple of the scale {self.scale}, found {size}"
            )
        if size is not None and judge_net_of(self.loss) and size < 32:
            raise ValueError(f"recipe.size: the judge needs 32 hr pixels or more, found {size}")
        return self


def read_cell(path: Path) -> Cell:
    """A cell's resolved config (cell.json); ValueError names the file and the key."""
    return Cell.parse(read_yaml(path), str(path))  # JSON is YAML, too


def _require(known: dict[str, Any], found: Iterable[str], key: str) -> None:
    for name in found:
        if name not in known:
            raise ValueError(f"{key}: {one_of(name, known)}")
