"""The losses' settings: what each can be set to, and the two complete readings of the method.

No torch in here, see `tlw.config.schema`.
"""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, ValidationInfo, model_validator

from tlw.config import lookup
from tlw.config.schema import Arguments, Flag, Model, Number, Whole, may_import
from tlw.runtime.errors import one_of

# Each set of words is written here and nowhere else; `typing.get_args` gives the words.
Scale = Literal[2, 3, 4]
ProtocolName = Literal["paper", "standard", "standard-grey-as-rgb"]
PresetName = Literal["paper", "authors-code"]
Base = Literal["l1", "mse"]
Init = Literal["normal", "authors-code", "pytorch"]
Precision = Literal["float32", "bf16-mixed"]
JudgeNet = Literal["vgg", "alex", "squeeze"]
ExtraMetric = Literal["dists", "lpips_alex", "lpips_squeeze", "ssim_y"]  # beside a protocol's own
Channels = Literal["rgb", "bgr"]
Use = Literal["train", "test"]
Over = Literal["image", "channel"]
ThetaForm = Literal["sum", "log-mean-exp"]
UDLForm = Literal["log", "direct"]
Weighting = Literal["trained", "frozen", "random", "uniform"]
SCALES: tuple[Scale, ...] = get_args(Scale)

Beta = Annotated[Number, Field(ge=0, lt=1)]
Positive = Annotated[Number, Field(gt=0)]
Epochs = Annotated[Whole, Field(ge=1, le=1_000_000)]


class PixelSettings(Model):
    """The unweighted loss, measured on [-1, 1]."""

    kind: Literal["pixel"] = "pixel"
    base: Base = Field(description="mean absolute or mean squared error")
    factor: Positive = Field(description="a constant before it, a control; see docs/losses.md")


class TLWSettings(Model):
    """Trainable loss weights. Where paper and authors' code differ, see `PRESETS`."""

    kind: Literal["tlw"] = "tlw"
    base: Base = Field(description="the pixel-wise loss that is weighted")
    weighting: Weighting = Field(
        description="where weights come from: trained is the method, the others are controls"
    )
    judge_net: JudgeNet = Field(description="the trunk of the judge D")
    calibrated: Flag = Field(description="LPIPS' learned heads in D, or plain sums")
    channels: Channels = Field(description="the order in which D sees an image")
    fixed_sum_over: Over = Field(description="what one fixed sum spans")
    k_start: Positive = Field(description="share k of the weights' maximum at epoch 0")
    k_rise: Number = Field(ge=0, description="how much k grows in the limit")
    k_epochs: Positive = Field(description="epochs in which 1 - 1/e of that is reached")
    samples: Whole = Field(ge=1, le=1000, description="T, the weights drawn for the theta loss")
    temperature: Positive = Field(description="of the relaxed Bernoulli distribution")
    margin: Number = Field(gt=0, lt=1, description="keeps probabilities from 0 and 1 by its half")
    eps: Positive = Field(description="epsilon of the weight criterion (Eq. 4)")
    eps_in_numerator: Flag = Field(description="epsilon in the theta loss's numerator, too")
    theta_loss: ThetaForm = Field(description="Eq. 13, or the code's form")
    mse_offset: Positive = Field(description="added to |x - sr| under the MSE's weights")
    features: Whole = Field(ge=1, le=2048, description="channels of the weighting network")
    init: Init = Field(description="start of the weighting network")
    learning_rate: Positive = Field(description="of the weighting network's Adam")
    betas: tuple[Beta, Beta] = Field(description="of the weighting network's Adam")

    @model_validator(mode="after")
    def _k_stays_a_share(self) -> "TLWSettings":
        if self.k_start + self.k_rise >= 1:
            raise ValueError(
                f"k_start + k_rise must stay below 1, found {self.k_start} + {self.k_rise}"
            )
        return self


class PerceptualSettings(Model):
    """A pixel-wise loss plus a share of a perceptual distance: a control for the judge in TLW."""

    kind: Literal["perceptual"] = "perceptual"
    base: Base = Field(description="mean absolute or mean squared error, as of kind pixel")
    judge_net: JudgeNet = Field(description="the trunk of the distance D")
    calibrated: Flag = Field(description="LPIPS' learned heads in D, or plain sums")
    channels: Channels = Field(description="the order in which D sees an image")
    share: Positive = Field(description="of D, added to the error")


class UDLSettings(Model):
    """Uncertainty-driven loss (Ning et al., NeurIPS 2021), on L1."""

    kind: Literal["udl"] = "udl"
    form: UDLForm = Field(
        description="the variance head gives s = ln z per pixel and channel and errors are in "
        "0..255 (UDL's own code), or u per pixel and errors in [-1, 1] (the TLW authors' code)"
    )
    frozen: Flag = Field(description="Eq. 3 reads a frozen copy of the first step's network")
    esu_epochs: Epochs = Field(description="epochs of the first step (Eq. 2)")
    head_init: Init = Field(description="start of the variance head")


