"""The loss of a cell: made of its settings, and what a step asks of it, be it the user's own."""

from pathlib import Path

from torch import Tensor, nn

from tlw.config import lookup
from tlw.config.settings import (
    LossSettings,
    PerceptualSettings,
    PixelSettings,
    Precision,
    TLWSettings,
    UDLSettings,
)
from tlw.losses.perceptual import PerceptualLoss
from tlw.losses.pixel import PixelLoss
from tlw.losses.tlw import TLWLoss
from tlw.losses.udl import UDLLoss
from tlw.networks.sr_net import described
from tlw.training.replay import Figures


def build_loss(
    settings: LossSettings, judge_folder: Path | None, precision: Precision
) -> nn.Module:
    """The loss of complete settings; of the user's own kind an instance of its class.

    Args:
        judge_folder: of the judge's weights, see `tlw.judge.weights.judge_weights`.
        precision: of judge and weighting network.
    """
    changes = settings.model_dump(exclude={"kind", "base"})
    if isinstance(settings, PixelSettings):
        return PixelLoss(settings.base, factor=settings.factor)
    if isinstance(settings, TLWSettings):
        return TLWLoss(settings.base, weights=judge_folder, precision=precision, **changes)
    if isinstance(settings, PerceptualSettings):
        return PerceptualLoss(settings, weights=judge_folder, precision=precision)
    if isinstance(settings, UDLSettings):
        return UDLLoss(**changes)
    return lookup.locate(settings.path, f"'{settings.path}'")(**settings.arguments)


def class_of(thing: object) -> str:
    """What a message calls a network or loss: package.module:Class."""
    return f"{type(thing).__module__}:{type(thing).__qualname__}"


def require_scalar(loss: nn.Module, found: object) -> None:
    """Raises ValueError, with the loss's class, for what no backward pass can be taken of."""
    fits = (
        isinstance(found, Tensor)
        and found.dim() == 0
        and found.is_floating_point()
        and found.requires_grad
    )
    if not fits:
        raise ValueError(
            f"{class_of(loss)}: expected a scalar tensor with a gradient, found {described(found)}"
        )


def figures_of(loss: nn.Module) -> Figures:
    """The scalars that a loss tells of its last call; one of the user's need tell nothing.

    Raises:
        ValueError: for figures that are no scalars.
    """
    last = getattr(loss, "last", None)
    figures = last if isinstance(last, dict) else {}
    for key, figure in figures.items():
        if not isinstance(figure, int | float) and getattr(figure, "shape", None) != ():
            raise ValueError(
                f"{class_of(loss)}: last: expected scalars by name, found {described(figure)} "
                f"as {key}"
            )
    return figures
