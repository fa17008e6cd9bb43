"""Attention within windows against the same computed pixel by pixel."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tlw.backbones.windows import WindowAttention


def attention_by_loops(layer: WindowAttention, x: Tensor) -> Tensor:
    """WindowAttention of one image (H, W, C), pixel by pixel."""
    height, width, channels = x.shape
    window, side = layer.window, layer.window + layer.overlap
    q, k, v = layer.qkv(x).split(channels, dim=-1)
    out = torch.empty_like(x)
    depth = channels // layer.heads
    for y, z, head in np.ndindex(height, width, layer.heads):
        part = slice(head * depth, (head + 1) * depth)
        top = y - y % window - layer.overlap // 2
        left = z - z % window - layer.overlap // 2
        scores, values = [], []
        for i, j in np.ndindex(side, side):
            inside = 0 <= top + i < height and 0 <= left + j < width
            key = k[top + i, left + j, part] if inside else torch.zeros(depth)
            offset = y % window - i + side - 1, z % window - j + side - 1
            bias = layer.position_bias[offset[0] * (window + side - 1) + offset[1], head]
            scores.append(q[y, z, part] @ key / math.sqrt(depth) + bias)
            values.append(v[top + i, left + j, part] if inside else torch.zeros(depth))
        out[y, z, part] = torch.stack(scores).softmax(0) @ torch.stack(values)
    return layer.project(out)


@pytest.mark.parametrize(("window", "overlap"), [(1, 0), (3, 0), (3, 1), (2, 2), (3, 2)])
@torch.no_grad()
def test_window_attention_is_that_computed_pixel_by_pixel(window, overlap):
    torch.manual_seed(0)
    layer = WindowAttention(4, 2, window=window, overlap=overlap)
    nn.init.normal_(layer.position_bias)
    x = torch.randn(2, 2 * window, 3 * window, 4)
    expected = torch.stack([attention_by_loops(layer, part) for part in x])
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-6)
