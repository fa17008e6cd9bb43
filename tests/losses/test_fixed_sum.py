"""FixedSum and the relaxed Bernoulli distribution, against Eq. 5 and the authors' outputs."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from recorded import GOLDEN

from tlw.losses.fixed_sum import fixed_sum, relaxed_bernoulli

shares = st.floats(0.01, 0.99)
seeds = st.integers(0, 2**31)
powers = st.floats(0.1, 8.0)  # spreads the values' mean over (0, 1)


def values(seed: int, power: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, 3, 7, 5, generator=generator, dtype=torch.float64) ** power


@pytest.mark.parametrize("k", [0.3, 0.6, 0.9])
def test_it_gives_the_authors_values_per_image_and_channel(k):
    golden = np.load(GOLDEN / "fixedsum.npz")
    y = fixed_sum(torch.from_numpy(golden["x"]), k, over="channel")
    np.testing.assert_allclose(y.numpy(), golden[f"y_k{k}"], rtol=1e-5, atol=1e-6)


@given(seeds, powers, shares, st.sampled_from(["image", "channel"]))
def test_it_fixes_the_mean_and_stays_between_0_and_1(seed, power, k, over):
    y = fixed_sum(values(seed, power), k, over=over)
    dims = (1, 2, 3) if over == "image" else (2, 3)
    torch.testing.assert_close(y.mean(dims), torch.full_like(y.mean(dims), k))
    assert y.min() >= 0 and y.max() <= 1 + 1e-12


@given(seeds, powers, shares)
def test_it_keeps_the_order_of_the_components(seed, power, k):
    x = values(seed, power)[:1, :1].flatten()
    y = fixed_sum(values(seed, power)[:1, :1], k).flatten()
    assert (y[x.argsort()].diff() >= -1e-12).all()


@given(seeds, powers, shares)
def test_its_derivative_is_that_of_equation_6(seed, power, k):
    x = values(seed, power)[:1, :1, :3, :3].requires_grad_()
    jacobian = torch.autograd.functional.jacobian(lambda v: fixed_sum(v, k).flatten(), x)
    diagonal = jacobian.flatten(1).diagonal()
    n, total, flat = 9, x.sum(), x.detach().flatten()
    if k * n > total:
        expected = n * (1 - k) * (n - total + flat - 1) / (n - total) ** 2
    else:
        expected = k * n * (total - flat) / total**2
    torch.testing.assert_close(diagonal, expected.detach())


@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_constant_extremes_keep_values_and_gradients_finite(fill):
    x = torch.full((1, 3, 4, 4), fill, requires_grad=True)
    y = fixed_sum(x, 0.4)
    y.square().sum().backward()
    torch.testing.assert_close(y.detach(), torch.full_like(y, 0.4))
    assert x.grad.isfinite().all()


@pytest.mark.parametrize(("k", "over"), [(0.0, "image"), (1.0, "image"), (0.5, "batch")])
def test_an_impossible_share_or_span_is_refused(k, over):
    with pytest.raises(ValueError, match="fixed_sum"):
        fixed_sum(torch.rand(1, 3, 4, 4), k, over=over)


def test_samples_equal_the_authors_for_their_noise():
    golden = np.load(GOLDEN / "weight_net.npz")
    mean, noise = (torch.from_numpy(golden[key]) for key in ("mean_k03", "noise"))
    sample = relaxed_bernoulli(mean, noise)
    np.testing.assert_allclose(sample.numpy(), golden["sample_k03"], rtol=1e-4, atol=1e-5)


@given(st.floats(0.05, 0.95), seeds)
def test_samples_are_nearly_0_or_1_with_the_given_probability(mean, seed):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(20000, generator=generator, dtype=torch.float64)
    sample = relaxed_bernoulli(torch.full_like(noise, mean), noise, temperature=0.01)
    assert abs(sample.mean().item() - mean) < 5 * 0.5 / 20000**0.5 + 0.001
    assert sample.min() >= 0 and sample.max() <= 1


def test_samples_of_certain_pixels_stay_finite_with_their_gradient():
    mean = torch.tensor([0.0, 1.0], requires_grad=True)
    sample = relaxed_bernoulli(mean, torch.tensor([0.0, 1.0]))
    sample.sum().backward()
    assert sample.isfinite().all() and mean.grad.isfinite().all()
