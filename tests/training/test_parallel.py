"""A training in two processes: the weights of one process, also stopped and gone on with."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from joint_steps import CELLS, main
from safetensors.torch import load_file
from toys import (
    CROPS,
    FRAGILE_VDSR,
    SMALL_EDSR,
    SMALL_HAT,
    curve,
    environment,
    photograph,
    run,
    tlw_train,
    toy_cell,
    toy_pairs,
    write_cell,
)

from tlw.config.config import Cell
from tlw.runtime.launch import RENDEZVOUS
from tlw.training.trainer import train

FOURS = CROPS | {"batch": 4, "epochs": 3, "steps_per_epoch": 2, "augment": True}
SWITCH = {"l1-udl": {"esu_epochs": 1}}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    """Three tiles of 32 pixels, or any crops of that size."""
    images = [photograph(size=(56, 84)), photograph("coffee", size=(56, 56))]
    return toy_pairs(tmp_path_factory.mktemp("pairs"), images)


def two(script: Path, *words: Path, meeting: Path) -> list[int]:
    """Runs a script in two processes that find each other; how they ended."""
    processes = [
        subprocess.Popen(
            [sys.executable, script, *words],
            env=environment(
                RANK=str(rank),
                LOCAL_RANK=str(rank),
                WORLD_SIZE="2",
                **{RENDEZVOUS: f"file://{meeting}"},
            ),
        )
        for rank in range(2)
    ]
    return [process.wait(timeout=600) for process in processes]


def difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> dict[str, float]:
    assert one.keys() == other.keys()
    return {key: float((one[key] - other[key]).abs().max()) for key in one}


def test_two_processes_reckon_as_one_with_every_loss(tmp_path, pairs):
    """Weights of the networks and of the weighting network, its statistics, and the figures."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    main(pairs, tmp_path / "one")
    script = Path(__file__).parents[1] / "helpers" / "joint_steps.py"
    assert two(script, pairs, tmp_path / "two", meeting=tmp_path / "meeting") == [0, 0]
    for name in CELLS:
        one = load_file(tmp_path / "one" / f"{name}.0.safetensors")
        both = [load_file(tmp_path / "two" / f"{name}.{rank}.safetensors") for rank in range(2)]
        assert max(difference(*both).values()) == 0, name
        # A bias before a BatchNorm has no effect, so its gradient is nothing but noise, of which
        # Adam makes whole steps when it grows to 1e-8.
        assert max(difference(one, both[0]).values()) < 1e-10, name
        network = [value for key, value in difference(one, both[0]).items() if key[:4] == "net."]
        assert len(network) > 10 and max(network) < 1e-13, name


def trained(cell: Cell, pairs: Path, folder: Path) -> dict[str, torch.Tensor]:
    """Weights from one process."""
    train(cell, [pairs], folder, device="cpu")
    return load_file(folder / "weights.safetensors")


def assert_near(folder: Path, whole: Path) -> None:
    """Weights and curves of float32 trainings whose sums come in another order."""
    one, other = (load_file(at / "weights.safetensors") for at in (whole, folder))
    assert max(difference(one, other).values()) < 1e-6
    rows = [curve(at / "training.csv") for at in (whole, folder)]
    assert len(rows[0]) == len(rows[1]) > 0
    for expected, found in zip(*rows, strict=True):
        assert expected.keys() == found.keys()
        for key in expected:
            assert float(found[key]) == pytest.approx(float(expected[key]), rel=1e-4), key


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "backbone"), [("l1", SMALL_HAT), ("l1-tlw", SMALL_EDSR)])
def test_a_cell_trained_in_two_processes_is_that_of_one(tmp_path, pairs, loss, backbone):
    cell = toy_cell(loss, backbone=backbone, recipe=FOURS)
    trained(cell, pairs, tmp_path / "one")
    write_cell(cell, tmp_path / "two")
    done = run(tlw_train(tmp_path / "two", pairs, "--gpus", 2))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("starts at step 0 of 6, on 2 times cpu") == 1
    assert_near(tmp_path / "two", tmp_path / "one")
    assert not (tmp_path / "two" / "checkpoints").exists()
    assert len(list((tmp_path / "two" / "tensorboard").iterdir())) == 1


