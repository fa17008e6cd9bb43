"""Checkpoints that spandrel reads, made of its own classes, against those classes' own images."""

import builtins
import importlib.util
from pathlib import Path

import pytest
import torch
from oracles import let_torchvision_import
from torch import nn
from toys import toy_pairs

from tlw.backbones.foreign import Foreign, import_spandrel
from tlw.config.config import Checkpoint
from tlw.networks.foreign_states import recognised
from tlw.networks.imported import import_network
from tlw.networks.sr_net import load_network, super_resolve
from tlw.report.tables import read_scores
from tlw.scoring.evaluate import evaluate_cells

needs_spandrel = pytest.mark.skipif(
    importlib.util.find_spec("spandrel") is None, reason="spandrel is not installed"
)


def networks() -> dict[str, nn.Module]:
    """Small x2 networks of five architectures."""
    let_torchvision_import()
    from spandrel.architectures import HAT, RCAN, SPAN, Compact, SwinIR

    torch.manual_seed(0)
    window = {"embed_dim": 12, "depths": [2], "num_heads": [2], "upscale": 2}
    return {
        "RCAN": RCAN.RCAN(scale=2, n_resgroups=2, n_resblocks=2, n_feats=16, reduction=4),
        "SwinIR": SwinIR.SwinIR(**window, window_size=8, upsampler="pixelshuffle"),
        "HAT": HAT.HAT(**window, window_size=8, upsampler="pixelshuffle", squeeze_factor=4),
        "SPAN": SPAN.SPAN(feature_channels=16, upscale=2, num_in_ch=3, num_out_ch=3),
        "Compact": Compact.Compact(num_feat=16, num_conv=3, upscale=2),
    }


def imported(state: object, folder: Path, scale: int = 2) -> Path:
    torch.save(state, folder / "theirs.pth")
    content = {"name": "theirs", "scale": scale, "checkpoint": str(folder / "theirs.pth")}
    import_network(Checkpoint(**content), folder / "weights.safetensors")
    return folder / "weights.safetensors"


@pytest.mark.slow
@needs_spandrel
@pytest.mark.parametrize("name", ["RCAN", "SwinIR", "HAT", "SPAN", "Compact"])
def test_a_checkpoint_gives_the_images_of_the_class_that_it_is_of(name, tmp_path):
    theirs = networks()[name].eval()
    path = imported({"params_ema": theirs.state_dict()}, tmp_path)
    net, cell = load_network(path)
    assert cell.scale == 2 and name in cell.backbone.arguments["network"]
    assert not (net.signed or net.bgr or net.training)
    lr = torch.rand(1, 3, 24, 16)  # of whole windows: the class pads others in its own way
    with torch.no_grad():
        expected = theirs(lr.clone())  # RCAN changes it
        torch.testing.assert_close(super_resolve(net, lr[0])[None], expected, rtol=0, atol=1e-5)
        assert net(torch.rand(1, 3, 5, 9)).shape == (1, 3, 10, 18)


@pytest.mark.slow
@needs_spandrel
def test_it_is_scored_like_a_cell(tmp_path):
    pairs = toy_pairs(tmp_path, use="test", protocol="paper")
    path = imported(networks()["Compact"].state_dict(), tmp_path)
    evaluate_cells({path: tmp_path / "s.csv"}, [pairs], device="cpu", judge_folder=None)
    scores = read_scores(tmp_path / "s.csv")
    assert set(scores["backbone"]) == {"theirs"} and scores["psnr_y"].notna().all()


@pytest.mark.slow
@needs_spandrel
def test_unknown_keys_and_networks_of_other_tasks_are_told():
    let_torchvision_import()
    with pytest.raises(ValueError, match=r"architecture is not known, .*keys are what, \.\.\."):
        recognised({"what": torch.zeros(1)})
    from spandrel.architectures.DnCNN import DnCNN

    denoiser = DnCNN(in_nc=3, out_nc=3, nc=8, nb=4)
    with pytest.raises(ValueError, match="expected a network of super-resolution"):
        recognised(denoiser.state_dict())


def test_classes_of_other_packages_are_refused():
    with pytest.raises(ValueError, match=r"expected a network of spandrel\.architectures\.\*"):
        Foreign(scale=2, network="os:system", arguments={})


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ModuleNotFoundError("No module named 'spandrel'", name="spandrel"), "not installed"),
        (RuntimeError("operator torchvision::nms does not exist"), "because torchvision cannot"),
    ],
)
def test_why_spandrel_cannot_be_imported_is_told_with_what_to_do(monkeypatch, error, told):
    real = builtins.__import__

    def refusing(name, *words, **options):
        if name == "spandrel":
            raise error
        return real(name, *words, **options)

    monkeypatch.setattr(builtins, "__import__", refusing)
    with pytest.raises(ValueError, match=told) as caught:
        import_spandrel()
    assert "install" in str(caught.value)
