"""HAT: a transformer on windows, with channel attention beside and overlapping windows after.

Chen et al., Activating More Pixels in Image Super-Resolution Transformer, CVPR 2023; here in the
size that the authors of TLW have: 4 groups of 6 blocks, 96 channels, windows of 7, no overlap.

Inside the groups, maps are (N, H, W, channels) with H and W multiples of the window.
"""

from collections.abc import Sequence
from functools import partial
from math import inf

import torch
from torch import Tensor, nn

from tlw.backbones import require_counts, require_scale
from tlw.backbones.edsr import ShuffleUpsampler
from tlw.backbones.rcan import ChannelAttention
from tlw.backbones.windows import WindowAttention, pad, seams

# The mean colour that the network subtracts and gives back, channel by channel in the order of its
# input, whatever the range: a constant of the published network, which its weights have learnt.
MEAN = (0.4488, 0.4371, 0.4040)


class StochasticDepth(nn.Module):
    """While training, drops a branch with probability `rate` for each image on its own."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        kept = x.new_empty(len(x), 1, 1, 1).bernoulli_(1 - self.rate)
        return x * kept / (1 - self.rate)


class HybridBlock(nn.Module):
    """Attention in windows, plus a little of a convolution with channel attention, then an MLP.

    `shift` moves the windows, so that every other block looks across the seams of the one before.
    """

    def __init__(
        self,
        embed: int,
        heads: int,
        *,
        window: int,
        shift: int,
        compress: int,
        squeeze: int,
        conv_scale: float,
        mlp_ratio: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.shift = shift
        self.conv_scale = conv_scale
        self.norm1 = nn.LayerNorm(embed)
        self.attention = WindowAttention(embed, heads, window=window)
        self.conv = nn.Sequential(
            nn.Conv2d(embed, embed // compress, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(embed // compress, embed, 3, padding=1),
            ChannelAttention(embed, squeeze),
        )
        self.drop = StochasticDepth(drop_path)
        self.norm2 = nn.LayerNorm(embed)
        self.mlp = _mlp(embed, mlp_ratio)

    def forward(self, x: Tensor, blocked: Tensor) -> Tensor:
        normed = self.norm1(x)
        local = self.conv(normed.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        if self.shift:
            rolled = normed.roll((-self.shift, -self.shift), dims=(1, 2))
            attended = self.attention(rolled, blocked).roll((self.shift, self.shift), dims=(1, 2))
        else:
            attended = self.attention(normed)
        x = x + self.drop(attended) + self.conv_scale * local
        return x + self.drop(self.mlp(self.norm2(x)))


class OverlapBlock(nn.Module):
    """Attention of each window to a larger one around it, then an MLP."""

    def __init__(
        self, embed: int, heads: int, *, window: int, overlap: int, mlp_ratio: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed)
        self.attention = WindowAttention(embed, heads, window=window, overlap=overlap)
        self.norm2 = nn.LayerNorm(embed)
        self.mlp = _mlp(embed, mlp_ratio)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class HybridGroup(nn.Module):
    """Hybrid blocks, an overlap block and a convolution, under one skip connection."""

    def __init__(self, embed: int, blocks: list[HybridBlock], overlap: OverlapBlock) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.overlap = overlap
        self.end = nn.Conv2d(embed, embed, 3, padding=1)

    def forward(self, x: Tensor, blocked: Tensor) -> Tensor:
        y = x
        for block in self.blocks:
            y = block(y, blocked)
        y = self.overlap(y)
        return x + self.end(y.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class HAT(nn.Module):
    """Groups of hybrid attention under one long skip connection, then upsampling.

    lr (N, 3, h, w) to sr (N, 3, scale h, scale w), any range. Any size: lr is padded to whole
    windows on the right and below (mirrored, or its last line repeated where it is too small to
    mirror), and the features are cropped again.

    - `embed`: channels in the groups; `features`: channels of the maps that are upsampled
    - `depths`, `heads`: blocks and attention heads of each group
    - `window`: side of a window, in lr pixels; `overlap_ratio`: by how much of it the windows of
      the overlap blocks are larger
    - `compress`, `squeeze`: factors that narrow the convolution and its channel attention,
      `conv_scale`: its weight beside the attention
    - `mlp_ratio`: hidden width of the MLPs in `embed`
    - `drop_path`: probability that a branch of the last block is dropped while training, rising
      linearly from 0 in the first block

    Raises ValueError for a scale other than 2, 3, 4 and for arguments that do not fit together.
    """

    mean: Tensor
    seams: Tensor

    def __init__(
        self,
        *,
        scale: int,
        embed: int = 96,
        depths: Sequence[int] = (6, 6, 6, 6),
        heads: Sequence[int] = (6, 6, 6, 6),
        window: int = 7,
        overlap_ratio: float = 0.0,
        compress: int = 3,
        squeeze: int = 30,
        conv_scale: float = 0.01,
        mlp_ratio: float = 4,
        drop_path: float = 0.1,
        features: int = 64,
    ) -> None:
        super().__init__()
        require_scale("HAT", scale)
        require_counts(
            "HAT", embed=embed, window=window, compress=compress, squeeze=squeeze, features=features
        )
        _require_groups(embed, depths, heads)
        for name, factor in (("compress", compress), ("squeeze", squeeze)):
            _require(factor <= embed, f"{name} must be at most embed ({embed}), not {factor}")
        _require_number("overlap_ratio", overlap_ratio, at_least=0)
        _require_number("conv_scale", conv_scale)
        _require_number("mlp_ratio", mlp_ratio, at_least=0)
        require_counts("HAT", **{"int(embed * mlp_ratio)": int(embed * mlp_ratio)})
        _require_number("drop_path", drop_path, at_least=0, below=1)
        self.scale = scale
        self.num_features = features
        self.window = window
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("seams", seams(window, window // 2), persistent=False)

        block = partial(
            HybridBlock,
            embed,
            window=window,
            compress=compress,
            squeeze=squeeze,
            conv_scale=conv_scale,
            mlp_ratio=mlp_ratio,
        )
        rates = (drop_path * i / max(sum(depths) - 1, 1) for i in range(sum(depths)))
        shifts = (0, window // 2)
        overlap = int(window * overlap_ratio)
        groups = (
            HybridGroup(
                embed,
                [block(n, shift=shifts[i % 2], drop_path=next(rates)) for i in range(depth)],
                OverlapBlock(embed, n, window=window, overlap=overlap, mlp_ratio=mlp_ratio),
            )
            for depth, n in zip(depths, heads, strict=True)
        )
        self.head = nn.Conv2d(3, embed, 3, padding=1)
        self.head_norm = nn.LayerNorm(embed)
        self.body = nn.ModuleList(groups)
        self.body_norm = nn.LayerNorm(embed)
        self.body_end = nn.Conv2d(embed, embed, 3, padding=1)
        self.narrow = nn.Sequential(nn.Conv2d(embed, features, 3, padding=1), nn.LeakyReLU())
        self.upsample = ShuffleUpsampler(scale=scale, features=features)
        self.tail = nn.Conv2d(features, 3, 3, padding=1)

    def forward(self, lr: Tensor) -> Tensor:
        """sr (N, 3, scale h, scale w) of lr (N, 3, h, w)."""
        return self.reconstruct(self.features(lr), lr)

    def features(self, lr: Tensor) -> Tensor:
        """The maps that are upsampled, (N, num_features, h, w)."""
        height, width = lr.shape[-2:]
        x = self.head(pad(lr - self.mean, self.window))
        blocked = self._blocked(x.shape[-2] // self.window, x.shape[-1] // self.window)
        y = self.head_norm(x.permute(0, 2, 3, 1))
        for group in self.body:
            y = group(y, blocked)
        y = self.body_norm(y).permute(0, 3, 1, 2)
        x = x + self.body_end(y)
        return self.narrow(x)[..., :height, :width]

    def reconstruct(self, features: Tensor, lr: Tensor) -> Tensor:
        """The image from the features alone; lr is not used."""
        return self.tail(self.upsample(features)) + self.mean

    def _blocked(self, rows: int, columns: int) -> Tensor:
        """Which pixels must not see each other in each of rows x columns shifted windows."""
        kind = self.seams.new_zeros(rows, columns, dtype=torch.long)
        kind[-1, :] += 2
        kind[:, -1] += 1
        return self.seams[kind.flatten()]


def _mlp(embed: int, ratio: float) -> nn.Sequential:
    hidden = int(embed * ratio)
    return nn.Sequential(nn.Linear(embed, hidden), nn.GELU(), nn.Linear(hidden, embed))


def _require_groups(embed: int, depths: Sequence[int], heads: Sequence[int]) -> None:
    for name, values in (("depths", depths), ("heads", heads)):
        is_list = isinstance(values, (list, tuple)) and len(values) > 0
        _require(is_list, f"{name} must be a list of integers, one a group, not {values!r}")
        require_counts("HAT", **{f"{name}[{i}]": value for i, value in enumerate(values)})
    same = len(depths) == len(heads)
    _require(same, f"depths and heads must be of one length, got {len(depths)} and {len(heads)}")
    for count in heads:
        _require(embed % count == 0, f"embed must be a multiple of heads, got {embed} and {count}")


def _require_number(name: str, value: float, *, at_least: float = -inf, below: float = inf) -> None:
    right = isinstance(value, (int, float)) and at_least <= value < below
    _require(right, f"{name} must be a number in [{at_least}, {below}), not {value!r}")


def _require(right: bool, message: str) -> None:
    if not right:
        raise ValueError(f"HAT: {message}")
