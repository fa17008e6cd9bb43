"""Training: whatever stops it, it ends with the weights of a run that nothing stopped."""

import json
import os
import pty
import re
import signal
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from toys import (
    CROPS,
    FRAGILE_VDSR,
    SMALL_EDSR,
    SMALL_HAT,
    SMALL_VDSR,
    coded_pairs,
    curve,
    environment,
    fill,
    photograph,
    run,
    small_disk,
    tlw_train,
    toy_cell,
    toy_pairs,
    write_cell,
)

from tlw.checkpoint import Checkpoints
from tlw.config import Cell
from tlw.devices import pick_device
from tlw.metrics import psnr_y
from tlw.pairs import Pairs
from tlw.protocols import protocol
from tlw.sr_net import load_network, super_resolve
from tlw.trainer import Run, train

# Three epochs, so that the UDL's step changes in the middle.
THREE_EPOCHS = CROPS | {"epochs": 3, "steps_per_epoch": 2, "augment": True}
SWITCH = {"l1-udl": {"esu_epochs": 1}}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    return toy_pairs(tmp_path_factory.mktemp("pairs"))


def train_here(cell: Cell, pairs: Path, folder: Path, **options) -> Path:
    train(cell, [pairs], folder, device="cpu", **options)
    return folder


def assert_same_results(one: Path, other: Path) -> None:
    """Weights bit by bit, and the log but for its times."""
    weights = [(folder / "weights.safetensors").read_bytes() for folder in (one, other)]
    assert weights[0] == weights[1]
    assert curve(one / "training.csv") == curve(other / "training.csv")
    for folder in (one, other):
        assert not (folder / "checkpoints").exists()
        assert not list(folder.glob(".*.part"))


def last_step(folder: Path) -> int:
    """The step of the newest checkpoint, 0 without one."""
    names = [path.name for path in (folder / "checkpoints").glob("step-*.pt")]
    return max((int(name.split("-")[1]) for name in names), default=0)


def wait_for(condition, process: subprocess.Popen) -> None:
    """Until the condition holds; fails if the process ends before."""
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)


# --- results ----------------------------------------------------------------------------------


def test_a_finished_training_leaves_weights_curve_board_and_record(tmp_path, pairs):
    cell = toy_cell("mse", backbone=SMALL_EDSR)
    folder = train_here(cell, pairs, tmp_path / "cell")
    names = {path.name for path in folder.iterdir()}
    assert names == {
        *("weights.safetensors", "training.csv", "tensorboard", "record.json", ".lock")
    }
    record = json.loads((folder / "record.json").read_text())
    assert record["cell"] == "toy_x2_mse_seed0" and record["digest"] == cell.digest
    assert record["steps"] == 6 and record["numerics"] == "exact"
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
        (CROPS | {"batch": 3, "augment": True, "numerics": "fast"}, 6),
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


@pytest.mark.parametrize("backbone", [SMALL_VDSR, SMALL_EDSR, SMALL_HAT])
def test_fast_goes_near_exact_and_its_weights_stay_float32(tmp_path, pairs, backbone):
    curves = {}
    for numerics in ("exact", "fast"):
        cell = toy_cell(backbone=backbone, recipe=CROPS | {"numerics": numerics})
        folder = train_here(cell, pairs, tmp_path / numerics)
        curves[numerics] = [float(row["loss"]) for row in curve(folder / "training.csv")]
        for value in load_network(folder / "weights.safetensors")[0].parameters():
            assert value.dtype == torch.float32 and value.isfinite().all()
    assert curves["fast"] != curves["exact"]
    assert curves["fast"] == pytest.approx(curves["exact"], rel=0.05)


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


# --- stopped and resumed ----------------------------------------------------------------------

ALL_LOSSES = [
    pytest.param("l1", "paper", range(1, 7), id="l1"),
    pytest.param("l1-udl", "paper", range(1, 7), id="l1-udl paper"),
    pytest.param("l1-udl", "authors-code", range(1, 7), id="l1-udl authors-code"),
    pytest.param("l1-tlw", "paper", [3], id="l1-tlw paper"),
    pytest.param("mse-tlw", "authors-code", [4], id="mse-tlw", marks=pytest.mark.slow),
]


def fragile_cell(loss: str, preset: str = "paper", **options) -> Cell:
    changes = SWITCH if loss == "l1-udl" else None
    options = {"recipe": THREE_EPOCHS} | options
    return toy_cell(loss, backbone=FRAGILE_VDSR, preset=preset, changes=changes, **options)


