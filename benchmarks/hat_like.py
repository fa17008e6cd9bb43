"""HAT's forward pass in the order in which its published code takes it. A baseline.

The modules and their weights are the package's; what happens between them is not. Groups pass rows
of pixels (N, H W, C) on, which each block makes an image of to convolve and to cut it. The mask is
made at each pass, and added. All windows of a batch count as one dimension. The overlap blocks cut
their keys and values by `unfold`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from tlw.backbones.hat import HAT, HybridBlock, HybridGroup, OverlapBlock
from tlw.backbones.windows import WindowAttention, pad


class PublishedHAT(HAT):
    """The package's HAT, computed as HAT's authors do."""

    def features(self, lr: Tensor) -> Tensor:
        height, width = lr.shape[-2:]
        x = self.head(pad(lr - self.mean, self.window))
        size = x.shape[-2:]
        mask = seam_mask(size, self.window, self.window // 2).to(x.device)
        y = self.head_norm(rows_of(x))
        for group in self.body:
            y = through_group(group, y, size, mask)
        x = x + self.body_end(image_of(self.body_norm(y), size))
        return self.narrow(x)[..., :height, :width]


def through_group(group: HybridGroup, x: Tensor, size: torch.Size, mask: Tensor) -> Tensor:
    y = x
    for block in group.blocks:
        y = through_block(block, y, size, mask)
    y = through_overlap(group.overlap, y, size)
    return rows_of(group.end(image_of(y, size))) + x


def through_block(block: HybridBlock, x: Tensor, size: torch.Size, mask: Tensor) -> Tensor:
    window = block.attention.window
    normed = block.norm1(x).view(len(x), *size, -1)
    local = block.conv(normed.permute(0, 3, 1, 2))
    local = local.permute(0, 2, 3, 1).contiguous().view(x.shape)
    if block.shift:
        normed = torch.roll(normed, shifts=(-block.shift, -block.shift), dims=(1, 2))
    q, k, v = heads_of_windows(block.attention, partition(normed, window))
    mixed = attend(block.attention, q, k, v, mask if block.shift else None)
    attended = reverse(block.attention.project(mixed), window, size)
    if block.shift:
        attended = torch.roll(attended, shifts=(block.shift, block.shift), dims=(1, 2))
    x = x + block.drop(attended).view(x.shape) + local * block.conv_scale
    return x + block.drop(block.mlp(block.norm2(x)).view(len(x), *size, -1)).view(x.shape)


def through_overlap(block: OverlapBlock, x: Tensor, size: torch.Size) -> Tensor:
    attention = block.attention
    window, overlap, heads = attention.window, attention.overlap, attention.heads
    normed = block.norm1(x).view(len(x), *size, -1)
    qkv = attention.qkv(normed).reshape(len(x), *size, 3, -1).permute(3, 0, 4, 1, 2)
    q = partition(qkv[0].permute(0, 2, 3, 1), window)
    before, after = overlap // 2, overlap - overlap // 2
    both = F.pad(torch.cat((qkv[1], qkv[2]), dim=1), (before, after, before, after))
    both = F.unfold(both, window + overlap, stride=window)  # (N, 2 C (window + overlap)^2, windows)
    both = both.unflatten(1, (2, q.shape[-1], -1)).permute(1, 0, 4, 3, 2).flatten(1, 2)
    q, k, v = (t.reshape(*t.shape[:2], heads, -1).permute(0, 2, 1, 3) for t in (q, *both))
    mixed = attend(attention, q, k, v, None)
    x = attention.project(reverse(mixed, window, size).view(x.shape)) + x
    return x + block.mlp(block.norm2(x))


def heads_of_windows(attention: WindowAttention, x: Tensor) -> Tensor:
    """(3, windows of all images, heads, pixels, embed / heads)."""
    qkv = attention.qkv(x).reshape(*x.shape[:2], 3, attention.heads, -1)
    return qkv.permute(2, 0, 3, 1, 4)


def attend(
    attention: WindowAttention, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None
) -> Tensor:
    """(windows, pixels, embed) of q, k and v (windows, heads, pixels, embed / heads)."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    index = attention.position_index
    bias = attention.position_bias[index.view(-1)].view(*index.shape, -1)
    scores = scores + bias.permute(2, 0, 1).contiguous()[None]
    if mask is not None:
        images = scores.view(-1, len(mask), *scores.shape[1:])
        scores = (images + mask[None, :, None]).view(scores.shape)
    mixed = scores.softmax(dim=-1) @ v
    return mixed.transpose(1, 2).reshape(len(q), q.shape[2], -1)


def seam_mask(size: torch.Size, window: int, shift: int) -> Tensor:
    """(windows, pixels, pixels): -100 where a query must not see a key, else 0."""
    regions = torch.zeros(1, *size, 1)
    parts = slice(0, -window), slice(-window, -shift), slice(-shift, None)
    for number, (rows, columns) in enumerate((h, w) for h in parts for w in parts):
        regions[:, rows, columns] = number
    regions = partition(regions, window).squeeze(-1)
    apart = regions[:, None] - regions[:, :, None]
    return apart.masked_fill(apart != 0, -100.0)


def partition(x: Tensor, window: int) -> Tensor:
    """(N, H, W, C) to (windows of all images, pixels, C)."""
    n, height, width, channels = x.shape
    x = x.view(n, height // window, window, width // window, window, channels)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, window * window, channels)


def reverse(x: Tensor, window: int, size: torch.Size) -> Tensor:
    """Back to (N, H, W, C)."""
    height, width = size
    x = x.view(-1, height // window, width // window, window, window, x.shape[-1])
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, height, width, x.shape[-1])


def rows_of(x: Tensor) -> Tensor:
    """(N, C, H, W) to (N, H W, C)."""
    return x.flatten(2).transpose(1, 2)


def image_of(x: Tensor, size: torch.Size) -> Tensor:
    """And back."""
    return x.transpose(1, 2).contiguous().view(len(x), -1, *size)
