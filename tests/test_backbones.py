"""The networks against the authors' recorded outputs, and one battery for all of them."""

import json
import math
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tlw.backbones import BACKBONES, build, check, count_parameters
from tlw.backbones.authors import authors_state, authors_variance_head
from tlw.backbones.rcan import RCAN
from tlw.config import Checkpoint
from tlw.imported import import_network
from tlw.sr_net import load_network

GOLDEN = [f"{name}_x{scale}" for name in ("VDSR", "EDSR", "RCAN") for scale in (2, 3, 4)]
GOLDEN += ["HAT_x4", "UHAT_x4"]
UNUSED = ("sub_mean.", "add_mean.", "net.relative_position_index_", "u_estimator.")

SMALL = {
    "vdsr": {"features": 6, "layers": 2},
    "edsr": {"features": 6, "blocks": 2},
    "rcan": {"features": 8, "groups": 2, "blocks": 2, "reduction": 2},
    # lists, as they come from YAML
    "hat": {
        "embed": 12,
        "depths": [2, 2],
        "heads": [2, 3],
        "window": 4,
        "squeeze": 3,
        "features": 8,
    },
}


def small(name: str, scale: int, **arguments: object) -> nn.Module:
    torch.manual_seed(0)
    return build(name, scale=scale, **SMALL[name] | arguments)


def image(height: int, width: int, *, count: int = 1) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))


# --- the authors' networks -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def shapes(shared: Path) -> dict[str, dict[str, list[int]]]:
    return json.loads((shared / "golden" / "backbone_keys.json").read_text())


@pytest.fixture(scope="module")
def recorded(shared: Path) -> dict[str, np.ndarray]:
    with np.load(shared / "golden" / "backbones.npz") as arrays:
        return dict(arrays)


def filled(shapes: Mapping[str, list[int]]) -> dict[str, Tensor]:
    """The authors' state dict with the weights that the recorded outputs were made with."""
    state = {}
    for key, shape in shapes.items():
        x = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)
        if len(shape) >= 2:
            x = 0.5 * x / math.sqrt(math.prod(shape[1:]))
        elif key.endswith("weight"):
            x = 1 + 0.1 * x
        else:
            x = 0.02 * x
        state[key] = torch.from_numpy(x.astype(np.float32))
    return state


def split(case: str) -> tuple[str, int]:
    name, _, scale = case.lower().removeprefix("u").partition("_x")
    return name, int(scale)


def loaded(case: str, state: Mapping[str, Tensor]) -> nn.Module:
    name, scale = split(case)
    network = build(name, scale=scale)
    network.load_state_dict(authors_state(name, state, scale=scale), strict=True)
    return network.eval()


def assert_close(found: Tensor, expected: np.ndarray, tolerance: float) -> None:
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found.numpy(), expected, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("case", GOLDEN)
@torch.inference_mode()
def test_outputs_are_those_recorded_from_the_authors_networks(case, shapes, recorded):
    network = loaded(case, filled(shapes[case]))
    tolerance = 1e-4 if case.startswith(("RCAN", "HAT", "UHAT")) else 1e-5
    expected = recorded["UHAT_x4_sr" if case == "UHAT_x4" else case]
    assert_close(network(torch.from_numpy(recorded["lr"])), expected, tolerance)
    used = [shape for key, shape in shapes[case].items() if not key.startswith(UNUSED)]
    assert count_parameters(network) == sum(math.prod(shape) for shape in used)


@pytest.mark.parametrize(
    "case",
    [
        "VDSR_x3",
        "EDSR_x4",
        *(pytest.param(c, marks=pytest.mark.slow) for c in ("RCAN_x2", "UHAT_x4")),
    ],
)
@torch.inference_mode()
def test_an_imported_checkpoint_gives_the_recorded_outputs(case, shapes, recorded, tmp_path):
    """In RGB and [0, 1] from file to file; what was recorded is BGR in [-1, 1]."""
    name, scale = split(case)
    torch.save(filled(shapes[case]), tmp_path / "authors.pth")
    entry = {"name": "authors", "backbone": name, "scale": scale}
    checkpoint = Checkpoint(**entry, checkpoint=str(tmp_path / "authors.pth"))
    import_network(checkpoint, tmp_path / "weights.safetensors")
    net, _ = load_network(tmp_path / "weights.safetensors")
    lr = (torch.from_numpy(recorded["lr"]).flip(1) + 1) / 2
    sr = 2 * net(lr).flip(1) - 1
    tolerance = 1e-4 if case.startswith(("RCAN", "UHAT")) else 1e-5
    expected = recorded["UHAT_x4_sr" if case == "UHAT_x4" else case]
    assert_close(sr, expected, tolerance)


@torch.inference_mode()
def test_the_authors_variance_head_reads_the_features_of_hat(shapes, recorded):
    state = filled(shapes["UHAT_x4"])
    head = nn.Sequential(
        nn.Upsample(scale_factor=4, mode="nearest"),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.ELU(),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.ELU(),
        nn.Conv2d(64, 1, 3, padding=1),
        nn.ELU(alpha=0.1),
    )
    head.load_state_dict(authors_variance_head(state), strict=True)
    features = loaded("UHAT_x4", state).features(torch.from_numpy(recorded["lr"]))
    assert_close(head(features) + 0.1, recorded["UHAT_x4_u"], 1e-4)


