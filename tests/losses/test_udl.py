"""The uncertainty-driven loss: its signs, its ranges, its two steps."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tlw.backbones.edsr import EDSR
from tlw.losses.udl import UDLLoss, VarianceHead, WithUncertainty, esu_loss, udl_loss

SMALL = {"scale": 2, "features": 8, "blocks": 1}


@given(st.floats(1e-3, 255.0))
def test_the_esu_loss_is_smallest_at_half_the_error(error):
    s = torch.tensor([math.log(error / 2)], dtype=torch.float64, requires_grad=True)
    e = torch.tensor([error], dtype=torch.float64)
    esu_loss(e, s, form="log").backward()
    assert s.grad.abs().item() < 1e-9
    at_best = esu_loss(e, s, form="log")
    for step in (-0.1, 0.1):
        assert esu_loss(e, s.detach() + step, form="log") > at_best


@given(st.floats(1e-3, 2.0), st.floats(0.01, 5.0))
def test_both_forms_of_the_esu_loss_agree_for_u_equal_exp_s(error, u):
    e, u = torch.tensor([error]).double(), torch.tensor([u]).double()
    torch.testing.assert_close(esu_loss(e, u, form="direct"), esu_loss(e, u.log(), form="log"))


def test_on_images_in_0_1_the_optimum_would_lie_below_the_reach_of_an_elu():
    """Why errors are in grey levels: a good network's |e| of 4 levels wants s = ln 2, not -4.85."""
    assert math.log(4 / 255 / 2) < -4 < -1 < math.log(4 / 2)


def test_udl_weights_are_one_above_each_channels_least_uncertain_pixel():
    torch.manual_seed(0)
    e, s = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    total = 0.0
    for n in range(2):
        for c in range(3):
            least = min(s[n, c].flatten().tolist())
            total += sum(
                (u - least + 1) * abs(v)
                for u, v in zip(s[n, c].flatten().tolist(), e[n, c].flatten().tolist(), strict=True)
            )
    assert udl_loss(e, s, form="log").item() == pytest.approx(total / e.numel(), rel=1e-5)


def test_the_authors_weights_start_at_the_batch_minimum_and_pass_no_gradient():
    e, u = torch.ones(1, 3, 2, 2), torch.tensor([[[[0.5, 1.0], [1.5, 2.0]]]], requires_grad=True)
    loss = udl_loss(e, u, form="direct")
    assert loss.item() == pytest.approx((0 + 0.5 + 1 + 1.5) / 4)
    assert not loss.requires_grad


@pytest.mark.parametrize(("form", "channels", "floor"), [("log", 3, -1.0), ("direct", 1, 0.0)])
def test_the_head_gives_the_uncertainty_of_each_pixel_above_its_floor(form, channels, floor):
    u = VarianceHead(8, form)(10 * torch.randn(2, 8, 5, 4), (10, 8))
    assert u.shape == (2, channels, 10, 8) and u.min() >= floor


def test_the_head_starts_as_it_is_told_and_the_network_as_it_was():
    net = EDSR(**SMALL)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    normal = WithUncertainty(net, form="log", head_init="normal")
    assert all(torch.equal(value, before[key]) for key, value in normal.net.state_dict().items())
    weights = torch.cat([p.flatten() for p in normal.head.parameters() if p.ndim == 4])
    assert weights.std().item() == pytest.approx(0.02, rel=0.15)
    built = WithUncertainty(net, form="log")
    assert built.head[0].weight.std() > 2 * normal.head[0].weight.std()


@pytest.mark.parametrize(("preset", "moves"), [("paper", False), ("authors-code", True)])
def test_after_the_first_step_the_papers_uncertainty_is_frozen(preset, moves):
    torch.manual_seed(0)
    loss_fn = UDLLoss(preset=preset, esu_epochs=2)
    net = WithUncertainty(EDSR(**SMALL), form=loss_fn.settings.form)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    lr, hr = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 16, 16)
    seen = []
    for epoch in range(4):
        loss_fn.start_epoch(epoch)
        if loss_fn.weighted:
            net.freeze(copied=loss_fn.settings.frozen)
        assert loss_fn.weighted == (epoch >= 2)
        output = net(lr)
        seen.append(output[1].detach())
        optimizer.zero_grad()
        loss_fn(output, hr).backward()
        optimizer.step()
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(seen[2], seen[3]) != moves


def test_the_esu_step_teaches_the_head_the_size_of_the_errors():
    torch.manual_seed(0)
    net = WithUncertainty(EDSR(**SMALL), form="log")
    loss_fn = UDLLoss()
    optimizer = torch.optim.Adam(net.head.parameters(), lr=1e-2)
    lr = torch.rand(4, 3, 8, 8)
    with torch.no_grad():
        net.net.tail.bias += 0.4  # so that sr lies in [0, 1]
        hr = net(lr)[0] + 20 / 255
    for _ in range(150):
        optimizer.zero_grad()
        loss_fn(net(lr), hr).backward()
        optimizer.step()
    assert net(lr)[1].mean().item() == pytest.approx(math.log(20 / 2), abs=0.1)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: esu_loss(x, x, form="linear"),
        lambda x: udl_loss(x, x, form="linear"),
        lambda x: VarianceHead(4, form="linear"),
    ],
)
def test_an_unknown_form_is_refused_with_the_known_ones(call):
    with pytest.raises(ValueError, match="form: expected one of log, direct, found 'linear'"):
        call(torch.rand(1, 3, 2, 2))


def test_a_network_without_features_is_refused():
    with pytest.raises(ValueError, match="lacks features"):
        WithUncertainty(torch.nn.Conv2d(3, 3, 3), form="log")
