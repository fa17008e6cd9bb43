"""Networks behind the package's image convention, and their weights in a file with their cell."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from toys import SMALL_EDSR, SMALL_HAT, SMALL_VDSR, Probe, fill, small_disk, toy_cell

from tlw.backbones import build
from tlw.config.config import Backbone
from tlw.networks.sr_net import SRNet, build_network, load_network, save_network, super_resolve


@pytest.fixture
def saved(tmp_path):
    """A network with its cell, and the file that they were saved to."""
    cell = toy_cell("l1-udl", backbone=SMALL_EDSR, preset="authors-code", seeds=[3])
    torch.manual_seed(1)
    net = build_network(cell.backbone, cell.scale)
    path = tmp_path / "weights.safetensors"
    save_network(path, net, cell)
    return net, cell, path


@pytest.mark.parametrize(
    ("images", "red", "blue"),
    [("signed-rgb", (0, -1.0), (2, 1.0)), ("signed-bgr", (2, -1.0), (0, 1.0)),
     ("unit-rgb", (0, 0.0), (2, 1.0))],
)  # fmt: skip
def test_a_backbone_sees_its_own_range_and_channel_order(images, red, blue):
    lr = torch.stack([torch.zeros(4, 5), torch.full((4, 5), 0.5), torch.ones(4, 5)])[None]
    net = SRNet(Probe(scale=2), images)
    sr = net(lr)
    for channel, value in (red, blue):
        assert (net.net.seen[0, channel] == value).all()
    factor = {channel: f for channel, f in enumerate([1.0, 2.0, 3.0])}
    for outside, (inside, value) in ((0, red), (2, blue)):
        made = factor[inside] * value
        expected = (made + 1) / 2 if images.startswith("signed") else made
        assert sr[0, outside].allclose(torch.full((8, 10), expected))


@pytest.mark.parametrize("images", ["signed-rgb", "signed-bgr", "unit-rgb"])
@pytest.mark.parametrize("backbone", [SMALL_VDSR, SMALL_EDSR, SMALL_HAT])
def test_the_two_halves_are_the_whole(backbone, images):
    entry = Backbone(**backbone, images=images)
    torch.manual_seed(0)
    net = build_network(entry, 3).eval()
    lr = torch.rand(2, 3, 14, 14)
    with torch.no_grad():
        sr = net(lr)
        features = net.features(lr)
        assert sr.shape == (2, 3, 42, 42)
        assert features.shape[:2] == (2, net.num_features)
        assert torch.equal(net.reconstruct(features, lr), sr)


def test_a_network_that_does_nothing_but_enlarge_returns_the_same_image_in_every_convention():
    """VDSR with a residual of 0: what goes in signed or reversed must come out as it was."""
    lr = torch.rand(1, 3, 6, 7)
    outputs = []
    for images in ("signed-rgb", "signed-bgr", "unit-rgb"):
        net = build_network(Backbone(**SMALL_VDSR, images=images), 2)
        torch.nn.init.zeros_(net.net.tail.weight)
        outputs.append(net(lr))
    for other in outputs[1:]:
        torch.testing.assert_close(other, outputs[0])


def test_a_network_without_halves_does_not_claim_features():
    assert not hasattr(SRNet(Probe(scale=2)), "num_features")


def test_weights_come_back_bit_by_bit_with_their_cell(saved):
    net, cell, path = saved
    loaded, loaded_cell = load_network(path)
    assert loaded_cell == cell and loaded_cell.digest == cell.digest
    assert not loaded.training and (loaded.signed, loaded.bgr) == (True, False)
    assert loaded.state_dict().keys() == net.state_dict().keys()
    for key, value in net.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key
    lr = torch.rand(3, 9, 7)
    assert torch.equal(super_resolve(loaded, lr), super_resolve(net.eval(), lr))


def test_the_file_holds_the_backbones_own_keys_and_is_the_same_each_time(saved):
    net, cell, path = saved
    tensors = load_file(path)
    assert tensors.keys() == build("edsr", scale=2, **SMALL_EDSR["arguments"]).state_dict().keys()
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["cell"])["seed"] == 3
    for _ in range(5):
        save_network(path.with_name("again"), net, cell)
        assert path.with_name("again").read_bytes() == path.read_bytes()


def test_a_backbone_of_ones_own_with_shared_and_turned_weights_is_kept(tmp_path):
    cell = toy_cell(backbone={"path": "toys:Probe", "images": "unit-rgb"})
    net = build_network(cell.backbone, cell.scale)
    assert not net.net.turned.is_contiguous()
    save_network(tmp_path / "w", net, cell)
    loaded, _ = load_network(tmp_path / "w")
    assert torch.equal(loaded.net.turned, net.net.turned)
    assert loaded.net.again is loaded.net.factors


def test_sr_of_one_image_needs_no_gradient_and_no_batch(saved):
    sr = super_resolve(saved[0], torch.rand(3, 5, 6))
    assert sr.shape == (3, 10, 12) and not sr.requires_grad


def test_a_missing_or_foreign_file_is_refused_by_name(tmp_path):
    path = tmp_path / "weights.safetensors"
    with pytest.raises(ValueError, match=r"weights\.safetensors: cannot be read"):
        load_network(path)
    path.write_text("no tensors at all, but long enough for a header")
    with pytest.raises(ValueError, match=r"weights\.safetensors: cannot be read"):
        load_network(path)
    save_file({"w": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"weights\.safetensors: .*its cell; .*`tlw import`"):
        load_network(path)
    save_file({"w": torch.zeros(2)}, path, metadata={"cell": "{"})
    with pytest.raises(ValueError, match=r"weights\.safetensors: the cell in it is no JSON"):
        load_network(path)


@pytest.mark.parametrize("share", [0, 0.1, 0.9, 0.999])
def test_a_truncated_file_is_refused_by_name(saved, share):
    content = saved[2].read_bytes()
    saved[2].write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"weights\.safetensors: cannot be read as weights"):
        load_network(saved[2])


def test_a_cell_with_an_unknown_key_is_refused_with_file_and_key(saved):
    _, cell, path = saved
    content = json.dumps(cell.model_dump(mode="json") | {"colour": "bgr"})
    save_file(load_file(path), path, metadata={"cell": content})
    with pytest.raises(ValueError, match=r"weights\.safetensors: colour: unknown key"):
        load_network(path)


@pytest.mark.parametrize("fault", ["missing", "more", "shape"])
def test_weights_that_do_not_fit_are_refused_with_file_and_key(saved, fault):
    _, cell, path = saved
    tensors = load_file(path)
    key = next(key for key in tensors if key.endswith("weight"))
    if fault == "missing":
        del tensors[key]
    else:
        tensors[key if fault == "shape" else f"{key}.more"] = torch.zeros(1)
    save_file(tensors, path, metadata={"cell": cell.model_dump_json()})
    with pytest.raises(ValueError, match=rf"(?s)weights\.safetensors: does not fit edsr.*{key}"):
        load_network(path)


def test_a_full_disk_is_told_by_name_and_leaves_the_file_before(tmp_path, saved):
    net, cell, _ = saved
    with small_disk(tmp_path / "disk", kilobytes=64) as disk:
        path = disk / "weights.safetensors"
        save_network(path, net, cell)
        before = path.read_bytes()
        fill(disk)
        with pytest.raises(OSError, match=r"weights\.safetensors: could not be written"):
            save_network(path, net, cell)
        assert path.read_bytes() == before
