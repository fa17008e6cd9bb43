"""Training, stopped and resumed: it ends with the weights of a run that nothing stopped."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from toys import (
    CROPS,
    fill,
    photograph,
    run,
    small_disk,
    tlw_train,
    toy_cell,
    toy_pairs,
    write_cell,
)
from trainings import assert_same_results, fragile_cell, last_step, train_here

from tlw.config.config import Cell
from tlw.data.pairs import Pairs
from tlw.runtime.locks import only_one
from tlw.training.checkpoint import Checkpoints

ALL_LOSSES = [
    pytest.param("l1", "paper", range(1, 7), id="l1"),
    pytest.param("l1-udl", "paper", range(1, 7), id="l1-udl paper"),
    pytest.param("l1-udl", "authors-code", range(1, 7), id="l1-udl authors-code"),
    pytest.param("l1-tlw", "paper", [3], id="l1-tlw paper"),
    pytest.param("mse-tlw", "authors-code", [4], id="mse-tlw", marks=pytest.mark.slow),
]


def wait_for(condition, process: subprocess.Popen) -> None:
    """Until the condition holds; fails if the process ends before."""
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)


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


def test_a_terminal_that_hangs_up_lets_the_step_end_too(tmp_path, pairs, monkeypatch):
    monkeypatch.setenv("TOYS_SIGNAL", "SIGHUP@2")
    with pytest.raises(SystemExit) as stop:
        train_here(fragile_cell("l1"), pairs, tmp_path)
    assert stop.value.code == 128 + signal.SIGHUP and last_step(tmp_path) == 2


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
    assert re.search(
        rf"{cell.name}: step 6 of 6: epoch 2, loss [\d.]+; \S+ images/s, 0:00:00 left", told
    )
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


def test_a_second_trainer_that_waited_leaves_a_finished_training_as_it_is(tmp_path, pairs):
    cell = toy_cell()
    folder, whole = tmp_path / "cell", train_here(cell, pairs, tmp_path / "whole")
    write_cell(cell, folder)
    with only_one(folder / ".lock"):
        command = tlw_train(folder, pairs)
        second = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        told = second.stderr.readline()  # that it waits
        for name in ("weights.safetensors", "record.json", "training.csv"):
            shutil.copy(whole / name, folder)
        before = (folder / "weights.safetensors").stat().st_mtime_ns
    told += second.communicate(timeout=120)[1]
    assert second.returncode == 0 and "finished meanwhile" in told, told
    assert (folder / "weights.safetensors").stat().st_mtime_ns == before
    again = run(command)  # nobody was waited for: a person who starts it means it
    assert "starts at step 0 of 6" in again.stderr and again.returncode == 0


def test_a_folder_of_a_notebook_server_among_the_checkpoints_costs_a_warning(tmp_path, pairs):
    write_cell(toy_cell(), tmp_path)
    (tmp_path / "checkpoints" / ".ipynb_checkpoints").mkdir(parents=True)
    done = run(tlw_train(tmp_path, pairs))
    assert done.returncode == 0 and "left where it is" in done.stderr
    assert (tmp_path / "weights.safetensors").exists() and (tmp_path / "record.json").exists()


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
        assert Checkpoints(folder / "checkpoints", belongs_to, 200).load().step == saved
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
