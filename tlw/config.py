"""The one schema of the configuration: what a grid is, and what defines each of its cells.

`Config` is what a user writes (config/*.yaml), `Cell` what comes out of it for one training: every
setting resolved, nothing left to defaults that could change under it. No torch in here, so that
a mistake is told within a second.
"""

import difflib
import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from tlw.backbones import BACKBONES, check

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*$")]
Scale = Literal[2, 3, 4]
Init = Literal["normal", "authors-code", "pytorch"]
Base = Literal["l1", "mse"]


class Model(BaseModel):
    """Frozen, and strict about keys: a misspelt one is an error, not a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def parse(cls, content: Any, source: str) -> Self:
        """From plain data; ValueError with a line for each fault, naming `source` and the key."""
        if not isinstance(content, dict):
            raise ValueError(f"{source}: expected keys and values, found {type(content).__name__}")
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise ValueError(_explain(error, cls, source)) from None


# --- losses -----------------------------------------------------------------------------------


class PixelSettings(Model):
    """The unweighted loss, measured on [-1, 1]."""

    kind: Literal["pixel"] = "pixel"
    base: Base = Field(description="mean absolute or mean squared error")


class TLWSettings(Model):
    """Trainable loss weights. Where paper and authors' code differ, see `PRESETS`."""

    kind: Literal["tlw"] = "tlw"
    base: Base = Field(description="the pixel-wise loss that is weighted")
    judge_net: Literal["vgg", "alex"] = Field(description="the trunk of the judge D")
    calibrated: bool = Field(description="LPIPS' learned heads in D, or plain sums")
    channels: Literal["rgb", "bgr"] = Field(description="the order in which D sees an image")
    fixed_sum_over: Literal["image", "channel"] = Field(description="what one fixed sum spans")
    k_start: PositiveFloat = Field(description="share k of the weights' maximum at epoch 0")
    k_rise: float = Field(ge=0, description="how much k grows in the limit")
    k_epochs: PositiveFloat = Field(description="epochs in which 1 - 1/e of that is reached")
    samples: PositiveInt = Field(description="T, the weights drawn for the theta loss")
    temperature: PositiveFloat = Field(description="of the relaxed Bernoulli distribution")
    margin: float = Field(gt=0, lt=1, description="keeps probabilities from 0 and 1 by its half")
    eps: PositiveFloat = Field(description="epsilon of the weight criterion (Eq. 4)")
    eps_in_numerator: bool = Field(description="epsilon in the theta loss's numerator, too")
    theta_loss: Literal["sum", "log-mean-exp"] = Field(description="Eq. 13, or the code's form")
    mse_offset: PositiveFloat = Field(description="added to |x - sr| under the MSE's weights")
    features: PositiveInt = Field(description="channels of the weighting network")
    init: Init = Field(description="start of the weighting network")
    learning_rate: PositiveFloat = Field(description="of the weighting network's Adam")
    betas: tuple[float, float] = Field(description="of the weighting network's Adam")

    @model_validator(mode="after")
    def _k_stays_a_share(self) -> "TLWSettings":
        if self.k_start + self.k_rise >= 1:
            raise ValueError(
                f"k_start + k_rise must stay below 1, found {self.k_start} + {self.k_rise}"
            )
        return self


class UDLSettings(Model):
    """Uncertainty-driven loss (Ning et al., NeurIPS 2021), on L1."""

    kind: Literal["udl"] = "udl"
    form: Literal["log", "direct"] = Field(
        description="the variance head gives s = ln z per pixel and channel and errors are in "
        "0..255 (UDL's own code), or u per pixel and errors in [-1, 1] (the TLW authors' code)"
    )
    frozen: bool = Field(description="Eq. 3 reads a frozen copy of the first step's network")
    esu_epochs: PositiveInt = Field(description="epochs of the first step (Eq. 2)")


Loss = Annotated[PixelSettings | TLWSettings | UDLSettings, Field(discriminator="kind")]

# Two complete readings of the method. What they share stands first.
_TLW = {
    **{"judge_net": "vgg", "channels": "bgr", "k_start": 0.3, "k_rise": 0.6, "samples": 3},
    **{"temperature": 0.1, "margin": 0.001, "eps": 0.001, "features": 64},
    **{"learning_rate": 1e-4, "betas": (0.5, 0.999)},
}
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "init": "normal",
        "tlw": {
            **_TLW,
            **{"calibrated": True, "fixed_sum_over": "image", "k_epochs": 200},
            **{"eps_in_numerator": True, "theta_loss": "sum", "mse_offset": 0.1, "init": "normal"},
        },
        "udl": {"form": "log", "frozen": True, "esu_epochs": 10},
    },
    "authors-code": {
        "init": "authors-code",
        "tlw": {
            **_TLW,
            **{"calibrated": False, "fixed_sum_over": "channel", "k_epochs": 100},
            **{"eps_in_numerator": False, "theta_loss": "log-mean-exp", "mse_offset": 0.2},
            "init": "authors-code",
        },
        "udl": {"form": "direct", "frozen": False, "esu_epochs": 10},
    },
}
PresetName = Literal["paper", "authors-code"]