@pytest.mark.slow
def test_torchrun_starts_it_as_well(tmp_path, pairs):
    cell = toy_cell("l1-udl", backbone=SMALL_EDSR, recipe=FOURS, changes=SWITCH)
    trained(cell, pairs, tmp_path / "one")
    write_cell(cell, tmp_path / "two")
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    done = run([*torchrun, *tlw_train(tmp_path / "two", pairs)[1:]])
    assert done.returncode == 0, done.stderr
    assert_near(tmp_path / "two", tmp_path / "one")


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_stop_of_either_ends_both_after_the_step_and_one_process_goes_on(tmp_path, pairs, rank):
    cell = toy_cell("l1-udl", backbone=FRAGILE_VDSR, recipe=FOURS, changes=SWITCH)
    folder = tmp_path / "cell"
    write_cell(cell, folder)
    stopped = run(
        tlw_train(folder, pairs, "--gpus", 2), TOYS_SIGNAL="SIGTERM@3", TOYS_RANK=str(rank)
    )
    assert stopped.returncode == 143, stopped.stderr
    assert "stopped by a signal after step 3, saved" in stopped.stderr
    assert [path.name[:13] for path in folder.glob("checkpoints/*.pt")] == ["step-00000003"]
    trained(cell, pairs, folder)
    trained(cell, pairs, tmp_path / "whole")
    assert_near(folder, tmp_path / "whole")


@pytest.mark.slow
def test_a_killed_process_takes_the_others_with_it_and_two_go_on_where_one_was(
    tmp_path, pairs, monkeypatch
):
    cell, folder = toy_cell(backbone=FRAGILE_VDSR, recipe=FOURS), tmp_path / "cell"
    monkeypatch.setenv("TOYS_SIGNAL", "SIGTERM@2")
    with pytest.raises(SystemExit):
        trained(cell, pairs, folder)
    monkeypatch.delenv("TOYS_SIGNAL")
    write_cell(cell, folder)
    command = tlw_train(folder, pairs, "--gpus", 2, "--checkpoint-seconds", 0)
    killed = run(command, TOYS_SIGNAL="SIGKILL@2", TOYS_RANK="1")
    assert killed.returncode == 128 + signal.SIGKILL and "Traceback" not in killed.stderr
    assert "tlw: error: process 0 of 2: lost the others" in killed.stderr
    done = run(command)
    assert done.returncode == 0 and "goes on at step 3 of 6" in done.stderr, done.stderr
    trained(cell, pairs, tmp_path / "whole")
    assert_near(folder, tmp_path / "whole")


@pytest.mark.slow
def test_processes_whose_starter_was_killed_save_and_end(tmp_path, pairs):
    cell = toy_cell(backbone=FRAGILE_VDSR, recipe=FOURS | {"steps_per_epoch": 3000})
    folder = tmp_path / "cell"
    write_cell(cell, folder)
    starter = subprocess.Popen(
        tlw_train(folder, pairs, "--gpus", 2), env=environment(), stderr=subprocess.PIPE, text=True
    )
    while not (folder / "checkpoints" / "training.csv").exists():
        assert starter.poll() is None, starter.communicate()
        time.sleep(0.02)
    starter.kill()
    _, told = starter.communicate(timeout=120)  # until the others have closed it, too
    assert "stopped by a signal after step" in told
    assert list(folder.glob("checkpoints/step-*.pt"))
    assert not (folder / ".lock").exists()


def test_a_batch_that_cannot_be_dealt_out_is_refused_at_once(tmp_path, pairs):
    write_cell(toy_cell(recipe=FOURS | {"batch": 3}), tmp_path)
    refused = run(tlw_train(tmp_path, pairs, "--gpus", 2))
    assert refused.returncode == 1
    assert (
        "tlw: error: expected a number of GPUs that divides the recipe's batch of 3, found 2"
        in (refused.stderr)
    )
    assert [path.name for path in tmp_path.iterdir()] == ["cell.json"]


@pytest.mark.slow
def test_a_mistake_is_told_once_and_without_a_traceback(tmp_path, pairs):
    write_cell(toy_cell(recipe=FOURS, train=["another"]), tmp_path)
    refused = run(tlw_train(tmp_path, pairs, "--gpus", 2))
    assert refused.returncode == 1 and "Traceback" not in refused.stderr
    assert "expected pairs for training of one of another" in refused.stderr
