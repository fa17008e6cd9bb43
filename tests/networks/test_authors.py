"""The authors' checkpoints under our names, and the outputs recorded from their networks."""

import json
import math
import zlib
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from recorded import GOLDEN
from torch import Tensor, nn

from tlw.backbones import build, count_parameters
from tlw.config.config import Checkpoint
from tlw.networks.authors import authors_state
from tlw.networks.imported import import_network
from tlw.networks.sr_net import load_network

CASES = [f"{name}_x{scale}" for name in ("VDSR", "EDSR", "RCAN") for scale in (2, 3, 4)]
CASES += ["HAT_x4", "UHAT_x4"]
UNUSED = ("sub_mean.", "add_mean.", "net.relative_position_index_", "u_estimator.")


@pytest.fixture(scope="module")
def shapes() -> dict[str, dict[str, list[int]]]:
    return json.loads((GOLDEN / "backbone_keys.json").read_text())


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "backbones.npz") as arrays:
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


@pytest.mark.parametrize("case", CASES)
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
    prefix = "u_estimator."
    theirs = {key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)}
    head.load_state_dict(theirs, strict=True)
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
