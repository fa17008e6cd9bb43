"""Networks as ONNX, run by onnxruntime on sizes that they were not traced on."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from small_networks import SMALL
from toys import CROPS, toy_cell
from typer.testing import CliRunner

from tlw.cli import app
from tlw.networks import export
from tlw.networks.export import export_network
from tlw.networks.sr_net import build_network, load_network, save_network
from tlw.runtime import extras

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in PACKAGES),
    reason="onnx, onnxscript or onnxruntime is not installed",
)


def weights(folder: Path, name: str, scale: int = 2) -> Path:
    entry = {"path": name, "arguments": SMALL[name]}
    cell = toy_cell(backbone=entry, scale=scale, recipe=CROPS | {"size": 36})
    torch.manual_seed(0)
    save_network(folder / "weights.safetensors", build_network(cell.backbone, scale), cell)
    return folder / "weights.safetensors"


@pytest.mark.slow
@needs_onnx
@pytest.mark.parametrize(("name", "scale"), [("vdsr", 2), ("edsr", 3), ("rcan", 4), ("hat", 2)])
def test_the_file_gives_the_network_s_images_of_any_size(name, scale, tmp_path):
    import onnxruntime

    path, output = weights(tmp_path, name, scale), tmp_path / "out" / "net.onnx"
    result = CliRunner().invoke(app, ["export", str(path), "-o", str(output)])
    assert result.exit_code == 0, result.exception
    assert [found.name for found in output.parent.iterdir()] == ["net.onnx"]
    session = onnxruntime.InferenceSession(output, providers=["CPUExecutionProvider"])
    net, _ = load_network(path)
    for shape in ((1, 3, 24, 20), (1, 3, 13, 30), (3, 3, 5, 6)):  # windows of 4, and others
        lr = torch.rand(shape)
        (sr,) = session.run(["sr"], {"lr": lr.numpy()})
        with torch.inference_mode():
            np.testing.assert_allclose(sr, net(lr).numpy(), rtol=0, atol=1e-5)


@pytest.mark.slow
@needs_onnx
def test_a_file_that_gives_other_images_is_told_and_not_left(tmp_path, monkeypatch):
    path, output = weights(tmp_path, "edsr"), tmp_path / "net.onnx"
    another = build_network(
        toy_cell(backbone={"path": "edsr", "arguments": SMALL["edsr"]}).backbone, 2
    )
    traced = export._traced
    monkeypatch.setattr(export, "_traced", lambda net: traced(another.eval()))
    with pytest.raises(ValueError, match="does not give the network's sr: expected"):
        export_network(path, output)
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_what_is_missing_is_told_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(ValueError, match=r"onnxscript: not installed, .* 'tlw\[export\]'"):
        export_network(tmp_path / "none.safetensors", tmp_path / "net.onnx")


def test_another_suffix_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: name)
    with pytest.raises(ValueError, match=r"net\.pt: expected a name that ends in \.onnx"):
        export_network(tmp_path / "none.safetensors", tmp_path / "net.pt")