@pytest.mark.parametrize(("loss", "preset", "steps"), ALL_LOSSES)
def test_sigterm_lets_the_step_end_and_a_rerun_goes_on_from_it(
    tmp_path, pairs, monkeypatch, loss, preset, steps
):
    cell = fragile_cell(loss, preset)
    whole = train_here(cell, pairs, tmp_path / "whole")
    for step in steps:
        folder = tmp_path / f"stopped at {step}"
        monkeypatch.setenv("TOYS_SIGNAL", f"SIGTERM@{step}")
        with pytest.raises(SystemExit) as stop:
            train_here(cell, pairs, folder)
        assert stop.value.code == 128 + signal.SIGTERM
        assert last_step(folder) == step and not (folder / "record.json").exists()
        monkeypatch.delenv("TOYS_SIGNAL")
        assert_same_results(train_here(cell, pairs, folder), whole)


def test_signals_are_as_before_after_training(tmp_path, pairs):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    train_here(toy_cell(), pairs, tmp_path)
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == before


def assert_killed_and_resumed_equals_whole(cell, pairs, folder, whole, kills) -> str:
    """Real processes of `tlw train`, each killed by -9 in the middle of a step, but the last.

    Returns:
        What the last one told.
    """
    write_cell(cell, folder)
    command = tlw_train(folder, pairs, "--checkpoint-seconds", 0)
    for look in kills:
        before = last_step(folder)
        killed = run(command, TOYS_SIGNAL=f"SIGKILL@{look}")
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert last_step(folder) == before + look - 1
        assert len(list((folder / "checkpoints").glob("step-*.pt"))) <= 2
    finished = run(command)
    assert finished.returncode == 0, finished.stderr
    (folder / "cell.json").unlink()
    assert_same_results(folder, whole)
    return finished.stderr


def test_a_process_killed_in_mid_step_and_resumed_equals_one_never_killed(tmp_path, pairs):
    cell = fragile_cell("l1")
    whole = train_here(cell, pairs, tmp_path / "whole")
    told = assert_killed_and_resumed_equals_whole(cell, pairs, tmp_path / "cell", whole, [4])
    assert f"{cell.name}: goes on at step 3 of 6, on cpu" in told
    assert re.search(rf"{cell.name}: epoch 2 done, loss \S+, \S+ images/s", told)
    assert "%|" not in told  # a bar is for terminals


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "preset"),
    [
        *(("l1", "paper"), ("l1-tlw", "paper"), ("l1-tlw", "authors-code")),
        *(("mse-tlw", "paper"), ("l1-udl", "paper"), ("l1-udl", "authors-code")),
    ],
)
def test_any_loss_killed_again_and_again_equals_one_never_killed(tmp_path, pairs, loss, preset):
    """Two steps an epoch: the UDL's step changes just where the second resume begins."""
    cell = fragile_cell(loss, preset)
    whole = train_here(cell, pairs, tmp_path / "whole")
    assert_killed_and_resumed_equals_whole(cell, pairs, tmp_path / "cell", whole, [2, 2, 2])


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_weights(tmp_path, pairs):
    """Also while it writes checkpoints, of which this larger network's take as long as a step."""
    backbone = {"path": "vdsr", "arguments": {"features": 32, "layers": 3}}
    cell = toy_cell(backbone=backbone, recipe=CROPS | {"steps_per_epoch": 150})
    whole = train_here(cell, pairs, tmp_path / "whole")
    folder = tmp_path / "cell"
    command = tlw_train(folder, pairs, "--checkpoint-seconds", 0)
    write_cell(cell, folder)
    moments = torch.rand(8, generator=torch.Generator().manual_seed(0)).tolist()
    for moment in moments:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        seen = last_step(folder)
        wait_for(lambda seen=seen: last_step(folder) > seen, process)
        time.sleep(moment / 4)
        process.kill()
        process.communicate()
    assert 0 < last_step(folder) < 300
    assert run(command).returncode == 0
    (folder / "cell.json").unlink()
    assert_same_results(folder, whole)