class CustomSettings(Model):
    """A loss of the user's: an nn.Module called with sr and hr in [0, 1], giving a scalar."""

    kind: Literal["custom"] = "custom"
    path: str = Field(description="its import path, package.module:Class")
    arguments: Arguments = Field(default={}, description="keyword arguments")

    @model_validator(mode="after")
    def _can_be_found(self, info: ValidationInfo) -> "CustomSettings":
        if may_import(info):
            lookup.check(self.path, self.arguments, what=f"'{self.path}'")
        return self


LossSettings = PixelSettings | TLWSettings | PerceptualSettings | UDLSettings | CustomSettings


def judge_net_of(loss: LossSettings) -> JudgeNet | None:
    """The trunk of the judge that a loss is trained with, if there is one."""
    return loss.judge_net if isinstance(loss, TLWSettings | PerceptualSettings) else None


# Two complete readings of the method. What they share stands first. Where neither is what the paper
# or its code did:
# - Table II's training images: the paper cuts 366 x 366 pixels, which x4 does not divide; the code
#   tiles of 336, which config/config.yaml takes (`size` of its recipe).
# - Table II's k: the paper takes it "as shown in Figure 2", where it is 0.3; the code keeps the
#   schedule, and so do both presets. `k_rise: 0` is the figure's.
# - Table II's start: in the code's script for it the weighting network, and the network with its
#   variance head, start as PyTorch builds them, other networks from N(0, 0.02). Here the head does;
#   `init: pytorch` of a tlw loss, and of a recipe for l1-udl, gives the rest.
_TLW = {
    **{"weighting": "trained", "judge_net": "vgg", "channels": "bgr"},
    **{"k_start": 0.3, "k_rise": 0.6, "samples": 3},
    **{"temperature": 0.1, "margin": 0.001, "eps": 0.001, "features": 64},
    **{"learning_rate": 1e-4, "betas": (0.5, 0.999)},
}
_UDL = {"esu_epochs": 10, "head_init": "pytorch"}
# The judge of TLW's preset; the share is nobody's but the control's.
_PERCEPTUAL = {"judge_net": "vgg", "channels": "bgr", "share": 0.1}
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "init": "normal",
        "tlw": {
            **_TLW,
            **{"calibrated": True, "fixed_sum_over": "image", "k_epochs": 200},
            **{"eps_in_numerator": True, "theta_loss": "sum", "mse_offset": 0.1, "init": "normal"},
        },
        "perceptual": {**_PERCEPTUAL, "calibrated": True},
        "udl": {**_UDL, "form": "log", "frozen": True},
        "pixel": {"factor": 1.0},
    },
    "authors-code": {
        "init": "authors-code",
        "tlw": {
            **_TLW,
            **{"calibrated": False, "fixed_sum_over": "channel", "k_epochs": 100},
            **{"eps_in_numerator": False, "theta_loss": "log-mean-exp", "mse_offset": 0.2},
            "init": "authors-code",
        },
        "perceptual": {**_PERCEPTUAL, "calibrated": False},
        "udl": {**_UDL, "form": "direct", "frozen": False},
        "pixel": {"factor": 1.0},
    },
}

LOSSES: dict[str, dict[str, Any]] = {
    "l1": {"kind": "pixel", "base": "l1"},
    "mse": {"kind": "pixel", "base": "mse"},
    "l1-tlw": {"kind": "tlw", "base": "l1"},
    "mse-tlw": {"kind": "tlw", "base": "mse"},
    "l1-udl": {"kind": "udl"},
}


def loss_settings(name: str, preset: PresetName = "paper", /, **changes: Any) -> LossSettings:
    """The complete settings of a loss: a preset's, with some of them changed.

    Args:
        name: one of `LOSSES`, or any other name if `changes` say which `kind` it is.
        preset: "paper" or "authors-code".
        changes: settings that differ from the preset, as keywords.

    Raises:
        ValueError: for an unknown name, preset or setting, or one out of its range.
    """
    where = f"loss {name!r}"
    if preset not in list(PRESETS):
        raise ValueError(f"{where}: preset: {one_of(preset, PRESETS)}")
    entry = {**LOSSES.get(name, {}), **changes}
    kinds = {kind.model_fields["kind"].default: kind for kind in get_args(LossSettings)}
    kind = entry.get("kind")
    if kind is None:
        raise ValueError(
            f"{where}: {one_of(name, LOSSES)}; a loss of your own needs a kind ({', '.join(kinds)})"
        )
    if kind not in list(kinds):
        raise ValueError(f"{where}: kind: {one_of(kind, kinds)}")
    return kinds[kind].parse({**PRESETS[preset].get(kind, {}), **entry}, where)
