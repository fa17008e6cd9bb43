"""The TLW losses, against the authors' recorded step and against the equations in plain loops."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from recorded import GOLDEN
from test_weight_net import golden_net
from torch import nn

from tlw.imaging.ranges import from_signed, to_signed
from tlw.losses.fixed_sum import fixed_sum, relaxed_bernoulli
from tlw.losses.pixel import PixelLoss
from tlw.losses.tlw import (
    TLWLoss,
    k_schedule,
    mix,
    phi_loss,
    theta_loss,
    weight_criterion,
    weighted_error,
)


def stand_in(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The judge with which the golden steps were recorded, see golden/README.md."""
    b = b.repeat(len(a) // len(b), 1, 1, 1)
    pooled = (F.avg_pool2d(a, 3, 1, 1) - F.avg_pool2d(b, 3, 1, 1)).square()
    slopes = (a.diff(dim=3) - b.diff(dim=3)).square()
    return pooled.mean(dim=(1, 2, 3)) + 0.1 * slopes.mean(dim=(1, 2, 3))


class StandIn(nn.Module):
    """The same as a module, on images in [0, 1]; counts how often hr is looked at."""

    looks = 0

    def against(self, hr):
        self.looks += 1
        return lambda x: stand_in(to_signed(x), to_signed(hr))


def relative_error(found: torch.Tensor, recorded: np.ndarray) -> float:
    return float(np.abs(found.numpy() - recorded).max() / np.abs(recorded).max())


@pytest.mark.parametrize(("base", "file"), [("l1", "tlw_l1.npz"), ("mse", "tlw_l2.npz")])
def test_one_step_gives_the_authors_losses_and_gradients(base, file):
    golden = np.load(GOLDEN / file)
    net = golden_net(np.load(GOLDEN / "weight_net.npz"))
    hr, sr = torch.from_numpy(golden["ref"]), torch.from_numpy(golden["est"]).requires_grad_()
    k = float(golden["k"])

    def distance(x):
        return stand_in(x, hr)

    w = relaxed_bernoulli(net(hr, sr.detach(), k), torch.from_numpy(golden["noise_phi"]))
    loss = phi_loss(distance, sr, hr, w)
    loss.backward()
    assert loss.item() == pytest.approx(float(golden["w_loss"]), rel=1e-5)
    assert w.mean().item() == pytest.approx(float(golden["w_mean"]), rel=1e-5)
    assert sr.grad is None
    for key in ("conv.0.weight", "conv.9.weight", "conv.9.bias"):
        gradient = net.get_parameter(key.replace("conv", "layers")).grad
        assert relative_error(gradient, golden[f"gphi.{key}"]) < 1e-4, key

    # the golden theta loss was taken with the same network, before an optimiser step
    errors, criteria = [], []
    with torch.no_grad():
        mean = net(hr, sr, k)
    for noise in torch.from_numpy(golden["noise_theta"]):
        w = relaxed_bernoulli(mean, noise)
        criteria.append(weight_criterion(distance, sr, hr, w, eps_in_numerator=False))
        errors.append(weighted_error(sr, hr, w, base=base, mse_offset=0.2))
    loss = theta_loss(errors, criteria, form="log-mean-exp")
    loss.backward()
    assert loss.item() == pytest.approx(float(golden["loss"]), rel=1e-5)
    assert relative_error(sr.grad, golden["grad_est"]) < 1e-5


@pytest.mark.parametrize(("base", "file"), [("l1", "tlw_l1.npz"), ("mse", "tlw_l2.npz")])
def test_the_module_takes_the_same_step_as_the_authors_code(base, file, monkeypatch):
    """TLWLoss as a user calls it, its noise replaced by the recorded one, its step held still."""
    golden = np.load(GOLDEN / file)
    loss_fn = TLWLoss(base, preset="authors-code", judge=StandIn())
    loss_fn.weight_net = golden_net(np.load(GOLDEN / "weight_net.npz"))
    loss_fn.k = float(golden["k"])
    noises = iter(
        torch.from_numpy(np.concatenate([golden["noise_phi"][None], golden["noise_theta"]]))
    )
    monkeypatch.setattr(torch, "rand_like", lambda _: next(noises))
    hr = from_signed(torch.from_numpy(golden["ref"]))
    sr = from_signed(torch.from_numpy(golden["est"])).requires_grad_()
    # the module's optimiser still holds the network that was replaced: golden losses are both
    # taken before a step of phi
    loss = loss_fn(sr, hr)
    loss.backward()
    assert loss_fn.last["phi_loss"].item() == pytest.approx(float(golden["w_loss"]), rel=1e-4)
    assert loss_fn.last["weights_mean"].item() == pytest.approx(float(golden["w_mean"]), rel=1e-5)
    assert loss.item() == pytest.approx(float(golden["loss"]), rel=1e-5)
    assert relative_error(sr.grad / 2, golden["grad_est"]) < 1e-4
    assert loss_fn.judge.looks == 1


def pair(seed: int = 0, n: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(3, n, 3, 8, 9, generator=generator, dtype=torch.float64).unbind()


@given(st.integers(0, 10**6))
def test_mixing_splits_sr_and_hr_between_the_two_images(seed):
    sr, hr, w = pair(seed)
    x_w, x_rest = mix(sr, hr, w)
    torch.testing.assert_close(x_w + x_rest, sr + hr)
    torch.testing.assert_close(mix(sr, hr, torch.ones_like(w))[0], hr)


@given(st.integers(0, 10**6))
def test_the_criterion_of_the_complement_is_its_inverse(seed):
    sr, hr, w = pair(seed)
    one = weight_criterion(lambda x: stand_in(x, hr), sr, hr, w)
    other = weight_criterion(lambda x: stand_in(x, hr), sr, hr, 1 - w)
    torch.testing.assert_close(one * other, torch.ones_like(one))


def test_the_criterion_prefers_the_pixels_that_differ():
    sr, hr, _ = pair()
    hr = torch.where(torch.arange(9) < 4, hr, sr)  # only the left part differs
    left = (torch.arange(9) < 4).double().expand_as(hr)
    assert (weight_criterion(lambda x: stand_in(x, hr), sr, hr, left) > 1).all()


def test_the_paper_theta_loss_is_equation_13_summed_in_loops():
    sr, hr, _ = pair(n=2)
    weights = [pair(seed)[2] for seed in (1, 2, 3)]
    total = 0.0
    for n in range(2):
        for w in weights:
            x_w, x_rest = mix(sr[n : n + 1], hr[n : n + 1], w[n : n + 1])
            d_w, d_rest = stand_in(x_w, hr[n : n + 1]), stand_in(x_rest, hr[n : n + 1])
            error = (w[n] * (hr[n] - sr[n])).abs().mean()
            total += (d_rest.item() + 0.001) / (d_w.item() + 0.001) * error.item()
    criteria = [weight_criterion(lambda x: stand_in(x, hr), sr, hr, w) for w in weights]
    errors = [weighted_error(sr, hr, w, base="l1") for w in weights]
    assert theta_loss(errors, criteria, form="sum").item() == pytest.approx(total / 2)


@given(st.integers(0, 10**6), st.floats(0, 1))
def test_equal_errors_come_out_of_log_mean_exp_as_they_are(seed, error):
    criteria = [w.mean(dim=(1, 2, 3)) + 0.1 for w in pair(seed)]
    errors = [torch.full((2,), error, dtype=torch.float64)] * 3
    assert theta_loss(errors, criteria, form="log-mean-exp").item() == pytest.approx(
        error, abs=1e-9
    )


def test_an_unknown_form_of_the_theta_loss_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="form: expected one of sum, log-mean-exp, found 'mean'"):
        theta_loss([torch.rand(2)], [torch.rand(2)], form="mean")


def test_mse_weights_keep_the_square_and_pass_no_gradient():
    sr, hr, w = pair()
    sr.requires_grad_()
    weighted_error(sr, hr, w, base="mse", mse_offset=0.1).sum().backward()
    e = hr - sr.detach()
    expected = -2 * e * w / (e.abs() + 0.1) / e[0].numel()
    torch.testing.assert_close(sr.grad, expected)


@pytest.mark.parametrize(("epochs", "at_100"), [(200, 0.5361), (100, 0.6793)])
def test_k_rises_from_0_3_towards_0_9(epochs, at_100):
    assert k_schedule(0, epochs=epochs) == pytest.approx(0.3)
    assert k_schedule(100, epochs=epochs) == pytest.approx(at_100, abs=1e-4)
    assert k_schedule(10**6, epochs=epochs) == pytest.approx(0.9)
    assert k_schedule(7, epochs=epochs) == 0.6 * (1 - math.exp(-7 / epochs)) + 0.3


def test_training_raises_the_criterion_and_eval_leaves_phi_alone():
    torch.manual_seed(0)
    sr, hr, _ = (x.float() for x in pair())
    hr = torch.where(torch.arange(9) < 4, hr, sr)
    loss_fn = TLWLoss("l1", judge=StandIn(), learning_rate=1e-3, init="pytorch", features=16)
    loss_fn(sr, hr)
    first = loss_fn.last["phi_loss"].item()
    for _ in range(60):
        loss_fn(sr, hr)
    assert loss_fn.last["phi_loss"].item() < first - 0.5
    before = {k: v.clone() for k, v in loss_fn.weight_net.named_parameters()}
    loss_fn.eval()(sr, hr)
    for name, value in loss_fn.weight_net.named_parameters():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("weighting", ["frozen", "random", "uniform"])
def test_a_control_is_the_theta_loss_of_its_weights_and_trains_no_phi(weighting):
    sr, hr, _ = (x.float() for x in pair())
    loss_fn = TLWLoss(judge=StandIn(), weighting=weighting, k_start=0.4, k_rise=0)
    before = [p.clone() for p in loss_fn.weight_net.parameters()]
    torch.manual_seed(1)
    found = loss_fn(sr, hr)

    torch.manual_seed(1)
    signed = to_signed(sr), to_signed(hr)
    errors, criteria = [], []
    for _ in range(3):
        if weighting == "uniform":
            w = torch.full_like(hr, 0.4)
        else:
            random = weighting == "random"
            m = (
                torch.rand_like(hr)
                if random
                else loss_fn.weight_net.layers(torch.cat(signed[::-1], 1))
            )
            m = fixed_sum(m, 0.4, over="image")
            w = relaxed_bernoulli(m, torch.rand(m.shape))
        assert w.mean().item() == pytest.approx(0.4, abs=0.1)
        errors.append((w * (signed[1] - signed[0]).abs()).mean(dim=(1, 2, 3)))
        criteria.append(weight_criterion(lambda x: stand_in(*map(to_signed, (x, hr))), sr, hr, w))
    torch.testing.assert_close(found, theta_loss(errors, criteria))
    for old, new in zip(before, loss_fn.weight_net.parameters(), strict=True):
        assert torch.equal(old, new)


def test_saving_and_loading_goes_on_with_the_same_steps():
    sr, hr, _ = (x.float() for x in pair())
    one, other = TLWLoss(judge=StandIn()), TLWLoss(judge=StandIn())
    one(sr, hr)
    other.load_state_dict(one.state_dict())
    for loss_fn in (one, other):
        torch.manual_seed(1)
        loss_fn(sr, hr)
    for a, b in zip(one.weight_net.parameters(), other.weight_net.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_presets_differ_where_paper_and_code_do():
    paper, code = TLWLoss(judge=StandIn()), TLWLoss(preset="authors-code", judge=StandIn())
    assert paper.settings.theta_loss == "sum" and code.settings.theta_loss == "log-mean-exp"
    assert paper.weight_net.over == "image" and code.weight_net.over == "channel"
    sums = fixed_sum(torch.rand(1, 3, 8, 8), 0.5, over=paper.weight_net.over).mean((2, 3))
    assert sums.std() > 0


@pytest.mark.parametrize(("change", "message"), [({"sampels": 3}, "samples"), ({"eps": -1}, "eps")])
def test_a_wrong_setting_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        TLWLoss("l1", judge=StandIn(), **change)


def test_pixel_losses_are_those_of_torch_on_the_signed_range():
    sr, hr, _ = pair()
    args = to_signed(sr), to_signed(hr)
    torch.testing.assert_close(PixelLoss("l1")(sr, hr), F.l1_loss(*args))
    torch.testing.assert_close(PixelLoss("mse")(sr, hr), F.mse_loss(*args))
    torch.testing.assert_close(PixelLoss("mse", factor=9)(sr, hr), 9 * F.mse_loss(*args))