def test_sigterm_to_the_whole_group_ends_with_143_and_a_rerun_gives_the_same(tmp_path, pairs):
    """As a cluster's scheduler sends it: the workers that read ahead get it as well."""
    cell = toy_cell(recipe=CROPS | {"steps_per_epoch": 150})
    folder = tmp_path / "cell"
    write_cell(cell, folder)
    command = tlw_train(folder, pairs, "--workers", 2)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(lambda: (folder / "checkpoints" / "training.csv").exists(), process)
    os.killpg(process.pid, signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 143, told
    assert 10 <= last_step(folder) < 300
    assert f"stopped by a signal after step {last_step(folder)}, saved" in told
    whole = train_here(cell, pairs, tmp_path / "whole")
    assert_same_results(train_here(cell, pairs, folder), whole)


def test_a_full_disk_ends_it_by_name_and_with_room_again_it_ends_the_same(tmp_path, pairs, caplog):
    cell = toy_cell(recipe=CROPS | {"steps_per_epoch": 100})
    with small_disk(tmp_path / "disk", kilobytes=256) as disk:
        folder = disk / "cell"
        write_cell(cell, folder)
        command = tlw_train(folder, pairs, "--checkpoint-seconds", 0)
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        wait_for(lambda: last_step(folder) > 5, process)
        filler = fill(disk)
        _, told = process.communicate(timeout=60)
        assert process.returncode == 1
        assert re.search(rf"tlw: error: .*{folder}/\S+: could not be written .*No space", told)
        assert "Traceback" not in told
        saved = last_step(folder)
        belongs_to = {
            "cell": cell.name, "config": cell.digest, "pairs of toy": Pairs(pairs).digest(),
        }  # fmt: skip
        assert Checkpoints(folder / "checkpoints", belongs_to).load()["step"] == saved
        filler.unlink()
        whole = train_here(cell, pairs, tmp_path / "whole")
        with caplog.at_level("INFO"):
            assert_same_results(train_here(cell, pairs, folder), whole)
        assert f"goes on at step {saved} of 200" in caplog.text


def stopped(cell: Cell, pairs: Path, folder: Path, monkeypatch, step: int = 3) -> Path:
    """A folder with a checkpoint of that step."""
    monkeypatch.setenv("TOYS_SIGNAL", f"SIGTERM@{step}")
    with pytest.raises(SystemExit):
        train_here(cell, pairs, folder, checkpoint_seconds=0)
    monkeypatch.delenv("TOYS_SIGNAL")
    return folder


def test_a_damaged_last_checkpoint_costs_a_step_and_changes_nothing(
    tmp_path, pairs, monkeypatch, caplog
):
    cell = fragile_cell("l1")
    folder = stopped(cell, pairs, tmp_path / "cell", monkeypatch, 5)
    newest = max((folder / "checkpoints").glob("step-*.pt"))
    newest.write_bytes(newest.read_bytes()[:-1])
    with caplog.at_level("INFO"):
        train_here(cell, pairs, folder)
    assert f"{newest}: damaged" in caplog.text and "goes on at step 4 of 6" in caplog.text
    assert_same_results(folder, train_here(cell, pairs, tmp_path / "whole"))


def test_a_checkpoint_of_another_cell_config_or_image_is_refused_by_name(
    tmp_path, pairs, monkeypatch
):
    cell = fragile_cell("l1")
    folder = stopped(cell, pairs, tmp_path / "cell", monkeypatch)
    others = toy_pairs(tmp_path / "others", [photograph("chelsea")])
    for other, files, expected in (
        (fragile_cell("mse"), pairs, "cell toy_x2_mse_seed0, found toy_x2_l1_seed0"),
        (fragile_cell("l1", recipe=CROPS), pairs, rf"config \S+, found {cell.digest}"),
        (cell, others, rf"pairs of toy \S+, found {Pairs(pairs).digest()}"),
    ):
        with pytest.raises(ValueError, match=rf"step-00000003\S+\.pt: .*expected {expected}"):
            train_here(other, files, folder)
    assert last_step(folder) == 3


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
    shape = r".* \d+/480 \[\d+:\d+<\d+:\d+, .*(img/s|s/img), loss=[\d.]+\]"
    assert any(re.fullmatch(shape, bar) for bar in bars)
    assert "100%|" in bars[-1] and "480/480" in bars[-1]
    assert any(re.match("toy_x2_l1_seed0: epoch 7 done, ", line) for line in lines)
    assert all(bar.rstrip().endswith("]") for bar in bars)  # nothing is written into the bar


# --- on a GPU ---------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("numerics", ["exact", "fast"])
@pytest.mark.parametrize("loss", ["l1", "l1-tlw", "mse-tlw", "l1-udl"])
def test_a_gpu_trains_and_resumes(tmp_path, pairs, monkeypatch, loss, numerics):
    cell = fragile_cell(loss, recipe=THREE_EPOCHS | {"numerics": numerics})
    train(cell, [pairs], tmp_path / "whole", device="cuda")
    monkeypatch.setenv("TOYS_SIGNAL", "SIGTERM@3")
    with pytest.raises(SystemExit):
        train(cell, [pairs], tmp_path / "cell", device="cuda", workers=2)
    monkeypatch.delenv("TOYS_SIGNAL")
    train(cell, [pairs], tmp_path / "cell", device="cuda", workers=2)
    losses = [
        [float(row["loss"]) for row in curve(tmp_path / name / "training.csv")]
        for name in ("whole", "cell")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)  # sums on a GPU come in any order
    record = json.loads((tmp_path / "cell" / "record.json").read_text())
    assert record["device"] == torch.cuda.get_device_name()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_cpu_and_a_gpu_take_about_the_same_steps(tmp_path, pairs):
    cell = toy_cell(backbone=SMALL_EDSR)
    for device in ("cpu", "cuda"):
        train(cell, [pairs], tmp_path / device, device=device)
    one, other = [curve(tmp_path / device / "training.csv") for device in ("cpu", "cuda")]
    for a, b in zip(one, other, strict=True):
        assert float(a["loss"]) == pytest.approx(float(b["loss"]), rel=1e-2)
