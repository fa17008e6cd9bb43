"""The file of DISTS' weights: made once from a pinned package, checked at every call."""

import logging
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tlw.judge.dists_weights import dists_weights


@pytest.fixture
def copy(tmp_path):
    """A right file in a folder of its own."""
    return shutil.copy(dists_weights(), tmp_path)


def test_there_are_1475_pairs_none_below_0():
    tensors = load_file(dists_weights())
    assert {name: tuple(t.shape) for name, t in tensors.items()} == {
        name: (3 + 64 + 128 + 256 + 512 + 512,) for name in ("alpha", "beta")
    }
    assert all((tensor >= 0).all() for tensor in tensors.values())
    with safe_open(dists_weights(), framework="pt") as file:
        assert file.metadata() == {"source": "DISTS_pytorch==0.1"}


def test_a_right_file_is_taken_as_it_is_and_needs_nothing_else(copy, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9")
    assert str(dists_weights(tmp_path)) == str(copy)


@pytest.mark.network
@pytest.mark.parametrize("damage", ["cut off", "another number", "missing"])
def test_a_damaged_or_missing_file_is_made_again(copy, tmp_path, caplog, damage):
    path = tmp_path / "dists.safetensors"
    right = path.read_bytes()
    if damage == "cut off":
        path.write_bytes(right[:5000])
    elif damage == "another number":
        tensors = load_file(path)
        save_file({name: tensor + (name == "beta") for name, tensor in tensors.items()}, path)
    else:
        path.unlink()
    with caplog.at_level(logging.WARNING):
        assert dists_weights(tmp_path) == path
    assert ("damaged" in caplog.text) == (damage != "missing")
    for name, tensor in load_file(path).items():
        assert torch.equal(tensor, load_file(dists_weights())[name])
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
