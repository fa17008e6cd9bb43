"""A run that moves to another machine: it ends as if it had never been stopped."""

import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from toys import CROPS, tlw, toy_cell, write_cell
from trainings import THREE_EPOCHS, assert_same_results, fragile_cell, last_step, train_here

from tlw.training.pack import pack, unpack

NAME = "grid/cell"


def stopped(run: Path, pairs: Path, monkeypatch, *, step: int, **options) -> Path:
    """A cell's folder of a run whose training was stopped after a step."""
    cell = fragile_cell("l1", recipe=THREE_EPOCHS | options)
    write_cell(cell, run / NAME)
    monkeypatch.setenv("TOYS_SIGNAL", f"SIGTERM@{step}")
    with pytest.raises(SystemExit):
        train_here(cell, pairs, run / NAME)
    monkeypatch.delenv("TOYS_SIGNAL")
    return run / NAME


def test_a_stopped_training_goes_on_elsewhere_and_ends_with_the_same_weights(
    tmp_path, pairs, monkeypatch
):
    folder = stopped(tmp_path / "here", pairs, monkeypatch, step=3)
    (folder / "tensorboard" / "more").mkdir()
    assert pack(tmp_path / "here", tmp_path / "run.tar") == [NAME]
    with tarfile.open(tmp_path / "run.tar") as packed:
        assert not any("tensorboard" in name for name in packed.getnames())
    assert unpack(tmp_path / "run.tar", tmp_path / "there") == {NAME: "taken"}
    assert last_step(tmp_path / "there" / NAME) == 3
    cell = fragile_cell("l1", recipe=THREE_EPOCHS)
    whole = train_here(cell, pairs, tmp_path / "whole")
    assert_same_results(train_here(cell, pairs, tmp_path / "there" / NAME), whole)


def test_of_two_the_one_that_has_come_further_stays(tmp_path, pairs, monkeypatch):
    for step in (2, 4):
        stopped(tmp_path / f"at {step}", pairs, monkeypatch, step=step)
        pack(tmp_path / f"at {step}", tmp_path / f"{step}.tar")
    run = tmp_path / "run"
    told = [unpack(tmp_path / f"{step}.tar", run)[NAME] for step in (2, 4, 2)]
    assert told == ["taken", "taken", "kept: it has come as far here"]
    assert last_step(run / NAME) == 4
    train_here(fragile_cell("l1", recipe=THREE_EPOCHS), pairs, run / NAME)
    assert unpack(tmp_path / "4.tar", run) == {NAME: "kept: it has come as far here"}
    pack(run, tmp_path / "finished.tar")
    assert unpack(tmp_path / "finished.tar", tmp_path / "at 2") == {NAME: "taken"}
    weights = [folder / NAME / "weights.safetensors" for folder in (run, tmp_path / "at 2")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_cell_of_another_config_is_refused_and_nothing_is_changed(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    write_cell(toy_cell(), one / "grid" / "a")
    write_cell(toy_cell("mse"), one / NAME)
    write_cell(toy_cell("mse", recipe=CROPS | {"batch": 2}), other / NAME)
    pack(one, tmp_path / "run.tar")
    before = (other / NAME / "cell.json").read_bytes()
    with pytest.raises(ValueError, match=r"grid/cell is of config \w+, the one in .* of \w+; unp"):
        unpack(tmp_path / "run.tar", other)
    assert (other / NAME / "cell.json").read_bytes() == before
    assert not (other / "grid" / "a").exists()


def test_what_is_being_trained_is_neither_packed_nor_replaced(tmp_path):
    run = tmp_path / "run"
    write_cell(toy_cell(), run / NAME)
    pack(run, tmp_path / "run.tar")
    (run / NAME / ".lock").touch()
    assert unpack(tmp_path / "run.tar", run) == {NAME: "kept: it is being trained here"}
    with pytest.raises(ValueError, match="not being trained just now, found none"):
        pack(run, tmp_path / "again.tar")
    assert not (tmp_path / "again.tar").exists()


def test_the_commands_say_what_they_did_and_refuse_what_is_no_packed_run(tmp_path):
    write_cell(toy_cell(), tmp_path / "run" / NAME)
    archive = tmp_path / "run.tar"
    for words, told in (
        (("pack", tmp_path / "run", "-o", archive), f"{archive}: 1 cells"),
        (("unpack", archive, tmp_path / "there"), f"{NAME}: taken"),
    ):
        done = subprocess.run(tlw(*words), capture_output=True, text=True, check=True)
        assert done.stdout.strip() == told
    other = Path(shutil.make_archive(str(tmp_path / "other"), "tar", tmp_path / "run" / "grid"))
    done = subprocess.run(tlw("unpack", other, tmp_path / "x"), capture_output=True, text=True)
    assert done.returncode == 1 and "expected an archive of `tlw pack`" in done.stderr
