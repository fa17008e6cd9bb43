"""Losses of one's own; examples/config.yaml has them by import path, as my_losses:Charbonnier.

The first is new altogether, the second is TLW with another judge, the third with other weights.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tlw import TLWLoss, fixed_sum


class Charbonnier(nn.Module):
    """A smooth L1: the mean of sqrt((hr - sr)^2 + eps^2), on images in [0, 1]."""

    def __init__(self, eps: float = 1e-3) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        return ((hr - sr).square() + self.eps**2).sqrt().mean()


class Slopes(nn.Module):
    """A judge: how far the slopes of two images are apart, without a network.

    TLW asks a judge for one thing: D(., hr) as a function of images, hr looked at once.
    """

    def against(self, hr: Tensor) -> Callable[[Tensor], Tensor]:
        """From images (n N, 3, H, W) in [0, 1] to (n N,), for hr (N, 3, H, W)."""

        def distance(images: Tensor) -> Tensor:
            error = images - hr.repeat(len(images) // len(hr), 1, 1, 1)
            steps = (error.diff(dim=2), error.diff(dim=3))
            return sum(step.square().mean(dim=(1, 2, 3)) for step in steps)

        return distance


class SlopesTLW(TLWLoss):
    """TLW whose judge looks at slopes: a step takes a fraction of the time of one with LPIPS."""

    def __init__(self, **settings: object) -> None:
        super().__init__("l1", judge=Slopes(), **settings)


class ErrorWeights(nn.Module):
    """A weighting network with nothing to learn but how much the size of the error counts."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, hr: Tensor, sr: Tensor, k: float | Tensor) -> Tensor:
        """The weights' mean (N, 3, H, W) for hr and sr in [-1, 1]: k on average."""
        error = F.avg_pool2d((hr - sr).abs(), 3, stride=1, padding=1)
        return fixed_sum(1 - (-self.log_scale.exp() * error).exp(), k, over="image")


class ErrorTLW(TLWLoss):
    """TLW with that weighting network, under a judge of your choice."""

    def __init__(self, judge: nn.Module | None = None, **settings: object) -> None:
        super().__init__("l1", judge=judge, weight_net=ErrorWeights(), **settings)