@pytest.mark.parametrize("case", ["VDSR_x3", "EDSR_x4", "HAT_x4"])
def test_every_missing_and_unknown_key_of_a_state_is_named(case, shapes):
    name, scale = split(case)
    state = filled(shapes[case])
    gone = [key for key in state if not key.startswith(UNUSED)][1:3]
    for key in gone:
        del state[key]
    state |= {"extra.weight": torch.zeros(1), "more": torch.zeros(1)}
    with pytest.raises(ValueError, match="missing") as caught:
        authors_state(name, state, scale=scale)
    for key in (*gone, "extra.weight", "more"):
        assert key in str(caught.value)


def test_a_state_of_another_scale_is_refused(shapes):
    with pytest.raises(ValueError, match=r"edsr x3.*tail\.0\.0\.weight \(256, 64, 3, 3\)"):
        authors_state("edsr", filled(shapes["EDSR_x2"]), scale=3)


def test_a_name_that_the_authors_do_not_have_is_refused():
    with pytest.raises(ValueError, match="no backbone 'swinir'"):
        authors_state("swinir", {}, scale=2)


def test_a_state_without_a_whole_variance_head_is_refused(shapes):
    state = filled(shapes["UHAT_x4"])
    del state["u_estimator.3.bias"]
    with pytest.raises(ValueError, match=r"expected u_estimator.*3\.bias.*found"):
        authors_variance_head(state)
    with pytest.raises(ValueError, match="found none"):
        authors_variance_head({})


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


# --- HAT's windows -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("window", "rows", "columns"), [(7, 1, 1), (4, 3, 2), (3, 1, 4), (1, 2, 2)]
)
def test_shifted_windows_see_only_true_neighbours(window, rows, columns):
    network = small("hat", 2, window=window)
    blocked = network._blocked(rows, columns).reshape(rows, columns, *[window] * 4)
    shift = window // 2

    def origin(place: int, size: int) -> int:
        return (place + shift) % size

    for r, c, a, b, d, e in np.ndindex(*blocked.shape):
        y, x = (r * window + a, r * window + d), (c * window + b, c * window + e)
        down = origin(y[1], rows * window) - origin(y[0], rows * window)
        right = origin(x[1], columns * window) - origin(x[0], columns * window)
        assert blocked[r, c, a, b, d, e] == ((down, right) != (y[1] - y[0], x[1] - x[0]))


@torch.no_grad()
def test_hat_mirrors_an_image_to_whole_windows():
    network, lr = small("hat", 2).eval(), image(6, 9)  # to 8 x 12 pixels
    mirrored = torch.from_numpy(np.pad(lr.numpy(), ((0, 0), (0, 0), (0, 2), (0, 3)), "reflect"))
    assert torch.equal(network.features(lr), network.features(mirrored)[..., :6, :9])


@pytest.mark.parametrize("ratio", [0.25, 0.5, 1])
@torch.no_grad()
def test_hat_takes_other_overlaps(ratio):
    network = small("hat", 2, overlap_ratio=ratio).eval()
    assert network.body[0].overlap.attention.overlap == 4 * ratio
    assert network(image(5, 10)).shape == (1, 3, 10, 20)


@torch.no_grad()
def test_stochastic_depth_rises_with_depth_and_works_on_training_only():
    lr = image(8, 8)
    network = small("hat", 2, drop_path=0.6)
    rates = [block.drop.rate for group in network.body for block in group.blocks]
    np.testing.assert_allclose(rates, [0, 0.2, 0.4, 0.6])
    outputs = [network.train()(lr) for _ in range(8)]
    assert any(not torch.equal(outputs[0], other) for other in outputs)
    without = small("hat", 2, drop_path=0)
    assert torch.equal(without.train()(lr), network.eval()(lr))


@torch.no_grad()
def test_stochastic_depth_keeps_the_mean():
    drop = small("hat", 2, drop_path=0.3).body[-1].blocks[-1].drop
    torch.manual_seed(0)
    kept = drop(torch.ones(4000, 1, 2, 2))
    assert set(kept[:, 0, 0, 0].tolist()) == {0.0, kept.max().item()}
    assert torch.equal(kept.amax(dim=(1, 2, 3)), kept.amin(dim=(1, 2, 3)))
    assert kept.mean().item() == pytest.approx(1, abs=0.05)  # 4.8 standard errors


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
        ("rcam", {}, r"unknown backbone 'rcam' \(did you mean 'rcan'\?\); known are vdsr, edsr"),
        ("EDSR", {}, "did you mean 'edsr'"),
        ("transformer", {}, "unknown backbone 'transformer'; known are vdsr, edsr, rcan, hat, or"),
        ("no_such_package.nets:Net", {}, "'no_such_package.nets' cannot be imported"),
        (":Net", {}, "expected an import path"),
        ("tlw.backbones.edsr:EDRS", {}, r"has no 'EDRS' \(did you mean 'EDSR'\?\)"),
        ("tlw.backbones:build", {}, "must be a class derived from nn.Module"),
        ("pathlib:Path", {}, "must be a class derived from nn.Module"),
        ("torch.nn:ReLU", {}, "must accept the keyword 'scale'"),
        (
            "edsr",
            {"block": 3},
            r"'edsr' has no argument 'block' \(did you mean 'blocks'\?\); .*: features, blocks$",
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
