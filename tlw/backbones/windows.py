"""Attention within windows of an image: cutting into windows, attending, merging."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class WindowAttention(nn.Module):
    """Attention of each window's pixels to a window around it, of side `window + overlap`.

    With no overlap this is self-attention in each window. Beyond the image, keys and values are
    zero. (N, H, W, embed) to the same.
    """

    position_index: Tensor

    def __init__(self, embed: int, heads: int, *, window: int, overlap: int = 0) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.overlap = overlap
        self.qkv = nn.Linear(embed, 3 * embed)
        self.project = nn.Linear(embed, embed)
        offsets = 2 * window + overlap - 1  # differences of position along one axis
        self.position_bias = nn.Parameter(torch.empty(offsets**2, heads))
        nn.init.trunc_normal_(self.position_bias, std=0.02)
        index = relative_index(window, window + overlap)
        self.register_buffer("position_index", index, persistent=False)

    def forward(self, x: Tensor, blocked: Tensor | None = None) -> Tensor:
        """`blocked` (windows, pixels, pixels) is true where a query must not see a key."""
        height, width = x.shape[1:3]
        if self.overlap:
            q, k, v = self.qkv(x).chunk(3, dim=-1)
            q = windows(q, self.window)
            k, v = (windows(t, self.window, self.overlap) for t in (k, v))
        else:  # the windows are the same ones: cut once, not three times
            q, k, v = self.qkv(windows(x, self.window)).chunk(3, dim=-1)
        q, k, v = (self._heads(t) for t in (q, k, v))
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        scores = scores + self.position_bias[self.position_index].permute(2, 0, 1)
        if blocked is not None:
            with torch.no_grad():  # what weighs nothing takes no gradient back anyway
                scores.masked_fill_(blocked[:, None], float("-inf"))
        mixed = (scores.softmax(dim=-1) @ v).transpose(2, 3).flatten(3)
        return merge(self.project(mixed), height, width)

    def _heads(self, x: Tensor) -> Tensor:
        """(N, windows, pixels, embed) to (N, windows, heads, pixels, embed / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(2, 3)


def windows(x: Tensor, window: int, overlap: int = 0) -> Tensor:
    """(N, H, W, C) to (N, windows, (window + overlap)^2, C), row by row, zero beyond the edge."""
    if overlap == 0:
        x = x.unflatten(2, (-1, window)).unflatten(1, (-1, window)).transpose(2, 3)
        return x.flatten(3, 4).flatten(1, 2)
    before, after = overlap // 2, overlap - overlap // 2
    x = F.pad(x, (0, 0, before, after, before, after))
    side = window + overlap
    x = x.unfold(1, side, window).unfold(2, side, window)  # N, rows, columns, C, side, side
    return x.flatten(4).transpose(3, 4).flatten(1, 2)


def merge(x: Tensor, height: int, width: int) -> Tensor:
    """(N, windows, window^2, C) back to (N, height, width, C)."""
    window = round(x.shape[2] ** 0.5)
    x = x.unflatten(2, (window, window)).unflatten(1, (height // window, width // window))
    return x.transpose(2, 3).reshape(len(x), height, width, -1)


def relative_index(queries: int, keys: int) -> Tensor:
    """(queries^2, keys^2): the number of the offset query - key between pixels of two squares."""
    offset = torch.arange(queries)[:, None] - torch.arange(keys)[None, :] + keys - 1
    rows = offset[:, None, :, None] * (queries + keys - 1)
    columns = offset[None, :, None, :]
    return (rows + columns).reshape(queries**2, keys**2)


def seams(window: int, shift: int) -> Tensor:
    """(4, window^2, window^2): pairs of pixels that lie on two sides of the image's seam.

    Rolling the image by `shift` brings opposite edges together in the last row and column of
    windows. So there are but four kinds of window at any image size, numbered 2 (in the last row)
    + 1 (in the last column), and nothing else has to be kept for each size.
    """
    wrapped = torch.arange(window) >= window - shift
    rows, columns = wrapped[:, None].expand(-1, window), wrapped.expand(window, -1)
    side = torch.stack([0 * rows, 1 * columns, 2 * rows, 2 * rows + columns]).flatten(1)
    return side[:, :, None] != side[:, None, :]


def pad(x: Tensor, window: int) -> Tensor:
    """Pads (N, C, H, W) on the right and below to multiples of the window."""
    down, right = -x.shape[-2] % window, -x.shape[-1] % window
    if not down and not right:
        return x
    # A mirror without its edge line can give no more lines than the image has besides that one.
    fits = down < x.shape[-2] and right < x.shape[-1]
    return F.pad(x, (0, right, 0, down), mode="reflect" if fits else "replicate")
