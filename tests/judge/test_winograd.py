"""Winograd's convolution against torch's."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tlw.judge import winograd

channels = st.integers(1, 9)
sizes = st.integers(1, 13)


@given(n=st.integers(1, 3), inward=channels, outward=channels, height=sizes, width=sizes)
@pytest.mark.parametrize("numbers", [1, 2000, 2**20])  # a row, some rows or images, all at once
def test_values_and_gradients_are_those_of_a_convolution(
    numbers, n, inward, outward, height, width
):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "_NUMBERS", numbers)
        torch.manual_seed(0)
        x = torch.randn(n, inward, height, width, dtype=torch.float64, requires_grad=True)
        weight = torch.randn(outward, inward, 3, 3, dtype=torch.float64)
        bias = torch.randn(outward, dtype=torch.float64)
        kernel = winograd.transformed(weight)
        expected = F.conv2d(x, weight, bias, padding=1)
        torch.testing.assert_close(winograd.convolve(x.detach(), kernel, bias), expected)
        grad = torch.randn_like(expected)
        (of_x,) = torch.autograd.grad(expected, x, grad)
        torch.testing.assert_close(winograd.convolve(grad, kernel, transposed=True), of_x)


@pytest.mark.parametrize("draw", [torch.rand, torch.randn])
def test_in_float32_it_rounds_at_most_twice_as_coarsely_as_torch_s_does(draw):
    torch.manual_seed(0)
    x, weight = draw(1, 256, 20, 20), torch.randn(256, 256, 3, 3)
    expected = F.conv2d(x.double(), weight.double(), padding=1)
    plain, ours = (
        (y - expected).norm() / expected.norm()
        for y in (
            F.conv2d(*(t.to(memory_format=torch.channels_last) for t in (x, weight)), padding=1),
            winograd.convolve(x, winograd.transformed(weight)),
        )
    )
    assert ours < 2 * plain < 4e-6


def test_autocast_changes_nothing():
    torch.manual_seed(0)
    x, kernel = torch.rand(1, 8, 6, 6), winograd.transformed(torch.randn(8, 8, 3, 3))
    with torch.autocast("cpu", torch.bfloat16):
        found = winograd.convolve(x, kernel)
    torch.testing.assert_close(found, winograd.convolve(x, kernel), rtol=0, atol=0)
