"""Training: what it leaves, what it refuses, what it shows."""

import json
import os
import pty
import re
import subprocess
import termios

import pytest
import torch
from toys import (
    CROPS,
    SMALL_EDSR,
    SMALL_HAT,
    SMALL_VDSR,
    coded_pairs,
    curve,
    environment,
    photograph,
    run,
    tlw_train,
    toy_cell,
    toy_pairs,
    write_cell,
)
from trainings import (
    SWITCH,
    assert_same_results,
    last_step,
    train_here,
)

from tlw.data.pairs import Pairs
from tlw.data.protocols import protocol
from tlw.networks.sr_net import load_network, super_resolve
from tlw.runtime.devices import pick_device
from tlw.runtime.precision import has_bf16_units
from tlw.scoring.metrics import psnr_y
from tlw.training.trainer import Run, train

# --- results ----------------------------------------------------------------------------------


def test_a_finished_training_leaves_weights_curve_board_and_record(tmp_path, pairs):
    cell = toy_cell("mse", backbone=SMALL_EDSR)
    folder = train_here(cell, pairs, tmp_path / "cell")
    names = {path.name for path in folder.iterdir()}
    assert names == {"weights.safetensors", "training.csv", "tensorboard", "record.json"}
    record = json.loads((folder / "record.json").read_text())
    assert record["cell"] == "toy_x2_mse_seed0" and record["digest"] == cell.digest
    assert record["steps"] == record["scored_step"] == 6 and record["precision"] == "float32"
    assert (record["validation"], record["start"]) == ({}, None)
    assert record["pairs"] == {"toy": Pairs(pairs).digest()}
    net, saved_cell = load_network(folder / "weights.safetensors")
    assert saved_cell == cell
    assert record["parameters"] == sum(p.numel() for p in net.parameters())
    assert [row["step"] for row in curve(folder / "training.csv")] == ["3", "6"]


@pytest.mark.parametrize(
    ("recipe", "steps"),
    [
        ({"sampling": "whole", "epochs": 3}, 6),
        ({"sampling": "tiles", "size": 28, "batch": 4, "epochs": 2, "augment": True}, 6),
        (CROPS | {"batch": 3, "augment": True, "precision": "bf16-mixed"}, 6),
    ],
)
@pytest.mark.parametrize("loss", ["l1", "l1-udl"])
def test_every_recipe_trains(tmp_path, pairs, recipe, steps, loss):
    cell = toy_cell(loss, recipe=recipe, changes=SWITCH if loss == "l1-udl" else None)
    folder = train_here(cell, pairs, tmp_path)
    assert json.loads((folder / "record.json").read_text())["steps"] == steps
    start = Run(cell, torch.device("cpu")).plain_net.state_dict()
    trained = load_network(folder / "weights.safetensors")[0].state_dict()
    assert all(value.isfinite().all() for value in trained.values())
    assert not any(torch.equal(trained[key], value) for key, value in start.items())


@pytest.mark.skipif(
    not has_bf16_units("cpu"), reason="this CPU has no units for bfloat16 (AVX512_BF16 or AMX)"
)
@pytest.mark.parametrize("backbone", [SMALL_VDSR, SMALL_EDSR, SMALL_HAT])
def test_bf16_mixed_goes_near_float32_and_its_weights_stay_float32(tmp_path, pairs, backbone):
    curves = {}
    for precision in ("float32", "bf16-mixed"):
        cell = toy_cell(backbone=backbone, recipe=CROPS | {"precision": precision})
        folder = train_here(cell, pairs, tmp_path / precision)
        curves[precision] = [float(row["loss"]) for row in curve(folder / "training.csv")]
        for value in load_network(folder / "weights.safetensors")[0].parameters():
            assert value.dtype == torch.float32 and value.isfinite().all()
    assert curves["bf16-mixed"] != curves["float32"]
    assert curves["bf16-mixed"] == pytest.approx(curves["float32"], rel=0.05)


@pytest.mark.skipif(has_bf16_units("cpu"), reason="this CPU has units for bfloat16")
def test_without_units_bf16_mixed_is_float32_and_the_record_says_so(tmp_path, pairs):
    weights = []
    for precision in ("float32", "bf16-mixed"):
        cell = toy_cell(recipe=CROPS | {"precision": precision})
        folder = train_here(cell, pairs, tmp_path / precision)
        weights.append(load_network(folder / "weights.safetensors")[0].state_dict())
        record = json.loads((folder / "record.json").read_text())
        assert record["precision"] == precision
        assert [sitting["precision_used"] for sitting in record["sittings"]] == ["float32"]
    assert all(torch.equal(weights[0][key], value) for key, value in weights[1].items())


