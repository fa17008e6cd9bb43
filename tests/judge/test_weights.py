"""The judge's weights, through the real sources that can be reached, and refusals."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load, load_file, save_file

from tlw.judge import weights as module
from tlw.judge.convert import tensor_digest
from tlw.judge.weights import DIGESTS, judge_weights

# torchvision's tables of the two networks: number in `features`, channels out, in, kernel.
VGG16 = [
    *[(0, 64, 3), (2, 64, 64), (5, 128, 64), (7, 128, 128), (10, 256, 128), (12, 256, 256)],
    *[(14, 256, 256), (17, 512, 256), (19, 512, 512), (21, 512, 512), (24, 512, 512)],
    *[(26, 512, 512), (28, 512, 512)],
]
CONVS = {
    "vgg": {i: (out, into, 3, 3) for i, out, into in VGG16},
    "alex": {
        **{0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3)},
        **{8: (256, 384, 3, 3), 10: (256, 256, 3, 3)},
    },
}
HEADS = {"vgg": [64, 128, 256, 512, 512], "alex": [64, 192, 384, 256, 256]}


@pytest.fixture(scope="module", params=["vgg", "alex"])
def net(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def tensors(net) -> dict[str, np.ndarray]:
    return load_file(judge_weights(net))


def _lpips_file(net: str) -> Path:
    """The package's own file, without importing the package, which wants torchvision."""
    (folder,) = importlib.util.find_spec("lpips").submodule_search_locations
    return Path(folder, "weights", "v0.1", f"{net}.pth")


def test_the_file_has_the_trunk_and_the_heads_and_nothing_else(net, tensors):
    expected = {f"heads.{k}": (width,) for k, width in enumerate(HEADS[net])}
    for layer, shape in CONVS[net].items():
        expected[f"features.{layer}.weight"] = shape
        expected[f"features.{layer}.bias"] = shape[:1]
    assert {name: array.shape for name, array in tensors.items()} == expected
    assert {array.dtype for array in tensors.values()} == {np.dtype("float32")}


def test_the_heads_are_those_of_the_lpips_package_bit_by_bit(net, tensors):
    theirs = torch.load(_lpips_file(net), weights_only=True, map_location="cpu")
    for k in range(5):
        assert (tensors[f"heads.{k}"] >= 0).all()
        their = theirs[f"lin{k}.model.1.weight"].numpy().ravel()
        np.testing.assert_array_equal(tensors[f"heads.{k}"], their)


def test_the_kernels_look_as_a_first_layer_does(net, tensors):
    """Were height, width and channels mixed up, neighbouring taps would not be alike."""
    kernel = tensors["features.0.weight"]
    for axis in (2, 3):
        a, b = np.delete(kernel, 0, axis).ravel(), np.delete(kernel, -1, axis).ravel()
        assert np.corrcoef(a, b)[0, 1] > 0.3


def test_the_file_says_where_it_comes_from(net):
    with safe_open(judge_weights(net), "np") as file:
        metadata = file.metadata()
    assert metadata["source"]
    assert len(metadata["source_sha256"]) == 64
    assert metadata["tensors_sha256"] == tensor_digest(load_file(judge_weights(net)))


def test_a_damaged_file_is_made_again_with_a_warning(tmp_path, monkeypatch, caplog):
    right = judge_weights("alex").read_bytes()
    monkeypatch.setenv("TLW_WEIGHTS", str(tmp_path))
    flipped = bytearray(right)
    flipped[5_000_000] ^= 1
    (tmp_path / "lpips_alex.safetensors").write_bytes(flipped)
    made = judge_weights("alex")
    assert "lpips_alex.safetensors is damaged" in caplog.text
    assert made.parent == tmp_path
    assert tensor_digest(load_file(made)) == tensor_digest(load(right))
    assert os.listdir(tmp_path) == [made.name]


@pytest.mark.parametrize("damage", ["cut", "empty", "other tensors"])
def test_damage_is_found(tmp_path, damage):
    path = tmp_path / "lpips_alex.safetensors"
    content = judge_weights("alex").read_bytes()
    path.write_bytes(content[:-1] if damage == "cut" else b"")
    if damage == "other tensors":
        save_file({"heads.0": np.zeros(64, np.float32)}, path)
    assert module._problem_of(path, DIGESTS["alex"])


def test_an_unknown_net_is_refused():
    with pytest.raises(ValueError, match=r"expected one of vgg, alex, squeeze, found .resnet."):
        judge_weights("resnet")


def test_importing_the_module_does_not_import_torch():
    code = "import sys, tlw.judge.weights, tlw.data.fetch; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.slow
def test_two_processes_may_ask_at_once(tmp_path):
    code = "import sys; from tlw.judge.weights import judge_weights; judge_weights('alex')"
    environment = os.environ | {"TLW_WEIGHTS": str(tmp_path)}
    both = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert os.listdir(tmp_path) == ["lpips_alex.safetensors"]
    assert judge_weights("alex", tmp_path)