LOSSES: dict[str, dict[str, Any]] = {
    "l1": {"kind": "pixel", "base": "l1"},
    "mse": {"kind": "pixel", "base": "mse"},
    "l1-tlw": {"kind": "tlw", "base": "l1"},
    "mse-tlw": {"kind": "tlw", "base": "mse"},
    "l1-udl": {"kind": "udl"},
}


def loss_settings(
    name: str, preset: PresetName = "paper", **changes: Any
) -> PixelSettings | TLWSettings | UDLSettings:
    """The complete settings of a loss: a preset's, with some of them changed.

    Args:
        name: one of `LOSSES`, or any other name if `changes` say which `kind` it is.
        preset: "paper" or "authors-code".
        changes: settings that differ from the preset, as keywords.

    Raises:
        ValueError: for an unknown name, preset or setting, or one out of its range.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset: {_one_of(preset, PRESETS)}")
    entry = {**LOSSES.get(name, {}), **changes}
    kinds = {"pixel": PixelSettings, "tlw": TLWSettings, "udl": UDLSettings}
    kind = entry.get("kind")
    if kind is None:
        raise ValueError(
            f"loss {name!r}: {_one_of(name, LOSSES)}, or give a loss of your own its kind "
            f"({', '.join(kinds)})"
        )
    if kind not in kinds:
        raise ValueError(f"loss {name!r}: kind: {_one_of(kind, kinds)}")
    return kinds[kind].parse({**PRESETS[preset].get(kind, {}), **entry}, f"loss {name!r}")


# --- what a user writes -----------------------------------------------------------------------


class Backbone(Model):
    """A super-resolution network: where its class is, and what it is built with."""

    path: str = Field(description="a known name, or an import path package.module:Class")
    arguments: dict[str, Any] = Field(default={}, description="keyword arguments, but the scale")
    images: Literal["signed-rgb", "signed-bgr", "unit-rgb"] = Field(
        default="signed-rgb", description="the range and channel order that the network works in"
    )


class Recipe(Model):
    """How a network is trained, whatever its loss."""

    sampling: Literal["whole", "tiles", "crops"] = Field(
        description="whole images, a grid of tiles over each, or random crops"
    )
    size: PositiveInt | None = Field(default=None, description="of tiles and crops, in hr pixels")
    batch: PositiveInt = Field(default=1, description="images, tiles or crops in a step")
    augment: bool = Field(default=False, description="random flips and quarter turns")
    epochs: PositiveInt = Field(description="passes; k and the UDL's steps follow them")
    steps_per_epoch: PositiveInt | None = Field(default=None, description="for crops only")
    learning_rate: PositiveFloat = Field(default=1e-4, description="Adam's")
    betas: tuple[float, float] = Field(default=(0.5, 0.999), description="Adam's")
    precision: Literal["float32", "bf16"] = Field(
        default="float32", description="of the super-resolution network; the rest is float32"
    )
    init: Init | None = Field(default=None, description="start weights; the preset's if not given")

    @model_validator(mode="after")
    def _fits_together(self) -> "Recipe":
        if (self.size is None) != (self.sampling == "whole"):
            raise ValueError("size (in hr pixels) goes with tiles and crops, and is needed there")
        if (self.steps_per_epoch is None) != (self.sampling != "crops"):
            raise ValueError("steps_per_epoch goes with crops, and is needed there")
        if self.sampling == "whole" and self.batch != 1:
            raise ValueError(f"whole images differ in size: batch must be 1, found {self.batch}")
        return self


class Grid(Model):
    """One table: backbones x scales x losses x seeds, trained alike."""

    title: str = Field(description="the caption of its table")
    published: Literal[1, 2] | None = Field(
        default=None, description="the paper's table whose numbers stand beside ours"
    )
    train: tuple[Name, ...] = Field(min_length=1, description="image sets to train on")
    recipe: Name = Field(description="a name from `recipes`")
    preset: PresetName = Field(default="paper", description="the reading of the method")
    backbones: tuple[Name, ...] = Field(min_length=1, description="names from `backbones`")
    scales: tuple[Scale, ...] = Field(min_length=1, description="2, 3, 4")
    losses: tuple[Name, ...] = Field(min_length=1, description="names of losses")
    seeds: tuple[NonNegativeInt, ...] = Field(default=(0,), min_length=1, description="seeds")


class Config(Model):
    """A whole run: grids of cells, and what their names stand for."""

    results: str = Field(description="folder for everything that this run makes")
    protocol: Literal["paper", "standard"] = Field(
        default="paper", description="how pairs are made and scored"
    )
    test: tuple[Name, ...] = Field(min_length=1, description="the benchmarks, image sets")
    device: str = Field(
        default="auto", description="cpu, cuda, cuda:1; auto: a GPU if there is one"
    )
    threads: PositiveInt = Field(default=4, description="CPU threads of a job")
    grids: dict[Name, Grid] = Field(min_length=1, description="the tables")
    recipes: dict[Name, Recipe] = Field(description="ways to train")
    backbones: dict[Name, Backbone] = Field(
        default={}, description="networks besides the known ones, or these with other arguments"
    )
    losses: dict[Name, dict[str, Any]] = Field(
        default={}, description="changed settings of the known losses, or losses of your own"
    )

    @model_validator(mode="after")
    def _names_are_known(self) -> "Config":
        for name, backbone in self.backbones.items():
            with _at(f"backbones.{name}"):
                check(backbone.path, backbone.arguments)
        for key, grid in self.grids.items():
            with _at(f"grids.{key}"):
                if grid.recipe not in self.recipes:
                    raise ValueError(f"recipe: {_one_of(grid.recipe, self.recipes)}")
                known = {**BACKBONES, **self.backbones}
                for backbone in grid.backbones:
                    if backbone not in known:
                        raise ValueError(f"backbones: {_one_of(backbone, known)}")
                for cell in self.cells(key):
                    _size_fits(cell)
        return self

    def cells(self, grid_name: str) -> list["Cell"]:
        """The resolved cells of one grid, in the order of its lists."""
        return list(self._cells(self.grids[grid_name]))

    def _cells(self, grid: Grid) -> Iterator["Cell"]:
        recipe = self.recipes[grid.recipe]
        init = recipe.init or PRESETS[grid.preset]["init"]
        for backbone in grid.backbones:
            for scale in grid.scales:
                for loss in grid.losses:
                    entry = dict(self.losses.get(loss, {}))
                    preset = entry.pop("preset", grid.preset)
                    for seed in grid.seeds:
                        yield Cell(
                            backbone_name=backbone,
                            backbone=self.backbones.get(backbone, Backbone(path=backbone)),
                            scale=scale,
                            loss_name=loss,
                            loss=loss_settings(loss, preset, **entry),
                            preset=preset,
                            seed=seed,
                            train=grid.train,
                            protocol=self.protocol,
                            recipe=recipe.model_copy(update={"init": init}),
                        )


class Cell(Model):
    """One trained network: everything that its training reads, besides the images."""

    backbone_name: Name
    backbone: Backbone
    scale: Scale
    loss_name: Name
    loss: Loss
    preset: PresetName
    seed: NonNegativeInt
    train: tuple[Name, ...]
    protocol: Literal["paper", "standard"]
    recipe: Recipe

    @property
    def name(self) -> str:
        """The cell's folder: backbone_xS_loss_seedN."""
        return f"{self.backbone_name}_x{self.scale}_{self.loss_name}_seed{self.seed}"

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that change with any setting."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    @property
    def epochs_of_esu(self) -> int:
        """Epochs before the UDL's second step, 0 for other losses."""
        return self.loss.esu_epochs if isinstance(self.loss, UDLSettings) else 0


