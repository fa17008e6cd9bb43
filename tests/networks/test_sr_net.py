"""Networks behind the package's image convention, and their weights in a file with their cell."""

import json
import sys
from pathlib import Path

import pytest
import torch
from png_files import write_image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from toys import (
    SMALL_EDSR,
    SMALL_HAT,
    SMALL_VDSR,
    Probe,
    fill,
    photograph,
    small_disk,
    toy_cell,
    toy_pairs,
)
from typer.testing import CliRunner

from tlw.backbones import build
from tlw.cli import app
from tlw.config.config import Backbone
from tlw.networks.sr_net import (
    SRNet,
    build_network,
    load_network,
    network_named_in,
    save_network,
    super_resolve,
)


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
    loaded, _ = load_network(tmp_path / "w", networks=["toys:Probe"])
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
    with pytest.raises(ValueError, match=r"weights\.safetensors: this is text, not weights"):
        load_network(path)
    save_file({"w": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"weights\.safetensors: .*its cell; .*`tlw import`"):
        load_network(path)
    save_file({"w": torch.zeros(2)}, path, metadata={"cell": "{"})
    with pytest.raises(ValueError, match=r"weights\.safetensors: the cell in it is no JSON"):
        load_network(path)


@pytest.mark.parametrize("share", [0.1, 0.9, 0.999])
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


# --- files from elsewhere: data runs no code --------------------------------------------------

SPY = """
from pathlib import Path
import torch
Path({told!r}).touch()

class Shuffle(torch.nn.Module):
    def __init__(self, *, scale):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
"""


@pytest.fixture
def spy(tmp_path, monkeypatch) -> Path:
    """A file that appears as soon as a module on the path, `spying.nets`, or its package runs."""
    told = tmp_path / "it ran"
    package = tmp_path / "on_the_path" / "spying"
    package.mkdir(parents=True)
    for name in ("__init__.py", "nets.py"):
        (package / name).write_text(SPY.format(told=str(told)))
    monkeypatch.syspath_prepend(str(package.parent))
    yield told
    for name in [name for name in sys.modules if name.split(".")[0] == "spying"]:
        del sys.modules[name]


def foreign(path: Path, **changes: object) -> Path:
    """A weights file whose cell names what the changes say."""
    content = toy_cell("l1").model_dump(mode="json") | changes
    save_file({"weight": torch.zeros(1)}, path, metadata={"cell": json.dumps(content)})
    return path


def test_a_class_that_a_weights_file_names_is_not_imported(tmp_path, spy):
    path = foreign(tmp_path / "w.safetensors", backbone={"path": "spying.nets:Shuffle"})
    words = r"w\.safetensors: its network is spying\.nets:Shuffle.*--network .* or --trust"
    with pytest.raises(ValueError, match=words):
        load_network(path)
    with pytest.raises(ValueError, match=words):
        load_network(path, networks=["other:Shuffle"])
    assert network_named_in(path) == "spying.nets:Shuffle"
    assert not spy.exists() and "spying" not in sys.modules


def test_a_class_that_is_named_by_its_user_is_imported(tmp_path, spy):
    path = foreign(tmp_path / "w.safetensors", backbone={"path": "spying.nets:Shuffle"})
    net, _ = load_network(path, networks=["spying.nets:Shuffle"])
    assert spy.exists() and net.net.weight.item() == 0


def test_the_loss_that_a_weights_file_names_is_not_imported(tmp_path, saved, spy):
    _, cell, path = saved
    loss = {"kind": "custom", "path": "spying.nets:Loss"}
    content = cell.model_dump(mode="json") | {"loss": loss}
    save_file(load_file(path), path, metadata={"cell": json.dumps(content)})
    assert load_network(path)[1].loss.path == "spying.nets:Loss"
    assert not spy.exists() and "spying" not in sys.modules


@pytest.mark.parametrize("verb", ["upscale", "evaluate"])
def test_neither_verb_imports_what_a_file_names_but_for_its_user(tmp_path, spy, verb):
    path = foreign(tmp_path / "w.safetensors", backbone={"path": "spying.nets:Shuffle"})
    write_image(tmp_path / "a.png", photograph(size=(24, 24)).copy())
    words = {
        "upscale": ["upscale", tmp_path / "a.png", "--weights", path, "-o", tmp_path / "out"],
        "evaluate": ["evaluate", path, "--pairs", toy_pairs(tmp_path, use="test")],
    }[verb]
    words = [*map(str, words), "--device", "cpu"]
    told = CliRunner().invoke(app, words)
    assert "its network is spying.nets:Shuffle" in str(told.exception)
    assert not spy.exists()
    CliRunner().invoke(app, [*words, "--trust", str(path)])  # it has no forward
    assert spy.exists()


# --- files from elsewhere: their sizes are not believed ---------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"features": 200_000}, "features: expected 2048 or less, found 200000"),
        ({"features": 4, "blocks": 10**9}, "blocks: expected 2048 or less, found 1000000000"),
        ({"features": 4, "blocks": 1500}, "expected 1000 blocks or fewer"),
        ({"features": 2048, "blocks": 900}, "does not fit edsr: .*; [0-9]+ more"),
        ({"features": 5, "blocks": 1}, r"head\.weight: expected \(5, 3, 3, 3\), found \(4, 3,"),
    ],
)
def test_a_cell_that_asks_for_more_than_its_file_holds_is_refused_at_once(saved, arguments, words):
    _, cell, path = saved
    content = cell.model_dump(mode="json")
    content["backbone"]["arguments"] = arguments
    save_file(load_file(path), path, metadata={"cell": json.dumps(content)})
    with pytest.raises(ValueError, match=rf"weights\.safetensors: .*{words}"):
        load_network(path)


def test_the_comparison_leaves_what_is_built_as_it_was(saved):
    """No parameter of the network that is returned is of the kind that has no memory."""
    net, _ = load_network(saved[2])
    assert {value.device.type for value in net.state_dict().values()} == {"cpu"}


def test_integers_in_place_of_weights_are_refused(saved):
    _, cell, path = saved
    tensors = {key: value.to(torch.int32) for key, value in load_file(path).items()}
    save_file(tensors, path, metadata={"cell": cell.model_dump_json()})
    with pytest.raises(ValueError, match=r"expected torch\.float32, found torch\.int32"):
        load_network(path)


@pytest.mark.parametrize("length", [2**63, 10**9, 7])
def test_a_damaged_header_is_told_by_name(saved, length):
    content = saved[2].read_bytes()
    saved[2].write_bytes(length.to_bytes(8, "little") + content[8:])
    with pytest.raises(ValueError, match=r"weights\.safetensors: cannot be read as weights"):
        load_network(saved[2])


def test_a_deeply_nested_cell_is_told_by_name(saved):
    save_file(load_file(saved[2]), saved[2], metadata={"cell": "[" * 100_000})
    with pytest.raises(ValueError, match=r"weights\.safetensors: the cell in it is no JSON"):
        load_network(saved[2])
