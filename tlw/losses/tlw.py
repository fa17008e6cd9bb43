"""Trainable loss weights: the criterion, the two losses, and the module that runs them.

The functions are the paper's equations. `TLWLoss` makes them one step of Algorithm 1
for images in [0, 1]. `distance` is always D(., hr): a function from images (N, 3, H, W), or several
times N, to one number an image. Images are in the range that `distance` reads, whichever that is:
Eq. 4's mixture is linear. Only `weighted_error` wants the networks' range [-1, 1].
"""

import copy
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, cast, get_args

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tlw.backbones.init import init_weights
from tlw.config.settings import (
    Base,
    Precision,
    PresetName,
    ThetaForm,
    TLWSettings,
    loss_settings,
)
from tlw.imaging.ranges import to_signed
from tlw.judge.lpips import Judge
from tlw.losses.fixed_sum import fixed_sum, relaxed_bernoulli
from tlw.losses.images import in_float32
from tlw.losses.weight_net import WeightNet
from tlw.runtime.errors import one_of

Distance = Callable[[Tensor], Tensor]
Images = tuple[Tensor, Tensor]  # sr and hr


class _Comparing(Protocol):
    """What a judge has besides what every module has."""

    def against(self, hr: Tensor) -> Distance: ...


def k_schedule(
    epoch: float, *, start: float = 0.3, rise: float = 0.6, epochs: float = 200
) -> float:
    """k = rise (1 - exp(-epoch / epochs)) + start, section IV-A; in the authors' code over 100."""
    return rise * (1 - math.exp(-epoch / epochs)) + start