def test_training_beats_bicubic_on_the_photograph_that_it_sees(tmp_path):
    pairs = toy_pairs(tmp_path, [photograph(size=(168, 168))])
    recipe = {"sampling": "crops", "size": 48, "batch": 2, "epochs": 6, "steps_per_epoch": 25}
    backbone = {"path": "vdsr", "arguments": {"features": 16, "layers": 2}}
    cell = toy_cell(backbone=backbone, recipe=recipe | {"learning_rate": 2e-3, "augment": True})
    folder = train_here(cell, pairs, tmp_path / "cell")
    lr, hr = Pairs(pairs)[0]
    start = Run(cell, torch.device("cpu")).plain_net
    trained, _ = load_network(folder / "weights.safetensors")
    errors = [(super_resolve(net, lr) - hr).abs().mean() for net in (start, trained)]
    assert errors[1] < 0.9 * errors[0]
    rules = protocol("paper")
    bicubic = psnr_y(rules.finish(rules.upsample_bicubic(lr[None], 2)), hr[None])
    assert psnr_y(rules.finish(super_resolve(trained, lr)[None]), hr[None]) > bicubic + 1


def test_a_seed_decides_the_weights_and_the_number_of_workers_does_not(tmp_path, pairs):
    one = train_here(toy_cell(), pairs, tmp_path / "one")
    again = train_here(toy_cell(), pairs, tmp_path / "again", workers=2)
    assert_same_results(one, again)
    train_here(toy_cell(seeds=[1]), pairs, tmp_path / "other")
    assert curve(one / "training.csv") != curve(tmp_path / "other" / "training.csv")


def test_sets_are_taken_in_the_cells_order_whatever_the_command_lines(tmp_path):
    files = [toy_pairs(tmp_path, [photograph(name)], name=name) for name in ("coffee", "chelsea")]
    cell = toy_cell(train=["coffee", "chelsea"])
    for name, order in (("one", files), ("other", files[::-1])):
        train(cell, order, tmp_path / name, device="cpu")
    assert_same_results(tmp_path / "one", tmp_path / "other")


@pytest.mark.parametrize(("eps", "is_same"), [(9e-4, True), (1e-4, False)])
def test_a_constant_before_the_loss_is_one_before_adams_eps(eps, is_same):
    lr, hr = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 32, 32)
    weights = []
    for factor, own_eps in ((1.0, 1e-4), (9.0, eps)):
        cell = toy_cell("mse", changes={"mse": {"factor": factor}}, recipe=CROPS | {"eps": own_eps})
        training = Run(cell, torch.device("cpu"))
        for _ in range(3):
            training.step(lr, hr)
        weights.append(torch.cat([p.flatten() for p in training.net.parameters()]))
    assert torch.allclose(*weights, rtol=0, atol=1e-6) == is_same


# --- refused ----------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_ends_the_process_with_its_step_and_saves_nothing(
    tmp_path, pairs
):
    cell = toy_cell(backbone=SMALL_EDSR, recipe=CROPS | {"learning_rate": 1e30})
    write_cell(cell, tmp_path)
    ended = run(tlw_train(tmp_path, pairs))
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert re.search(r"tlw: error: toy_x2_l1_seed0: the loss of step [23] \(epoch 0\) is (nan|inf)",
                     ended.stderr)  # fmt: skip
    assert last_step(tmp_path) == 0 and not (tmp_path / "weights.safetensors").exists()


def test_weights_that_the_last_step_makes_infinite_are_not_saved(tmp_path, pairs):
    backbone = {"path": "toys:Overflowing"}
    cell = toy_cell(backbone=backbone, recipe=CROPS | {"epochs": 1, "steps_per_epoch": 1})
    with pytest.raises(FloatingPointError, match=r"toy_x2_l1_seed0: net.factor of the network is"):
        train_here(cell, pairs, tmp_path)
    assert not (tmp_path / "weights.safetensors").exists()


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"scale": 3}, "expected pairs of scale 2, found scale 3"),
        ({"protocol": "standard"}, r"protocol paper; found toy, protocol standard"),
        ({"name": "Set5"}, r"one of toy, protocol paper; found Set5"),
        ({"use": "test"}, r"pairs for training .*for use in test"),
    ],
)
def test_pairs_of_another_making_are_refused_with_what_was_found(tmp_path, options, found):
    other = toy_pairs(tmp_path, [photograph()], **options)
    with pytest.raises(ValueError, match=rf"{other}: .*{found}"):
        train_here(toy_cell(), other, tmp_path / "cell")
    assert not (tmp_path / "cell").exists()


