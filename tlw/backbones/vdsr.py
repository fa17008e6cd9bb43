"""VDSR: a plain stack of convolutions that corrects a bicubic image.

Kim et al., Accurate Image Super-Resolution Using Very Deep Convolutional Networks, CVPR 2016; here
as the authors of TLW have it: colour, 64 features, 1 + 10 + 1 convolutions without bias.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from tlw.backbones import require_counts, require_scale


class VDSR(nn.Module):
    """Bicubic upsampling, then a residual from `layers` + 2 convolutions at the hr size.

    lr (N, 3, h, w) to sr (N, 3, scale h, scale w), any size, any range. `features` is the number
    of channels, `layers` that of the hidden convolutions after the first one.
    Raises ValueError for a scale other than 2, 3, 4 or a number below 1.
    """

    def __init__(self, *, scale: int, features: int = 64, layers: int = 10) -> None:
        super().__init__()
        require_scale("VDSR", scale)
        require_counts("VDSR", features=features, layers=layers)
        self.scale = scale
        self.num_features = features
        self.head = nn.Conv2d(3, features, 3, padding=1, bias=False)
        self.body = nn.ModuleList(
            nn.Conv2d(features, features, 3, padding=1, bias=False) for _ in range(layers)
        )
        self.tail = nn.Conv2d(features, 3, 3, padding=1, bias=False)

    def forward(self, lr: Tensor) -> Tensor:
        """sr (N, 3, scale h, scale w) of lr (N, 3, h, w)."""
        return self.reconstruct(self.features(lr), lr)

    def features(self, lr: Tensor) -> Tensor:
        """The last hidden maps, (N, num_features, scale h, scale w)."""
        x = F.relu(self.head(self._upsample(lr)))
        for conv in self.body:
            x = F.relu(conv(x))
        return x

    def reconstruct(self, features: Tensor, lr: Tensor) -> Tensor:
        """The bicubic image of lr plus the residual made from the features."""
        return self._upsample(lr) + self.tail(features)

    def _upsample(self, lr: Tensor) -> Tensor:
        # PyTorch's kernel (a = -0.75), not MATLAB's: the residual is learnt for this one.
        return F.interpolate(lr, scale_factor=self.scale, mode="bicubic", align_corners=False)
