"""EDSR, the baseline size: residual blocks without normalisation, upsampling at the end.

Lim et al., Enhanced Deep Residual Networks for Single Image Super-Resolution, CVPR Workshops 2017;
here as the authors of TLW have it: 16 blocks of 64 features, no mean shift, no residual scaling.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from tlw.backbones import require_counts, require_scale


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))), (N, features, h, w) to the same."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(x)))


class ShuffleUpsampler(nn.Sequential):
    """(N, features, h, w) to (N, features, scale h, scale w), by convolution and pixel shuffle.

    Scale 4 is two steps of 2, as in EDSR; scales 2 and 3 are one step.
    """

    def __init__(self, *, scale: int, features: int) -> None:
        steps = (2, 2) if scale == 4 else (scale,)
        parts: list[nn.Module] = []
        for step in steps:
            parts += [
                nn.Conv2d(features, features * step**2, 3, padding=1),
                nn.PixelShuffle(step),
            ]
        super().__init__(*parts)


class LongSkip(nn.Module):
    """What EDSR and RCAN have in common: a body under one long skip connection, then upsampling.

    A subclass makes the parts.
    """

    head: nn.Module
    body: nn.Module
    body_end: nn.Module
    upsample: nn.Module
    tail: nn.Module

    def forward(self, lr: Tensor) -> Tensor:
        """sr (N, 3, scale h, scale w) of lr (N, 3, h, w)."""
        return self.reconstruct(self.features(lr), lr)

    def features(self, lr: Tensor) -> Tensor:
        """The maps after the long skip connection, (N, num_features, h, w)."""
        x = self.head(lr)
        return x + self.body_end(self.body(x))

    def reconstruct(self, features: Tensor, lr: Tensor) -> Tensor:
        """The image from the features alone; lr is not used."""
        return self.tail(self.upsample(features))


class EDSR(LongSkip):
    """`blocks` residual blocks under one long skip connection, then upsampling.

    lr (N, 3, h, w) to sr (N, 3, scale h, scale w), any size, any range. `features` is the number
    of channels. Raises ValueError for a scale other than 2, 3, 4 or a number below 1.
    """

    def __init__(self, *, scale: int, features: int = 64, blocks: int = 16) -> None:
        super().__init__()
        require_scale("EDSR", scale)
        require_counts("EDSR", features=features, blocks=blocks)
        self.scale = scale
        self.num_features = features
        self.head = nn.Conv2d(3, features, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock(features) for _ in range(blocks)))
        self.body_end = nn.Conv2d(features, features, 3, padding=1)
        self.upsample = ShuffleUpsampler(scale=scale, features=features)
        self.tail = nn.Conv2d(features, 3, 3, padding=1)