def test_pairs_of_an_older_meaning_of_the_protocol_are_refused(tmp_path):
    import h5py

    path = toy_pairs(tmp_path)
    with h5py.File(path, "r+") as file:
        fields = json.loads(file.attrs["protocol_fields"])
        file.attrs["protocol_fields"] = json.dumps(fields | {"lr_a": -0.75})
    with pytest.raises(ValueError, match=rf"{path}: its protocol paper has other values"):
        train_here(toy_cell(), path, tmp_path / "cell")


def test_missing_and_doubled_sets_are_named(tmp_path, pairs):
    cell = toy_cell(train=["toy", "more"])
    with pytest.raises(ValueError, match=r"trains on toy, more: no pairs of more"):
        train_here(cell, pairs, tmp_path / "cell")
    copy = tmp_path / "copy.h5"
    copy.write_bytes(pairs.read_bytes())
    with pytest.raises(ValueError, match=rf"{copy}: pairs of toy are given already, by {pairs}"):
        train(cell, [pairs, copy], tmp_path / "cell", device="cpu")


def test_a_truncated_pairs_file_is_refused_by_name(tmp_path, pairs):
    cut = tmp_path / "cut.h5"
    cut.write_bytes(pairs.read_bytes()[:-5000])
    with pytest.raises(ValueError, match=r"cut\.h5: expected a whole HDF5 file"):
        train_here(toy_cell(), cut, tmp_path / "cell")


def test_an_image_smaller_than_the_crop_is_refused_by_name_at_the_start(tmp_path):
    pairs = coded_pairs(tmp_path, [(20, 20), (20, 15)])
    cell = toy_cell(train=["coded"], protocol="standard")
    with pytest.raises(ValueError, match=r"image 1\.png has 40 x 30 pixels, less than the 32"):
        train_here(cell, pairs, tmp_path / "cell")


def test_an_unknown_key_in_cell_json_is_refused_with_file_and_key(tmp_path, pairs):
    path = write_cell(toy_cell(), tmp_path)
    content = json.loads(path.read_text())
    content["recipe"]["epoch"] = content["recipe"].pop("epochs")
    path.write_text(json.dumps(content))
    ended = run(tlw_train(tmp_path, pairs))
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert f"{path}: recipe.epoch: unknown key; did you mean 'epochs'?" in ended.stderr


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta", "cpu:x"])
def test_a_device_that_cannot_be_used_is_named(tmp_path, pairs, device):
    with pytest.raises(ValueError, match=rf"device '{device}' cannot be used: .+; try 'cpu'"):
        train(toy_cell(), [pairs], tmp_path / "cell", device=device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_auto_is_the_cpu_and_cuda_is_refused():
    assert pick_device("auto") == torch.device("cpu")
    with pytest.raises(ValueError, match="device 'cuda' cannot be used"):
        pick_device("cuda")


# --- shown ------------------------------------------------------------------------------------


def test_a_terminal_shows_loss_images_per_second_and_time_left(tmp_path, pairs):
    """Tiles whose last batch is smaller: twelve an epoch, in batches of five."""
    recipe = {"sampling": "tiles", "size": 28, "batch": 5, "epochs": 40}
    write_cell(toy_cell(recipe=recipe), tmp_path)
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (40, 120))
    process = subprocess.Popen(tlw_train(tmp_path, pairs), stderr=slave, env=environment())
    os.close(slave)
    shown = b""
    try:
        while block := os.read(master, 65536):
            shown += block
    except OSError:  # what Linux says when the other side is closed
        pass
    os.close(master)
    assert process.wait(timeout=60) == 0
    lines = shown.decode().replace("\n", "\r").split("\r")
    bars = [line for line in lines if line.startswith("toy_x2_l1_seed0:") and "%|" in line]
    shape = r".* \d+/480 \[\d+:\d+<\d+:\d+, .*(img/s|s/img), epoch=\d+, loss=[\d.]+\]"
    assert any(re.fullmatch(shape, bar) for bar in bars)
    assert "100%|" in bars[-1] and "480/480" in bars[-1]
    assert any(line.startswith("toy_x2_l1_seed0: starts at step 0 of 120") for line in lines)
    assert not any("images/s" in line for line in lines)  # those are for where no bar is
    assert all(bar.rstrip().endswith("]") for bar in bars)  # nothing is written into the bar
