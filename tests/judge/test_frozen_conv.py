"""The convolution with its ReLU, by all its ways, against the two operations that it stands for."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tlw.judge import frozen_conv
from tlw.judge.frozen_conv import FrozenConvReLU


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(3, 1, 1), (11, 4, 2), (5, 1, 2), (2, 1, 2)]
)
def test_values_and_gradients_equal_those_of_convolution_and_relu(
    monkeypatch, fused, dtype, kernel, stride, padding
):
    monkeypatch.setattr(frozen_conv, "_ONEDNN", fused and frozen_conv._ONEDNN)
    torch.manual_seed(0)
    x = torch.randn(2, 6, 31, 40).to(dtype).contiguous(memory_format=torch.channels_last)
    weight, bias = torch.randn(8, 6, kernel, kernel).to(dtype), torch.randn(8).to(dtype)
    assert_equals_convolution_and_relu(x, weight, bias, stride=stride, padding=padding)


@pytest.mark.parametrize("size", [(16, 16), (19, 18), (15, 17)])
def test_so_do_those_of_wide_layers(size):
    torch.manual_seed(0)
    x = torch.randn(2, 128, *size).contiguous(memory_format=torch.channels_last)
    weight, bias = torch.randn(150, 128, 3, 3) / 34, torch.randn(150)
    assert_equals_convolution_and_relu(x, weight, bias, stride=1, padding=1)


def test_gradients_flow_after_a_first_pass_in_inference_mode():
    conv = FrozenConvReLU(torch.randn(128, 128, 3, 3), torch.ones(128), stride=1, padding=1)
    x = torch.rand(1, 128, 16, 16, requires_grad=True)
    with torch.inference_mode():
        conv(x)
    conv(x).sum().backward()
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize("channels", [64, 128])
def test_copied_or_cast_after_its_first_pass_it_gives_the_same(channels):
    weight = torch.randn(channels, channels, 3, 3) / channels
    conv = FrozenConvReLU(weight, torch.randn(channels), stride=1, padding=1)
    x = torch.randn(1, channels, 16, 16)
    y, gradient = passed(conv, x)
    for other in (copy.deepcopy(conv), conv.double().float()):
        torch.testing.assert_close(passed(other, x), (y, gradient), rtol=0, atol=0)
    half, half_gradient = passed(conv.bfloat16(), x.bfloat16())
    torch.testing.assert_close(half.float(), y, rtol=0.05, atol=0.05)
    torch.testing.assert_close(half_gradient.float(), gradient, rtol=0.05, atol=0.05)


def passed(conv: FrozenConvReLU, x: Tensor) -> tuple[Tensor, Tensor]:
    """Values, and the gradient of their sum."""
    x = x.clone().requires_grad_()
    y = conv(x)
    y.sum().backward()
    return y.detach(), x.grad


def assert_equals_convolution_and_relu(x: Tensor, weight: Tensor, bias: Tensor, **options) -> None:
    results = []
    for way in (
        FrozenConvReLU(weight, bias, **options),
        lambda x: F.relu(F.conv2d(x, weight, bias, **options)),
    ):
        taken = x.clone().requires_grad_()
        y = way(taken)
        (y * torch.arange(y.numel()).view_as(y).to(y.dtype).sin()).sum().backward()
        results.append((y.detach(), taken.grad))
    close = {"rtol": 1e-5, "atol": 2e-5} if x.dtype == torch.float32 else {}
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, **close)
    assert results[0][0].min() == 0


@pytest.mark.parametrize(("inward", "outward"), [(3, 4), (32, 48)])
def test_torch_counts_its_operations_and_as_many_for_the_gradient(inward, outward):
    x, weight = torch.rand(1, inward, 8, 9), torch.rand(outward, inward, 3, 3)
    conv = FrozenConvReLU(weight, torch.zeros(outward), stride=1, padding=1)
    with FlopCounterMode(display=False) as counter:
        y = conv(x.requires_grad_())
    assert counter.get_total_flops() == 2 * 8 * 9 * outward * inward * 3 * 3
    with FlopCounterMode(display=False) as counter_of_gradient:
        y.sum().backward()
    assert counter_of_gradient.get_total_flops() == counter.get_total_flops()


def test_in_float32_wide_layers_take_three_tenths_of_the_multiplications():
    x, weight = torch.rand(1, 256, 16, 16), torch.rand(256, 256, 3, 3)
    conv = FrozenConvReLU(weight, torch.zeros(256), stride=1, padding=1)
    counted = {}
    for dtype in (torch.float32, torch.bfloat16):
        conv.to(dtype)(x.to(dtype))  # its kernels are transformed once
        with FlopCounterMode(display=False) as counter:
            conv(x.to(dtype))
        counted[dtype] = counter.get_total_flops()
    # a quarter for the products, the rest to take tiles there and back
    assert counted[torch.float32] == counted[torch.bfloat16] * (1 / 4 + 9 / 256 + 4 / 256)