def mix(sr: Tensor, hr: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """x_w and x_{1-w} of Eq. 4: sr with the share w of hr put in, and the other way round."""
    return (1 - w) * sr + w * hr, w * sr + (1 - w) * hr


def _distances(distance: Distance, x_w: Tensor, x_rest: Tensor) -> tuple[Tensor, Tensor]:
    """D(x_w, hr) and D(x_{1-w}, hr), in one go."""
    d_w, d_rest = distance(torch.cat([x_w, x_rest])).chunk(2)
    return d_w, d_rest


def weight_criterion(
    distance: Distance,
    sr: Tensor,
    hr: Tensor,
    w: Tensor,
    *,
    eps: float = 0.001,
    eps_in_numerator: bool = True,
) -> Tensor:
    """WC (Eq. 4): how much nearer to hr the chosen pixels bring sr than the others do.

    (D(x_{1-w}, hr) + eps) / (D(x_w, hr) + eps), (N,), above 1 for weights that choose well. The
    authors' code leaves the numerator's eps out where it weights the theta loss.
    """
    d_w, d_rest = _distances(distance, *mix(sr, hr, w))
    return (d_rest + eps * eps_in_numerator) / (d_w + eps)


def phi_loss(
    distance: Distance, sr: Tensor, hr: Tensor, w: Tensor, *, eps: float = 0.001
) -> Tensor:
    """The weighting network's loss, -log WC (Eqs. 8 and 9), mean over the batch.

    Gradients flow to w only: sr is detached.
    """
    d_w, d_rest = _distances(distance, *mix(sr.detach(), hr, w))
    return (torch.log(d_w + eps) - torch.log(d_rest + eps)).mean()


def weighted_error(
    sr: Tensor, hr: Tensor, w: Tensor, *, base: Base, mse_offset: float = 0.1
) -> Tensor:
    """mean ||w (hr - sr)|| of each image, (N,).

    Images are in [-1, 1]. For "l1" the weights stand before |hr - sr|. For "mse"
    w / (|hr - sr| + mse_offset) stands before the square, since a square is itself an error
    weighted by its size (section III-C); this factor passes no gradient.
    """
    error = (hr - sr).abs()
    if base == "mse":
        w = w / (error.detach() + mse_offset)
        error = error.square()
    return (w * error).mean(dim=(1, 2, 3))


def theta_loss(
    errors: Sequence[Tensor],
    criteria: Sequence[Tensor],
    *,
    form: ThetaForm = "sum",
) -> Tensor:
    """The super-resolution network's loss from T samples.

    Args:
        errors: T tensors (N,), the weighted errors e_t.
        criteria: T tensors (N,), the weight criteria WC_t; no gradient flows through them.
        form: "sum", sum_t WC_t e_t (Eqs. 11 and 13), or "log-mean-exp",
            -log(sum_t WC_t exp(-e_t) / sum_t WC_t), as in the authors' code.

    Returns:
        A scalar, the mean over the batch.

    Raises:
        ValueError: for an unknown form.
    """
    if form not in get_args(ThetaForm):
        raise ValueError(f"form: {one_of(form, get_args(ThetaForm))}")
    e = torch.stack(list(errors))
    wc = torch.stack(list(criteria)).detach()
    if form == "sum":
        return (wc * e).sum(dim=0).mean()
    return -torch.log((wc * torch.exp(-e)).sum(dim=0) / wc.sum(dim=0)).mean()


class TLWLoss(nn.Module):
    """Trainable loss weights as a loss: one step of Algorithm 1 at each call.

    In training mode a call first updates the weighting network (phi, one step of its own Adam),
    then draws T new weights and returns the loss for the super-resolution network (theta), of
    which the caller takes the backward pass and the step. In eval mode, and under `torch.no_grad`,
    phi stays as it is. The weighting network and its optimiser are saved with `state_dict`; the
    judge is not.

    All is computed in float32, whatever autocast it is called in, but for what `precision` says.

    Three controls answer whether training phi is what helps; all else stays as it is, the judge's
    criterion in the theta loss, too. `weighting="frozen"` leaves phi at its start, "random" puts
    FixedSum on noise, drawn anew for each sample, in its place, and "uniform" gives every pixel
    the weight k, without sampling.

    Where a process group of torch.distributed is initialised, phi is the same in all its ranks:
    they start from the first one's, and step with the mean of their gradients. BatchNorm works on
    the images of each rank alone.

        loss_fn = TLWLoss("l1")
        for lr, hr in batches:
            loss = loss_fn(net(lr), hr)
            optimizer.zero_grad(); loss.backward(); optimizer.step()

    Args:
        base: "l1" or "mse".
        preset: "paper" or "authors-code", see `tlw.config.settings.PRESETS`.
        judge: D, any module with `against(hr)` as `tlw.judge.lpips.Judge` has it; built from the
            settings if not given.
        weight_net: g_phi, any module from (hr, sr, k) to the weights' mean as
            `tlw.losses.weight_net.WeightNet` has it; built from the settings if not given.
        weights: folder of the judge's weights, see `tlw.judge.weights.judge_weights`.
        precision: "float32" or "bf16-mixed", of weighting network and judge, see
            `tlw.runtime.precision`.
        changes: settings that differ from the preset's, such as `samples=5`; see
            `tlw.config.settings.TLWSettings` for all of them.

    Attributes:
        k: the share of the weights, set by `start_epoch`; a float, or a scalar tensor.
        last: figures of the last call as detached scalars: phi_loss, weights_mean, criterion.

    Raises:
        ValueError: for an unknown setting.
    """

    def __init__(
        self,
        base: Base = "l1",
        *,
        preset: PresetName = "paper",
        judge: nn.Module | None = None,
        weight_net: nn.Module | None = None,
        weights: Path | None = None,
        precision: Precision = "float32",
        **changes: object,
    ) -> None:
        super().__init__()
        if precision not in get_args(Precision):
            raise ValueError(f"precision: {one_of(precision, get_args(Precision))}")
        s = loss_settings(f"{base}-tlw", preset, **{"kind": "tlw", "base": base, **changes})
        assert isinstance(s, TLWSettings)
        self.settings = s
        self.weight_net = weight_net or _weight_net(s, precision)
        # Outside of phi's own step it has no gradient: an optimiser, or DistributedDataParallel, of
        # all parameters of a module that holds this loss leaves phi alone.
        self.weight_net.requires_grad_(False)
        self.judge = judge or Judge(
            s.judge_net,
            calibrated=s.calibrated,
            channels=s.channels,
            weights=weights,
            precision=precision,
        )
        self.judge.requires_grad_(False)
        # Parameters that move to another device keep their identity, so the optimiser can be
        # built here.
        self.optimizer = torch.optim.Adam(
            self.weight_net.parameters(), lr=s.learning_rate, betas=s.betas, fused=True
        )
        self._started_together = False  # with the other ranks, where there are any
        self.last: dict[str, Tensor] = {}
        self.start_epoch(0)

    def start_epoch(self, epoch: float) -> None:
        """Sets k for an epoch, counted from 0."""
        s = self.settings
        self.k: float | Tensor = k_schedule(
            epoch, start=s.k_start, rise=s.k_rise, epochs=s.k_epochs
        )

    @in_float32
    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        """The theta loss, a scalar; updates phi before, in training mode.

        Args:
            sr: (N, 3, H, W) RGB, about [0, 1], with the network's graph.
            hr: (N, 3, H, W) RGB in [0, 1].

        Raises:
            ValueError: when the first hr is clearly not in [0, 1].
        """
        distance = cast(_Comparing, self.judge).against(hr)
        images, signed = (sr, hr), (to_signed(sr), to_signed(hr))
        learns = self.training and torch.is_grad_enabled()
        if learns and self.settings.weighting == "trained":
            self._update_phi(distance, images, signed)
        return self._theta_loss(distance, images, signed)

    @torch.no_grad()
    def mean_weights(self, sr: Tensor, hr: Tensor) -> Tensor:
        """The mean of the weights' distribution for images in [0, 1], (N, 3, H, W), to look at.

        As in a step, BatchNorm works on these images; nothing is changed by it. Of random and
        uniform weights the mean is k.
        """
        if self.settings.weighting in ("random", "uniform"):
            return torch.zeros_like(hr) + self.k
        net = copy.deepcopy(self.weight_net).train()
        return net(to_signed(hr), to_signed(sr), self.k)

    def _drawing(self, signed: Images) -> Callable[[], Tensor]:
        """What draws weights (N, 3, H, W) of the present distribution, at each call anew."""
        s, (sr, hr) = self.settings, signed
        if s.weighting == "uniform":
            return lambda: torch.zeros_like(hr) + self.k
        if s.weighting == "random":
            over = s.fixed_sum_over
            return lambda: self._sample(fixed_sum(_noise_like(hr), self.k, over=over))
        mean = self.weight_net(hr, sr.detach(), self.k)
        return lambda: self._sample(mean)

    def _sample(self, mean: Tensor) -> Tensor:
        s = self.settings
        noise = _noise_like(mean)
        return relaxed_bernoulli(mean, noise, temperature=s.temperature, margin=s.margin)

    def _update_phi(self, distance: Distance, images: Images, signed: Images) -> None:
        ranks = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
        phi = list(self.weight_net.parameters())
        if ranks > 1 and not self._started_together:
            for parameter in phi:
                dist.broadcast(parameter.detach(), 0)
            self._started_together = True
        self.weight_net.requires_grad_(True)
        w = self._drawing(signed)()
        loss = phi_loss(distance, *images, w, eps=self.settings.eps)
        loss.backward()
        if ranks > 1:
            for parameter in phi:
                assert parameter.grad is not None  # the loss depends on all of them
                dist.all_reduce(parameter.grad)
                parameter.grad /= ranks
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.weight_net.requires_grad_(False)
        self.last["phi_loss"] = loss.detach()
        self.last["weights_mean"] = w.detach().mean()

    def _theta_loss(self, distance: Distance, images: Images, signed: Images) -> Tensor:
        s = self.settings
        errors, criteria = [], []
        with torch.no_grad():
            draw = self._drawing(signed)
        for _ in range(s.samples):
            with torch.no_grad():
                w = draw()
                wc = weight_criterion(
                    distance, *images, w, eps=s.eps, eps_in_numerator=s.eps_in_numerator
                )
            criteria.append(wc)
            errors.append(weighted_error(*signed, w, base=s.base, mse_offset=s.mse_offset))
        self.last["criterion"] = torch.stack(criteria).mean()
        return theta_loss(errors, criteria, form=s.theta_loss)

    def get_extra_state(self) -> dict:
        """The optimiser's state, saved with `state_dict`."""
        return self.optimizer.state_dict()

    def set_extra_state(self, state: dict) -> None:
        """Restores the optimiser's state, from a copy: Adam would go on with the same tensors."""
        self.optimizer.load_state_dict(copy.deepcopy(state))


def _weight_net(settings: TLWSettings, precision: Precision) -> WeightNet:
    net = WeightNet(features=settings.features, over=settings.fixed_sum_over, precision=precision)
    init_weights(net, settings.init)
    return net


def _noise_like(x: Tensor) -> Tensor:
    """Uniform on [0, 1), in the order of the shape, not of the memory: a seed has the same noise in
    any layout.
    """
    return torch.rand_like(x.contiguous())
