"""DISTS: a distance of structure and texture, with which no loss here is trained.

Ding, Ma, Wang and Simoncelli, "Image Quality Assessment: Unifying Structure and Texture Similarity"
(IEEE TPAMI 44(5), 2022; arXiv 2004.07728). LPIPS on VGG16 is the judge that TLW trains with, and a
measure of what comes out; DISTS shares its trunk's weights, but neither its pooling nor its
comparison, so it is a second opinion. Written from the paper; the authors' package is the oracle
in the tests.
"""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from tlw.judge.dists_weights import dists_weights
from tlw.judge.weights import judge_weights

# VGG16's convolutions, by their number in torchvision's `features`; a stage ends where it is
# tapped, and the next begins by pooling.
_STAGES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
_SMALLEST = 16  # pixels: below, the last stage has nothing left of the image
_C = 1e-6  # keeps both quotients finite where the features are 0
_ROOT = 1e-12  # under the square root of the pooling, for the same reason


class DISTS(nn.Module):
    """D(sr, hr) = 1 - sum over features of alpha l + beta s, 0 for equal images.

    Of each feature map of both images, l compares the means and s the structure:
    l = (2 m_x m_y + c) / (m_x^2 + m_y^2 + c), s = (2 cov + c) / (var_x + var_y + c), both over the
    whole map (Eq. 5 to 8). The features are the image itself and five stages of VGG16, between
    which the root of the Hanning-weighted mean of squares takes the place of the largest (Eq. 4).

    Args:
        weights: the folder of the weights' files, fetched into it when missing; see
            `tlw.judge.weights.judge_weights`.

    The weights are frozen and no part of `state_dict`.
    """

    alpha: Tensor
    beta: Tensor
    window: Tensor
    mean: Tensor
    spread: Tensor

    def __init__(self, weights: Path | None = None) -> None:
        super().__init__()
        trunk = load_file(judge_weights("vgg", weights))
        for number in (number for stage in _STAGES for number in stage):
            for part in ("weight", "bias"):  # copies: the file stays as long as one of its tensors
                self._keep(f"{part}_{number}", trunk[f"features.{number}.{part}"].clone())
        pairs = load_file(dists_weights(weights))
        total = pairs["alpha"].sum() + pairs["beta"].sum()
        self._keep("alpha", pairs["alpha"] / total)
        self._keep("beta", pairs["beta"] / total)
        line = torch.hann_window(5, periodic=False)[1:-1]
        window = torch.outer(line, line)
        self._keep("window", (window / window.sum())[None, None])
        self._keep("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self._keep("spread", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def _keep(self, name: str, tensor: Tensor) -> None:
        self.register_buffer(name, tensor, persistent=False)

    def features(self, images: Tensor) -> list[Tensor]:
        """The image and five feature maps, (N, C_l, H_l, W_l), of (N, 3, H, W) RGB in [0, 1].

        Raises ValueError for another shape, or a side below 16 pixels.
        """
        if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < _SMALLEST:
            raise ValueError(
                f"DISTS: expected images (N, 3, H, W) with sides of {_SMALLEST} pixels or more, "
                f"found {tuple(images.shape)}"
            )
        x = (images - self.mean) / self.spread
        maps = [images]
        for place, stage in enumerate(_STAGES):
            if place:
                x = self._pooled(x)
            for number in stage:
                weight, bias = (getattr(self, f"{part}_{number}") for part in ("weight", "bias"))
                x = F.relu(F.conv2d(x, weight, bias, padding=1))
            maps.append(x)
        return maps

    def _pooled(self, x: Tensor) -> Tensor:
        window = self.window.expand(x.shape[1], 1, -1, -1)
        squares = F.conv2d(x.square(), window, stride=2, padding=1, groups=x.shape[1])
        return (squares + _ROOT).sqrt()

    def against(self, hr: Tensor) -> Callable[[Tensor], Tensor]:
        """D(., hr) as a function of as many images as hr has, with hr's features computed once."""
        of_hr = self.features(hr)
        sizes = [maps.shape[1] for maps in of_hr]
        alphas, betas = self.alpha.split(sizes), self.beta.split(sizes)

        def distance(images: Tensor) -> Tensor:
            first, *others = map(_alikeness, self.features(images), of_hr, alphas, betas)
            return 1 - sum(others, first)

        return distance

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        """D(sr, hr): (N,), of two images (N, 3, H, W) in [0, 1]."""
        return self.against(hr)(sr)


def _alikeness(x: Tensor, y: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """A layer's share of the sum, (N,)."""
    mean_x, mean_y = (maps.mean((2, 3), keepdim=True) for maps in (x, y))
    of_x, of_y = x - mean_x, y - mean_y
    variances = (of_x.square() + of_y.square()).mean((2, 3))
    covariance = (of_x * of_y).mean((2, 3))
    mean_x, mean_y = mean_x.flatten(1), mean_y.flatten(1)
    light = (2 * mean_x * mean_y + _C) / (mean_x.square() + mean_y.square() + _C)
    structure = (2 * covariance + _C) / (variances + _C)
    return (alpha * light + beta * structure).sum(1)
