"""The judge, against the `lpips` package with the same trunk, and against recorded distances."""

import pytest
import torch
from oracles import lpips_oracle

from tlw.judge.lpips import Judge


@pytest.fixture(scope="module")
def oracle():
    """`lpips.LPIPS` by trunk and calibration, with the real weights."""
    return lpips_oracle


def images(size: int = 40, n: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, n, 3, size, size + 7, generator=generator)


@pytest.mark.parametrize("calibrated", [True, False])
@pytest.mark.parametrize("net", ["vgg", "alex"])
def test_distances_and_gradients_equal_those_of_the_lpips_package(oracle, net, calibrated):
    one, other = images()
    ours, theirs = one.clone().requires_grad_(), one.clone().requires_grad_()
    found = Judge(net, calibrated=calibrated)(ours, other)
    expected = oracle(net, calibrated)(theirs * 2 - 1, other * 2 - 1).flatten()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    found.sum().backward()
    expected.sum().backward()
    scale = theirs.grad.abs().max()
    torch.testing.assert_close(ours.grad / scale, theirs.grad / scale, rtol=0, atol=1e-5)


def test_bgr_is_the_distance_of_images_with_their_channels_swapped():
    one, other = images()
    swapped = Judge("alex")(one.flip(1), other.flip(1))
    torch.testing.assert_close(Judge("alex", channels="bgr")(one, other), swapped)
    assert not torch.allclose(Judge("alex")(one, other), swapped, rtol=1e-3)


@pytest.mark.parametrize("net", ["vgg", "alex"])
def test_equal_images_are_at_distance_0_and_others_above(net):
    one, other = images()
    judge = Judge(net)
    assert torch.equal(judge(one, one), torch.zeros(2))
    assert (judge(one, other) > 0).all()


def test_features_of_hr_are_computed_once_and_shared():
    one, other = images()
    judge = Judge("alex")
    calls = []
    features = judge._features
    judge._features = lambda *given: calls.append(1) or features(*given)
    distance = judge.against(other)
    first = distance(one)
    torch.testing.assert_close(distance(one), first)
    assert len(calls) == 3


def test_black_images_have_finite_gradients():
    black = torch.zeros(1, 3, 40, 40, requires_grad=True)
    Judge("vgg", calibrated=False)(black, torch.rand(1, 3, 40, 40)).backward()
    assert black.grad.isfinite().all()


@pytest.mark.parametrize(("net", "smallest"), [("vgg", 16), ("alex", 31)])
def test_an_image_too_small_for_the_trunk_is_refused(net, smallest):
    judge = Judge(net)
    assert judge(*torch.rand(2, 1, 3, smallest, smallest)).isfinite().all()
    with pytest.raises(ValueError, match=f"{smallest} pixels"):
        judge(*torch.rand(2, 1, 3, smallest - 1, 64))


def test_unknown_trunks_and_orders_are_refused():
    with pytest.raises(ValueError, match="found 'resnet'"):
        Judge("resnet")
    with pytest.raises(ValueError, match="expected one of rgb, bgr, found 'gbr'"):
        Judge("alex", channels="gbr")


def test_its_weights_are_not_saved_with_a_loss():
    assert not Judge("alex").state_dict()
    assert not list(Judge("alex").parameters())