def _size_fits(cell: Cell) -> None:
    size, scale = cell.recipe.size, cell.scale
    if size is not None and size % scale:
        raise ValueError(f"recipe size {size} is not a multiple of scale {scale}")
    if size is not None and isinstance(cell.loss, TLWSettings) and size < 32:
        raise ValueError(f"recipe size {size}: the judge needs 32 pixels or more")


# --- reading and explaining -------------------------------------------------------------------


def read_config(path: Path) -> Config:
    """A config file as a `Config`; ValueError names the file, the key and what was expected."""
    return Config.parse(_read(path), str(path))


def read_cell(path: Path) -> Cell:
    """A cell's resolved config (cell.json); ValueError names the file and the key."""
    return Cell.parse(_read(path), str(path))


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(Path(path).read_text())  # JSON is YAML, too
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: cannot be read as YAML or JSON: {error}") from None


def _explain(error: ValidationError, model: type[BaseModel], source: str) -> str:
    """One line for each fault: where, what was expected, what was found, a near name."""
    lines = []
    for fault in error.errors():
        key = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            line = f"unknown key{_near(str(fault['loc'][-1]), _keys(model))}"
        elif fault["type"] == "missing":
            line = "missing; it has no default"
        elif fault["type"] == "value_error":
            line = str(fault["ctx"]["error"])
        else:
            line = f"{fault['msg']}, found {fault['input']!r}"
        lines.append(f"{source}: {key}: {line}" if key else f"{source}: {line}")
    return "\n".join(lines)


def _keys(model: type[BaseModel]) -> set[str]:
    """All keys anywhere below a model."""
    schema = model.model_json_schema()
    parts = [schema, *schema.get("$defs", {}).values()]
    return {key for part in parts for key in part.get("properties", {})}


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _one_of(name: str, known: Iterable[str]) -> str:
    return f"expected one of {', '.join(known)}, found {name!r}{_near(name, known)}"


@contextmanager
def _at(key: str) -> Iterator[None]:
    """Puts a key before the message of a ValueError raised inside."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None
