"""Uncertainty-driven loss (Ning et al., NeurIPS 2021), which the paper's Table II compares with.

First step (ESU): the network gives, beside sr, the uncertainty z of each pixel. With the error e
Laplace-distributed at scale z and Jeffrey's prior 1/z on z, the posterior of Eq. 1 is
proportional to 1/z^2 exp(-|e|/z); its negative logarithm, with s = ln z, is

    exp(-s) |e| + 2 s

(Eq. 2 as printed has lost the minus sign), smallest at s = ln(|e| / 2). On images in [0, 1] that is
about -4, which a head that ends in an ELU, never below -1, cannot reach: so errors are taken in
grey levels, 0..255, as UDL's own code does. Second step (UDL, Eq. 3): pixels weighted by their
uncertainty.
"""

import copy
from typing import cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tlw.backbones import InHalves
from tlw.backbones.init import init_weights
from tlw.config.settings import Init, PresetName, UDLForm, UDLSettings, loss_settings
from tlw.losses.images import in_float32
from tlw.runtime.errors import one_of


class VarianceHead(nn.Sequential):
    """Three convolutions on the features before upsampling, at the size of hr.

    Args:
        features: channels of the network's features.
        form: "log" gives s = ln z for each channel and pixel, (N, 3, H, W), above -1. "direct"
            gives u > 0 for each pixel, (N, 1, H, W): the TLW authors' head, ELU(0.1) + 0.1.

    Raises:
        ValueError: for an unknown form.
    """

    def __init__(self, features: int, form: UDLForm) -> None:
        _require_known(form)
        direct = form == "direct"
        super().__init__(
            nn.Conv2d(features, features, 3, padding=1),
            nn.ELU(),
            nn.Conv2d(features, features, 3, padding=1),
            nn.ELU(),
            nn.Conv2d(features, 1 if direct else 3, 3, padding=1),
            nn.ELU(alpha=0.1 if direct else 1.0),
        )
        self.offset = 0.1 if direct else 0.0

    def forward(  # type: ignore[override]  # a Sequential takes one argument, this one two
        self, features: Tensor, size: tuple[int, int]
    ) -> Tensor:
        """(N, C, h, w) features, enlarged by nearest neighbours to `size`, the sides of hr."""
        return super().forward(F.interpolate(features, size=size, mode="nearest")) + self.offset


class WithUncertainty(nn.Module):
    """A super-resolution network that also says how uncertain it is.

    Args:
        net: with `features(lr)`, `reconstruct(features, lr)` and `num_features`, see
            `tlw.backbones`.
        form: "log" or "direct", see `VarianceHead`.
        head_init: start of the head, see `tlw.backbones.init`.

    Raises:
        ValueError: for a network without these.
    """

    def __init__(self, net: nn.Module, *, form: UDLForm, head_init: Init = "pytorch") -> None:
        super().__init__()
        missing = [m for m in ("features", "reconstruct", "num_features") if not hasattr(net, m)]
        if missing:
            raise ValueError(
                f"the UDL loss needs a network with features(lr), reconstruct(features, lr) and "
                f"num_features; this {type(net).__name__} lacks {', '.join(missing)}"
            )
        self.net = net
        self.head = VarianceHead(cast(InHalves, net).num_features, form)
        init_weights(self.head, head_init)
        self.frozen: nn.Module | None = None

    def forward(self, lr: Tensor) -> tuple[Tensor, Tensor]:
        """sr (N, 3, H, W) and its uncertainty, s or u, of the same height and width."""
        net = cast(InHalves, self.net)
        features = net.features(lr)
        sr = net.reconstruct(features, lr)
        if self.frozen is not None:
            with torch.no_grad():
                return sr, self.frozen(lr)[1]
        return sr, self.head(features, sr.shape[2:])

    def freeze(self, *, copied: bool) -> None:
        """Ends the first step: from now on the loss teaches the uncertainty nothing.

        Args:
            copied: it is that of a copy of the network as it is at this moment, as Eq. 3 has it.
                The copy is in eval mode: what is frozen has no stochastic depth either. Else it is
                the head's, which stays as it is, on features that go on learning.
        """
        self.head.requires_grad_(False)
        if copied and self.frozen is None:
            self.frozen = copy.deepcopy(self).requires_grad_(False).eval()


def esu_loss(error: Tensor, uncertainty: Tensor, *, form: UDLForm) -> Tensor:
    """The first step's loss: mean(exp(-s) |e| + 2 s), or the same with u = exp(s)."""
    _require_known(form)
    if form == "log":
        return (torch.exp(-uncertainty) * error.abs() + 2 * uncertainty).mean()
    return (error.abs() / uncertainty + 2 * torch.log(uncertainty)).mean()


def udl_loss(error: Tensor, uncertainty: Tensor, *, form: UDLForm) -> Tensor:
    """The second step's loss (Eq. 3): mean(weight |e|), the weights without gradient.

    "log": s - min s + 1, the minimum of each image and channel. "direct": u - min u, the minimum
    of the whole batch, as the TLW authors' code has it.
    """
    _require_known(form)
    uncertainty = uncertainty.detach()
    if form == "log":
        weight = uncertainty - uncertainty.amin(dim=(2, 3), keepdim=True) + 1
    else:
        weight = uncertainty - uncertainty.min()
    return (weight * error.abs()).mean()


class UDLLoss(nn.Module):
    """The ESU loss for the first epochs, the UDL loss after them.

        net = WithUncertainty(network, form=loss_fn.settings.form)
        loss_fn.start_epoch(epoch)
        if loss_fn.weighted:
            net.freeze(copied=loss_fn.settings.frozen)
        loss = loss_fn(net(lr), hr)

    Args:
        preset: "paper" or "authors-code".
        changes: settings that differ from the preset's, see `tlw.config.settings.UDLSettings`.
    """

    def __init__(self, *, preset: PresetName = "paper", **changes: object) -> None:
        super().__init__()
        s = loss_settings("l1-udl", preset, **changes)
        assert isinstance(s, UDLSettings)
        self.settings = s
        self.weighted = False
        self.last: dict[str, Tensor] = {}

    def start_epoch(self, epoch: int) -> None:
        """Chooses the step for an epoch, counted from 0."""
        self.weighted = epoch >= self.settings.esu_epochs

    @in_float32
    def forward(self, output: tuple[Tensor, Tensor], hr: Tensor) -> Tensor:
        """A scalar from (sr, uncertainty) and hr, images in [0, 1]."""
        sr, uncertainty = output
        form = self.settings.form
        # grey levels for "log", the networks' range [-1, 1] for "direct"
        error = (hr - sr) * (255 if form == "log" else 2)
        self.last["uncertainty"] = uncertainty.detach().mean()
        return (udl_loss if self.weighted else esu_loss)(error, uncertainty, form=form)


def _require_known(form: str) -> None:
    if form not in get_args(UDLForm):
        raise ValueError(f"form: {one_of(form, get_args(UDLForm))}")
