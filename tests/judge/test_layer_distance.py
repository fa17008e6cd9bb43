"""One layer's part of LPIPS against the plain formula, in float64, blocks of any size."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tlw.judge import layer_distance as module
from tlw.judge.layer_distance import layer_distance, unit_features


def plainly(a: Tensor, b: Tensor, head: Tensor) -> Tensor:
    def unit(x: Tensor) -> Tensor:
        return x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)

    return ((unit(a) - unit(b)) ** 2 * head.view(1, -1, 1, 1)).sum(dim=1).mean(dim=(1, 2))


def features(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Such as leave a ReLU: some 0, no pixel all 0."""
    return (torch.randn(shape, dtype=torch.float64).relu() + 1e-3).to(dtype)


@settings(deadline=None, max_examples=30)
@given(
    images=st.integers(1, 3),
    groups=st.integers(1, 3),
    channels=st.integers(1, 5),
    sides=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    block=st.integers(1, 200),
)
def test_values_and_gradients_equal_the_plain_formula_s(images, groups, channels, sides, block):
    a = features(groups * images, channels, *sides).requires_grad_()
    b, head = features(images, channels, *sides), torch.rand(channels, dtype=torch.float64)
    repeated = b.repeat(groups, 1, 1, 1)
    share = torch.rand(len(a), dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        ours = layer_distance(a, unit_features(b, head.dtype), head)
        [gradient] = torch.autograd.grad(ours @ share, a)
    theirs = plainly(a, repeated, head)
    [expected] = torch.autograd.grad(theirs @ share, a)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-12)


def test_a_pixel_without_any_feature_counts_and_passes_a_finite_gradient():
    a, b = torch.zeros(1, 4, 1, 2), torch.zeros(1, 4, 1, 2)
    b[:, 0] = 3
    a.requires_grad_()
    distance = layer_distance(a, unit_features(b, torch.float32), torch.ones(4))
    assert distance.tolist() == [1]
    [gradient] = torch.autograd.grad(distance.sum(), a)
    assert gradient.isfinite().all()


def test_half_precision_maps_are_computed_with_in_float32():
    a, b = (features(2, 8, 5, 5, dtype=torch.bfloat16) for _ in range(2))
    a.requires_grad_()
    head = torch.rand(8)
    distance = layer_distance(a, unit_features(b, head.dtype), head)
    assert distance.dtype == torch.float32
    expected = plainly(a.double(), b.double(), head.double())
    torch.testing.assert_close(distance.double(), expected, rtol=1e-6, atol=0)
    [gradient] = torch.autograd.grad(distance.sum(), a)
    assert gradient.dtype == torch.bfloat16
