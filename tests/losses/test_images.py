"""Every loss in whichever loop: images of another range, autocast, other layouts, compiled nets."""

import pytest
import torch
from test_tlw import StandIn
from torch import nn

from tlw.config.settings import loss_settings
from tlw.losses.perceptual import PerceptualLoss
from tlw.losses.pixel import PixelLoss
from tlw.losses.tlw import TLWLoss
from tlw.losses.udl import UDLLoss


class Distance(nn.Module):
    """A judge of two images, one number an image."""

    def forward(self, sr, hr):
        return StandIn().against(hr)(sr)


def tlw_loss(**changes) -> TLWLoss:
    torch.manual_seed(0)
    return TLWLoss(judge=StandIn(), **{"features": 4, "init": "pytorch"} | changes)


LOSSES = {
    "l1": lambda: PixelLoss("l1"),
    "l1-tlw": tlw_loss,
    "l1-udl": UDLLoss,
    "perceptual": lambda: PerceptualLoss(
        loss_settings("l1-lpips", kind="perceptual", base="l1"), judge=Distance()
    ),
}


def images(dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    sr, hr = torch.rand(2, 2, 3, 16, 20, generator=generator).to(dtype)
    return sr.requires_grad_(), hr


def value_of(name: str, sr, hr) -> torch.Tensor:
    torch.manual_seed(2)
    loss_fn = LOSSES[name]()
    return loss_fn((sr, torch.ones_like(sr)) if name == "l1-udl" else sr, hr)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda hr: hr * 255, "found .* to 2.*; divide 8-bit levels by 255"),
        (lambda hr: hr * 2 - 1, "found -.*from_signed takes"),
        (lambda hr: (hr * 255).to(torch.uint8), "found torch.uint8; divide 8-bit"),
    ],
)
def test_an_hr_of_another_range_is_told_with_the_range_found(name, change, found):
    sr, hr = images()
    with pytest.raises(ValueError, match=rf"expected hr in \[0, 1\], {found}"):
        value_of(name, sr, change(hr))


def test_an_hr_that_overshoots_as_bicubic_images_do_is_none_of_another_range():
    sr, hr = images()
    assert value_of("l1", sr, hr * 1.1 - 0.05).isfinite()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_in_autocast_it_is_computed_in_float32_from_what_the_network_gave(name, half):
    sr, hr = images(half)
    with torch.autocast("cpu", half):
        found = value_of(name, sr, hr.float())
    assert found.dtype == torch.float32
    expected = value_of(name, sr.float(), hr.float())
    assert torch.equal(found, expected)
    found.backward()
    assert sr.grad.dtype == half and sr.grad.abs().sum() > 0


@pytest.mark.parametrize("name", LOSSES)
def test_channels_last_is_the_same_image(name):
    sr, hr = images()
    other = [x.detach().contiguous(memory_format=torch.channels_last) for x in (sr, hr)]
    found = value_of(name, other[0].requires_grad_(), other[1])
    torch.testing.assert_close(found, value_of(name, sr, hr), rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", LOSSES)
def test_a_compiled_network_gets_the_gradients_of_the_plain_one(name):
    """Its graph is taken, and run by torch's own operations: a test has no time for code of C++."""
    _, hr = images()
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1))
    compiled = torch.compile(net, backend="aot_eager")
    gradients = []
    for network in (net, compiled):
        net.zero_grad()
        value_of(name, network(hr), hr).backward()
        gradients.append([parameter.grad for parameter in net.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-7)
