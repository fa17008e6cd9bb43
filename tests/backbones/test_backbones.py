"""One battery for all networks; how they are named, found and refused."""

import math
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import image, small

from tlw.backbones import build, count_parameters
from tlw.backbones.rcan import RCAN
from tlw.config.backbones import BACKBONES, check

# --- all networks, small -------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 11), width=st.integers(1, 11), scale=st.sampled_from((2, 3, 4)))
@pytest.mark.parametrize("name", BACKBONES)
@torch.no_grad()
def test_any_image_size_gives_a_scaled_image(name, height, width, scale):
    for training in (True, False):
        network = small(name, scale).train(training)
        lr = image(height, width, count=2)
        sr = network(lr)
        assert sr.shape == (2, 3, scale * height, scale * width)
        assert sr.isfinite().all()
        factor = network.features_scale
        maps = (2, network.num_features, factor * height, factor * width)
        assert network.features(lr).shape == maps


@pytest.mark.parametrize("name", BACKBONES)
@torch.no_grad()
def test_an_image_is_reconstructed_from_its_features(name):
    network, lr = small(name, 2).eval(), image(7, 9)
    assert torch.equal(network(lr), network.reconstruct(network.features(lr), lr))


@pytest.mark.parametrize("name", BACKBONES)
def test_the_gradient_reaches_every_parameter(name):
    network = small(name, 3).eval()  # without stochastic depth
    network(image(9, 7, count=2)).square().mean().backward()
    without = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


