"""RCAN: residual blocks with channel attention, in groups, each under its own skip connection.

Zhang et al., Image Super-Resolution Using Very Deep Residual Channel Attention Networks, ECCV 2018;
here as the authors of TLW have it: 10 groups of 20 blocks, 64 features, one pixel shuffle for any
scale, no mean shift.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tlw.backbones import require_counts, require_scale
from tlw.backbones.edsr import LongSkip


class ChannelAttention(nn.Module):
    """Multiplies each channel by a factor in (0, 1) made from the means of all channels.

    (N, features, h, w) to the same; `features // reduction` channels in between.
    """

    def __init__(self, features: int, reduction: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(features, features // reduction, 1)
        self.excite = nn.Conv2d(features // reduction, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:  # plainly, for whoever counts or traces its operations
            return x * self._factors(x.mean(dim=(2, 3)))
        x, means = _WithMeans.apply(x)
        with torch.autocast(x.device.type, enabled=False):  # to cast so little takes longer than it
            return x * self._factors(means.to(self.squeeze.weight.dtype)).to(x.dtype)

    def _factors(self, means: Tensor) -> Tensor:
        """(N, features) to (N, features, 1, 1)."""
        hidden = F.relu(_of_one_pixel(self.squeeze, means))
        return _of_one_pixel(self.excite, hidden).sigmoid()[..., None, None]


class _WithMeans(torch.autograd.Function):
    """Maps (N, C, H, W) and their means (N, C); their gradients are added in one go.

    autograd would spread the means' gradient out into maps first, of another memory layout.
    """

    @staticmethod
    def forward(ctx, x: Tensor) -> tuple[Tensor, Tensor]:
        ctx.pixels = x[0, 0].numel()
        return x.view_as(x), x.mean(dim=(2, 3))

    @staticmethod
    def backward(ctx, of_maps: Tensor, of_means: Tensor) -> Tensor:
        return torch.add(of_maps, of_means[..., None, None], alpha=1 / ctx.pixels)


def _of_one_pixel(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A 1x1 convolution of (N, C), without the start that a convolution takes."""
    return F.linear(x, conv.weight.flatten(1), conv.bias)


class AttentionBlock(nn.Module):
    """x + attention(conv(relu(conv(x)))), (N, features, h, w) to the same."""

    def __init__(self, features: int, reduction: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)
        self.attention = ChannelAttention(features, reduction)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attention(self.conv2(F.relu(self.conv1(x))))


class ResidualGroup(nn.Module):
    """Blocks and one convolution under a skip connection, (N, features, h, w) to the same."""

    def __init__(self, features: int, blocks: int, reduction: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(AttentionBlock(features, reduction) for _ in range(blocks)))
        self.end = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.end(self.blocks(x))


class RCAN(LongSkip):
    """`groups` residual groups of `blocks` blocks under one long skip, then upsampling.

    lr (N, 3, h, w) to sr (N, 3, scale h, scale w), any size, any range. `features` is the number
    of channels, `reduction` the factor by which channel attention narrows them.
    Raises ValueError for a scale other than 2, 3, 4, a number below 1, or a reduction that leaves
    no channel.
    """

    def __init__(
        self,
        *,
        scale: int,
        features: int = 64,
        groups: int = 10,
        blocks: int = 20,
        reduction: int = 16,
    ) -> None:
        super().__init__()
        require_scale("RCAN", scale)
        require_counts("RCAN", features=features, groups=groups, blocks=blocks, reduction=reduction)
        if reduction > features:
            raise ValueError(
                f"RCAN: reduction must be at most features ({features}), not {reduction}"
            )
        self.scale = scale
        self.num_features = features
        self.head = nn.Conv2d(3, features, 3, padding=1)
        self.body = nn.Sequential(
            *(ResidualGroup(features, blocks, reduction) for _ in range(groups))
        )
        self.body_end = nn.Conv2d(features, features, 3, padding=1)
        self.upsample = nn.Sequential(
            nn.Conv2d(features, features * scale**2, 3, padding=1), nn.PixelShuffle(scale)
        )
        self.tail = nn.Conv2d(features, 3, 3, padding=1)
