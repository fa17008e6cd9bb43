"""EDSR's published forms, written here once more, against what is imported of their weights."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from tlw.cli import app
from tlw.config.config import Checkpoint
from tlw.networks.edsr_states import edsr_of
from tlw.networks.imported import import_network
from tlw.networks.sr_net import load_network, super_resolve

MEAN = torch.tensor([0.4488, 0.4371, 0.4040]).view(1, 3, 1, 1)


def conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class OfBasicSR(nn.Module):
    """EDSR with BasicSR's names."""

    class Block(nn.Module):
        def __init__(self, features: int) -> None:
            super().__init__()
            self.conv1, self.conv2 = conv(features, features), conv(features, features)

        def inner(self, x: Tensor) -> Tensor:
            return self.conv2(self.conv1(x).relu())

    def __init__(self, scale: int, features: int, blocks: int, factor: float) -> None:
        super().__init__()
        self.factor = factor
        steps = [2, 2] if scale == 4 else [scale]
        self.conv_first = conv(3, features)
        self.body = nn.ModuleList(self.Block(features) for _ in range(blocks))
        self.conv_after_body = conv(features, features)
        shuffles = ((conv(features, features * n * n), nn.PixelShuffle(n)) for n in steps)
        self.upsample = nn.Sequential(*(part for pair in shuffles for part in pair))
        self.conv_last = conv(features, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_first((x - MEAN) * 255)
        y = x
        for block in self.body:
            y = y + self.factor * block.inner(y)
        y = self.conv_last(self.upsample(x + self.conv_after_body(y)))
        return y / 255 + MEAN


def original(net: OfBasicSR) -> dict[str, Tensor]:
    """The state of a network under the names of the original repository."""
    blocks = len(net.body)
    renamed = {}
    for key, value in net.state_dict().items():
        key = key.replace("conv_first", "head.0").replace("conv_last", "tail.1")
        key = key.replace("conv_after_body", f"body.{blocks}").replace("upsample", "tail.0")
        renamed[key.replace(".conv1", ".body.0").replace(".conv2", ".body.2")] = value
    shift = 255 * MEAN.flatten()
    eye = torch.eye(3).view(3, 3, 1, 1)
    renamed |= {"sub_mean.weight": eye, "sub_mean.bias": -shift}
    return renamed | {"add_mean.weight": eye, "add_mean.bias": shift}


def made(scale: int, features: int = 8, blocks: int = 2, factor: float = 1) -> OfBasicSR:
    torch.manual_seed(scale)
    return OfBasicSR(scale, features, blocks, factor).eval()


def imported(state: object, folder: Path, scale: int) -> Path:
    torch.save(state, folder / "edsr.pth")
    content = {"name": "edsr", "scale": scale, "checkpoint": str(folder / "edsr.pth")}
    import_network(Checkpoint(**content), folder / "weights.safetensors")
    return folder / "weights.safetensors"


@pytest.mark.parametrize("form", ["basicsr", "original"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_an_edsr_of_either_source_gives_its_own_images(tmp_path, scale, form):
    theirs = made(scale)
    nested = {"params": theirs.state_dict()} if form == "basicsr" else original(theirs)
    net, cell = load_network(imported(nested, tmp_path, scale))
    assert cell.backbone.arguments == {"features": 8, "blocks": 2}
    assert cell.scale == scale and cell.source == "edsr.pth"
    lr = torch.rand(1, 3, 9, 7)
    with torch.no_grad():
        torch.testing.assert_close(super_resolve(net, lr[0])[None], theirs(lr), rtol=0, atol=2e-6)


@pytest.mark.parametrize("form", ["basicsr", "original"])
def test_the_factor_of_the_large_size_lies_in_the_weights(tmp_path, form):
    theirs = made(2, features=256, blocks=1, factor=0.1)
    state = theirs.state_dict() if form == "basicsr" else original(theirs)
    net, _ = load_network(imported(state, tmp_path, 2))
    lr = torch.rand(1, 3, 6, 6)
    with torch.no_grad():
        torch.testing.assert_close(net(lr), theirs(lr), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]
)
def test_averaged_weights_come_first_and_prefixes_go(tmp_path, prefix):
    theirs, others = made(2), made(3)
    nested = {
        name: {prefix + key: value for key, value in net.state_dict().items()}
        for name, net in {"params": others, "params_ema": theirs}.items()
    }
    net, _ = load_network(imported(nested, tmp_path, 2))
    assert torch.equal(net.net.head.weight, theirs.conv_first.weight)


def test_the_command_names_the_row_after_the_file(tmp_path):
    path = tmp_path / "EDSR_Mx2 f64.pth"
    torch.save(made(2).state_dict(), path)
    words = ["import", str(path), "--scale", "2", "-o", str(tmp_path / "w.safetensors")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.exception
    assert load_network(tmp_path / "w.safetensors")[1].backbone_name == "EDSR-Mx2-f64"


def test_another_scale_lost_keys_and_another_mean_are_told(tmp_path):
    state = made(4).state_dict()
    with pytest.raises(ValueError, match=r"edsr\.pth: expected a network of scale 2, found 4"):
        imported(state, tmp_path, 2)
    with pytest.raises(ValueError, match=r"missing \(conv_last.bias\) and unknown ones \(extra\)"):
        imported({k: v for k, v in state.items() if k != "conv_last.bias"} | {"extra": MEAN},
                 tmp_path, 4)  # fmt: skip
    wrong = original(made(4)) | {"sub_mean.bias": torch.zeros(3)}
    with pytest.raises(
        ValueError, match=r"sub_mean\.bias: expected \[-114\.44, .* --backbone edsr"
    ):
        imported(wrong, tmp_path, 4)


def test_other_states_are_no_edsr():
    assert edsr_of({}) is None and edsr_of({"head.weight": MEAN}) is None
