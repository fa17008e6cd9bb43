"""What networks cost, against counts by hand and sizes that are known."""

import json
from pathlib import Path

import pytest
import torch
from small_networks import SMALL
from toys import CROPS, SMALL_EDSR, run, tlw, toy_cell

from tlw.backbones import build, count_parameters
from tlw.networks.cost import costs, multiply_adds
from tlw.networks.sr_net import SRNet, build_network, load_network, save_network


def weights(folder: Path, scale: int = 2) -> Path:
    cell = toy_cell(backbone=SMALL_EDSR, scale=scale, recipe=CROPS | {"size": 36})
    save_network(folder / "weights.safetensors", build_network(cell.backbone, scale), cell)
    return folder / "weights.safetensors"


@pytest.mark.parametrize(("scale", "height", "width"), [(2, 360, 640), (3, 240, 427)])
def test_the_multiply_adds_of_a_convolution_are_those_counted_by_hand(scale, height, width):
    net = SRNet(build("edsr", scale=scale, features=4, blocks=1))
    lr = height * width
    body = 9 * lr * (3 * 4 + 3 * 4 * 4)  # head, two of the block, the body's end
    upsample = 9 * lr * 4 * 4 * scale**2 + 9 * lr * scale**2 * 4 * 3
    assert multiply_adds(net, scale) == body + upsample


def test_edsr_baseline_has_the_cost_that_is_published():
    # IMDN's Table 4 (Hui et al., 2019): EDSR-baseline x4 1,518K parameters, 114.0G multiply-adds
    net = SRNet(build("edsr", scale=4))
    assert round(count_parameters(net) / 1e3) == 1518
    # there with the mean shift's 1 x 1 convolutions
    assert multiply_adds(net, 4) / 1e9 == pytest.approx(114.0, abs=0.5)


@pytest.mark.parametrize("name", SMALL)
def test_every_network_is_counted_without_being_run_or_changed(name):
    net = SRNet(build(name, scale=2, **SMALL[name]))
    before = {key: value.clone() for key, value in net.state_dict().items()}
    large, small = (multiply_adds(net, 2, size) for size in ((720, 1280), (72, 128)))
    assert 90 < large / small < 110
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


def test_a_file_beside_the_weights_has_each_device(tmp_path):
    path = weights(tmp_path / "a", scale=3)
    other = {"devices": {"Abacus": {"seconds": 9.0, "peak_bytes": None, "output": [720, 1281]}}}
    (tmp_path / "a" / "cost.json").write_text(json.dumps(other))
    [found] = costs([path], device="cpu", size=(700, 700), rounds=2, threads=1).values()
    assert json.loads((tmp_path / "a" / "cost.json").read_text()) == found
    net, cell = load_network(path)
    assert found["parameters"] == count_parameters(net) and found["output"] == [720, 1281]
    assert found["multiply_adds"] == multiply_adds(net, 3)
    assert found["network"] == cell.backbone_name and found["scale"] == 3
    assert next(iter(found["devices"])) == "Abacus" and len(found["devices"]) == 2
    measured = list(found["devices"].values())[1]
    assert measured["seconds"] > 0 and measured["rounds"] == 2 and measured["output"] == [702, 702]
    # at the least sr itself and the 4 features before it
    assert measured["peak_bytes"] > 4 * 702 * 702 * (3 + 4)
    assert measured["versions"]["torch"] == torch.__version__


def test_several_networks_are_printed_in_one_table(tmp_path):
    paths = [weights(tmp_path / f"x{scale}", scale=scale) for scale in (2, 4)]
    done = run(tlw("cost", *paths, "--height", 40, "--width", 60, "--device", "cpu"))
    assert done.returncode == 0, done.stderr
    head, _, *rows = done.stdout.splitlines()
    assert "parameters" in head and "peak memory" in head and len(rows) == 2
    assert "| x2 " in rows[0] and "| x4 " in rows[1] and "60 x 40" in rows[0]
    assert (tmp_path / "x4" / "cost.json").exists()


def test_two_weights_in_one_folder_are_refused(tmp_path):
    path = weights(tmp_path)
    other = path.with_name("other.safetensors")
    other.write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match="would both be written to"):
        costs([path, other], device="cpu")
    assert not (tmp_path / "cost.json").exists()


def test_a_file_of_another_kind_in_the_way_is_told_and_kept(tmp_path):
    path = weights(tmp_path)
    (tmp_path / "cost.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"cost\.json: expected what `tlw cost` writes"):
        costs([path], device="cpu", size=(8, 8), rounds=1)
    assert (tmp_path / "cost.json").read_text() == "[1]"