@pytest.mark.parametrize("name", BACKBONES)
@torch.no_grad()
def test_evaluation_is_deterministic_and_keeps_images_apart(name):
    network, lr = small(name, 2).eval(), image(6, 9, count=3)
    sr = network(lr)
    assert torch.equal(sr, network(lr))
    torch.testing.assert_close(sr[1:2], network(lr[1:2]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", BACKBONES)
def test_training_goes_on_after_an_evaluation_in_inference_mode(name):
    network, lr = small(name, 2), image(8, 8)
    with torch.inference_mode():
        network.eval()(lr)
    network.train()(lr).mean().backward()


# --- names, import paths, refusals ---------------------------------------------------------------


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("scale", [0, 1, 5, 2.0, True, "2"])
def test_a_scale_that_is_not_2_3_or_4_is_refused(name, scale):
    with pytest.raises(ValueError, match=rf"{name.upper()}: scale must be 2, 3 or 4"):
        build(name, scale=scale)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("vdsr", {"layers": 0}, "VDSR: layers must be an integer of at least 1, not 0"),
        ("vdsr", {"features": "64"}, "VDSR: features must be an integer of at least 1, not '64'"),
        ("edsr", {"blocks": 1.5}, "EDSR: blocks must be an integer"),
        ("edsr", {"features": True}, "EDSR: features must be an integer"),
        ("rcan", {"groups": -1}, "RCAN: groups must be an integer"),
        ("rcan", {"features": 8}, r"RCAN: reduction must be at most features \(8\), not 16"),
        ("hat", {"embed": 32}, "HAT: embed must be a multiple of heads, got 32 and 6"),
        ("hat", {"depths": [2, 2]}, "HAT: depths and heads must be of one length, got 2 and 4"),
        ("hat", {"depths": 6}, "HAT: depths must be a list of integers, one a group, not 6"),
        ("hat", {"heads": []}, "HAT: heads must be a list"),
        ("hat", {"depths": [6, 6, 0, 6]}, r"HAT: depths\[2\] must be an integer"),
        ("hat", {"window": 0}, "HAT: window must be an integer"),
        ("hat", {"compress": 97}, r"HAT: compress must be at most embed \(96\), not 97"),
        ("hat", {"squeeze": 97}, r"HAT: squeeze must be at most embed \(96\), not 97"),
        ("hat", {"overlap_ratio": -0.5}, r"HAT: overlap_ratio must be a number in \[0, inf\)"),
        ("hat", {"conv_scale": "a"}, "HAT: conv_scale must be a number"),
        ("hat", {"mlp_ratio": 0.001}, r"HAT: int\(embed \* mlp_ratio\) must be .* not 0"),
        ("hat", {"drop_path": 1}, r"HAT: drop_path must be a number in \[0, 1\), not 1"),
        ("hat", {"drop_path": math.nan}, "HAT: drop_path must be a number"),
    ],
)
def test_arguments_out_of_range_are_refused_at_construction(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        build(name, scale=2, **arguments)


@pytest.mark.parametrize(
    ("path", "arguments", "message"),
    [
        ("rcam", {}, r"unknown backbone 'rcam'; known are vdsr, edsr.*did you mean 'rcan'\?"),
        ("EDSR", {}, "did you mean 'edsr'"),
        ("transformer", {}, "unknown backbone 'transformer'; known are vdsr, edsr, rcan, hat, or"),
        ("no_such_package.nets:Net", {}, "'no_such_package.nets' cannot be imported"),
        (":Net", {}, "expected an import path"),
        ("tlw.backbones.edsr:EDRS", {}, r"has no 'EDRS'; did you mean 'EDSR'\?"),
        ("tlw.backbones:build", {}, "must be a class derived from nn.Module"),
        ("pathlib:Path", {}, "must be a class derived from nn.Module"),
        ("torch.nn:ReLU", {}, "must accept the keyword 'scale'"),
        (
            "edsr",
            {"block": 3},
            r"'edsr' has no argument 'block'; it accepts: features, blocks; did you mean",
        ),
        ("edsr", {"scale": 2}, "'scale' is not among its arguments"),
    ],
)
def test_a_backbone_that_cannot_be_built_is_refused_by_name(path, arguments, message):
    with pytest.raises(ValueError, match=message):
        check(path, arguments)
    if "scale" not in arguments:
        with pytest.raises(ValueError, match=message):
            build(path, scale=2, **arguments)


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """Writes a module in a folder of its own, importable by the name returned."""
    monkeypatch.syspath_prepend(tmp_path)
    name = "an_outside_backbone"

    def write(text: str) -> str:
        (tmp_path / f"{name}.py").write_text(text)
        return name

    yield write
    sys.modules.pop(name, None)


ENLARGE = """
from torch import nn

class Enlarge(nn.Upsample):
    def __init__(self, *, scale, mode{default}):
        super().__init__(scale_factor=scale, mode=mode)

class Open(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.options = options
"""


@torch.no_grad()
def test_a_class_of_another_module_is_a_backbone(outside):
    path = outside(ENLARGE.format(default="='nearest'")) + ":Enlarge"
    check(path, {"mode": "bicubic"})
    lr = image(4, 5)
    expected = F.interpolate(lr, scale_factor=3, mode="bicubic")
    assert torch.equal(build(path, scale=3, mode="bicubic")(lr), expected)


def test_a_class_that_takes_any_keyword_is_given_them(outside):
    path = outside(ENLARGE.format(default="")) + ":Open"
    assert build(path, scale=2, depth=5).options == {"scale": 2, "depth": 5}


def test_an_argument_without_default_is_asked_for(outside):
    path = outside(ENLARGE.format(default="")) + ":Enlarge"
    with pytest.raises(ValueError, match="missing a required argument: 'mode'"):
        check(path, {})


def test_a_module_that_fails_while_it_is_imported_is_refused(outside):
    path = outside("import a_package_that_is_not_there") + ":Net"
    with pytest.raises(ValueError, match=r"ModuleNotFoundError.*a_package_that_is_not_there"):
        check(path, {})


def test_only_parameters_that_train_are_counted():
    network = RCAN(scale=2, features=8, groups=1, blocks=1, reduction=2)
    whole = count_parameters(network)
    network.tail.requires_grad_(False)
    assert whole - count_parameters(network) == 3 * 8 * 9 + 3
