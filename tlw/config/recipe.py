"""How a network is trained, whatever its loss. No torch in here, see `tlw.config.schema`."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tlw.config.schema import Flag, Model, Name, Number, Whole
from tlw.config.settings import Beta, Epochs, Init, Positive, Precision

Schedule = Literal["constant", "multistep", "cosine"]
Steps = Annotated[Whole, Field(ge=0, le=1_000_000_000)]


class Recipe(Model):
    """How a network is trained, whatever its loss."""

    sampling: Literal["whole", "tiles", "crops"] = Field(
        description="whole images, a grid of tiles over each, or random crops"
    )
    size: Annotated[Whole, Field(ge=1, le=4096)] | None = Field(
        default=None, description="of tiles and crops, in hr pixels"
    )
    lr_size: Annotated[Whole, Field(ge=1, le=4096)] | None = Field(
        default=None, description="the same in lr pixels, instead of size, for any scale"
    )
    batch: Whole = Field(default=1, ge=1, le=4096, description="images, tiles or crops in a step")
    augment: Flag = Field(default=False, description="random flips and quarter turns")
    epochs: Epochs = Field(description="passes; k and the UDL's steps follow them")
    steps_per_epoch: Annotated[Whole, Field(ge=1, le=10_000_000)] | None = Field(
        default=None, description="for crops only"
    )
    optimizer: Literal["adam", "adamw"] = Field(default="adam", description="of the network")
    weight_decay: Annotated[Number, Field(ge=0)] = Field(default=0, description="the optimiser's")
    clip_gradient: Positive | None = Field(
        default=None, description="the largest norm of the network's gradient, which is cut to it"
    )
    ema: Beta | None = Field(
        default=None,
        description="decay of a running mean of the weights, which is saved instead of the last",
    )
    learning_rate: Positive = Field(default=1e-4, description="Adam's, before its schedule")
    schedule: Schedule = Field(default="constant", description="of the learning rate")
    warmup_steps: Steps = Field(default=0, description="in which the rate rises from 0, linearly")
    milestones: Annotated[tuple[Steps, ...], Field(max_length=1000)] = Field(
        default=(), description="for multistep: the steps at which the rate is multiplied by gamma"
    )
    gamma: Annotated[Number, Field(gt=0, lt=1)] | None = Field(
        default=None, description="for multistep"
    )
    final_learning_rate: Annotated[Number, Field(ge=0)] | None = Field(
        default=None, description="for cosine: where the rate ends"
    )
    betas: tuple[Beta, Beta] = Field(default=(0.5, 0.999), description="Adam's")
    eps: Number = Field(default=1e-8, ge=0, description="Adam's; see docs/losses.md")
    precision: Precision = Field(
        default="float32",
        description="bf16-mixed: convolutions in bfloat16, where the device has it",
    )
    init: Init | None = Field(default=None, description="start weights; the preset's if not given")

    @model_validator(mode="after")
    def _fits_together(self) -> "Recipe":
        if self.size is not None and self.lr_size is not None:
            raise ValueError(f"lr_size: found {self.lr_size} beside size {self.size}; give one")
        size = "size" if self.lr_size is None else "lr_size"
        needed = {size: self.sampling != "whole", "steps_per_epoch": self.sampling == "crops"}
        for key, is_needed in needed.items():
            value = getattr(self, key)
            if is_needed and value is None:
                raise ValueError(f"{key}: missing; sampling {self.sampling} needs it")
            if value is not None and not is_needed:
                raise ValueError(f"{key}: found {value}, but sampling {self.sampling} has none")
        if self.sampling == "whole" and self.batch != 1:
            raise ValueError(f"batch: expected 1, since whole images differ in size, "
                             f"found {self.batch}")  # fmt: skip
        return self

    @model_validator(mode="after")
    def _schedule_has_what_it_needs(self) -> "Recipe":
        needed = {
            "milestones": ("multistep", self.milestones or None),
            "gamma": ("multistep", self.gamma),
            "final_learning_rate": ("cosine", self.final_learning_rate),
        }
        for key, (schedule, value) in needed.items():
            if value is None and schedule == self.schedule:
                raise ValueError(f"{key}: missing; schedule {schedule} needs it")
            if value is not None and schedule != self.schedule:
                raise ValueError(f"{key}: found {value}, but schedule {self.schedule} has none")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones: expected steps that rise, found {self.milestones}")
        if (self.final_learning_rate or 0) > self.learning_rate:
            raise ValueError(
                f"final_learning_rate: expected at most learning_rate ({self.learning_rate}), "
                f"found {self.final_learning_rate}"
            )
        return self

    def at(self, scale: int) -> "Recipe":
        """The recipe of a cell, whose tiles and crops have a size in hr pixels."""
        if self.lr_size is None:
            return self
        return self.model_copy(update={"size": self.lr_size * scale, "lr_size": None})

    def check_processes(self, count: int) -> None:
        """Raises ValueError when so many processes, one a GPU, cannot share a batch out evenly."""
        if self.batch % count:
            raise ValueError(
                f"expected a number of GPUs that divides the recipe's batch of {self.batch}, "
                f"found {count}"
            )


class Validation(Model):
    """How a training is watched: PSNR on images that are neither trained nor tested on."""

    image_set: Name = Field(description="whose first images are taken, by the benchmarks' protocol")
    every: Annotated[Whole, Field(ge=1, le=1_000_000_000)] = Field(
        description="steps between two looks; the last step always has one"
    )
    images: Annotated[Whole, Field(ge=1, le=1000)] = Field(default=10, description="how many")
    size: Annotated[Whole, Field(ge=16, le=4096)] = Field(
        default=192, description="side of the square in the middle of each, in hr pixels"
    )
    shown: tuple[str, ...] = Field(
        default=(),
        description="of these images, by file name, what the network makes and their weights are "
        "kept as pictures at each look",
    )
    keep: Literal["last", "best"] = Field(
        default="last",
        description="the weights that are saved and scored: those of the last step, or of the "
        "best by this PSNR; the last are then kept beside",
    )


def _of_the_field(steps: int, **changes: Any) -> Recipe:
    """Crops with L1's usual optimiser, so many steps, of which a thousand count as an epoch."""
    return Recipe(
        sampling="crops",
        augment=True,
        epochs=steps // 1000,
        steps_per_epoch=1000,
        betas=(0.9, 0.99),
        schedule="multistep",
        gamma=0.5,
        init="pytorch",
        **changes,
    )


# The field's own, from the option files that are published with the networks: BasicSR's EDSR and
# RCAN at x2 (both 300,000 steps), and HAT at x2 from scratch and at x4 from the weights of x2.
RECIPES = {
    "basicsr-edsr": _of_the_field(
        300_000, lr_size=48, batch=16, learning_rate=1e-4, milestones=(200_000,)
    ),
    "basicsr-rcan": _of_the_field(
        300_000, lr_size=48, batch=16, learning_rate=1e-4, milestones=(200_000,), ema=0.999
    ),
    "hat": _of_the_field(
        500_000, lr_size=64, batch=32, learning_rate=2e-4,
        milestones=(250_000, 400_000, 450_000, 475_000), ema=0.999,
    ),
    "hat-from-x2": _of_the_field(
        250_000, lr_size=64, batch=32, learning_rate=1e-4,
        milestones=(125_000, 200_000, 225_000, 240_000), ema=0.999,
    ),
}  # fmt: skip
