"""The fused convolution against the two operations that it stands for."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from tlw import frozen_conv
from tlw.frozen_conv import conv_relu


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (11, 4, 2), (5, 1, 2)])
def test_values_and_gradients_equal_those_of_convolution_and_relu(
    monkeypatch, fused, dtype, kernel, stride, padding
):
    monkeypatch.setattr(frozen_conv, "_ONEDNN", fused and frozen_conv._ONEDNN)
    torch.manual_seed(0)
    x = torch.randn(2, 6, 31, 40).to(dtype).contiguous(memory_format=torch.channels_last)
    weight, bias = torch.randn(8, 6, kernel, kernel).to(dtype), torch.randn(8).to(dtype)
    results = []
    for way in (
        lambda x: conv_relu(x, weight, bias, stride=stride, padding=padding),
        lambda x: F.relu(F.conv2d(x, weight, bias, stride, padding)),
    ):
        taken = x.clone().requires_grad_()
        y = way(taken)
        (y * torch.arange(y.numel()).view_as(y).to(dtype).sin()).sum().backward()
        results.append((y.detach(), taken.grad))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)
    assert results[0][0].min() == 0


def test_torch_counts_its_operations():
    x, weight = torch.rand(1, 3, 8, 9), torch.rand(4, 3, 3, 3)
    with FlopCounterMode(display=False) as counter:
        conv_relu(x, weight, torch.zeros(4), stride=1, padding=1)
    assert counter.get_total_flops() == 2 * 8 * 9 * 4 * 3 * 3 * 3
