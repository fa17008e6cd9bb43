"""EDSR as its authors published it: with the mean colour taken off, and in levels of 8 bits.

Lim et al., CVPR Workshops 2017. Checkpoints of the original repository and of BasicSR work so; what
they have besides, a factor on each residual block, lies in the blocks' weights (see
`tlw.networks.edsr_states`).
"""

import torch
from torch import Tensor

from tlw.backbones.edsr import EDSR

MEAN = (0.4488, 0.4371, 0.4040)  # of DIV2K, RGB in [0, 1]
_LEVELS = 255


class ShiftedEDSR(EDSR):
    """As `EDSR`, but from RGB in [0, 1] to RGB in [0, 1]."""

    mean: Tensor

    def __init__(self, *, scale: int, features: int = 64, blocks: int = 16) -> None:
        super().__init__(scale=scale, features=features, blocks=blocks)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)

    def features(self, lr: Tensor) -> Tensor:
        return super().features((lr - self.mean) * _LEVELS)

    def reconstruct(self, features: Tensor, lr: Tensor) -> Tensor:
        return super().reconstruct(features, lr) / _LEVELS + self.mean
