"""What a training will take: its own steps, its own number of them."""

import subprocess

import pytest
import yaml
from toys import CROPS, SMALL_VDSR, photograph, tlw, toy_cell, toy_pairs

from tlw.training import estimate as module
from tlw.training.estimate import estimate
from tlw.training.run import Run


def test_steps_are_the_training_s_and_each_batch_s_third_one_counts(pairs, monkeypatch):
    clock, taken = [0.0], []

    def step(self, lr, hr):
        taken.append(tuple(lr.shape))
        clock[0] += 10 if len(taken) % 3 else 0.5  # the first two of a batch are slow

    monkeypatch.setattr(Run, "step", step)
    monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])
    cell = toy_cell(recipe={"sampling": "whole", "epochs": 7})
    assert estimate(cell, [pairs], device="cpu") == (2 * 7, 0.5)
    sizes = [(1, 3, 42, 28), (1, 3, 28, 42)]  # of the two photographs at x2
    assert sorted(set(taken)) == sorted(sizes) and len(taken) == 6


def test_both_kinds_of_udl_s_steps_count_by_their_share(pairs, monkeypatch):
    epochs, clock = [], [0.0]

    def step(self, *_):
        clock[0] += 1.0 if epochs[-1] == 0 else 3.0

    monkeypatch.setattr(Run, "start_epoch", lambda run, epoch: epochs.append(epoch))
    monkeypatch.setattr(Run, "step", step)
    monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])
    recipe = CROPS | {"epochs": 4}
    cell = toy_cell("l1-udl", recipe=recipe, changes={"l1-udl": {"esu_epochs": 1}})
    steps, seconds = estimate(cell, [pairs], device="cpu")
    assert (steps, epochs) == (12, [0, 1]) and seconds == pytest.approx(1 / 4 * 1 + 3 / 4 * 3)


def test_the_command_estimates_each_kind_of_cell_of_a_grid(tmp_path):
    grid = {"title": "t", "train": ["toy"], "recipe": "r", "backbones": ["small"], "scales": [2]}
    config = {
        **{"results": "results", "test": ["toy-test"], "backbones": {"small": SMALL_VDSR}},
        "recipes": {"r": CROPS | {"init": "pytorch"}},
        "grids": {
            "one": grid | {"losses": ["l1", "l1-udl"], "seeds": [0, 1, 2]},
            "two": grid | {"losses": ["mse"]},
        },
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    folder = tmp_path / "results" / "pairs" / "train"
    folder.mkdir(parents=True)
    made = toy_pairs(tmp_path, [photograph()])
    made.rename(folder / "toy_x2.h5")

    def run(*words: str) -> subprocess.CompletedProcess:
        line = tlw("estimate", "config.yaml", *words, "--device", "cpu")
        return subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)

    done = run()
    assert done.returncode == 0, done.stderr
    *cells, together = done.stdout.splitlines()
    assert [line.split(":")[0] for line in cells] == [
        "one/small_x2_l1",
        "one/small_x2_l1-udl",
        "two/small_x2_mse",
    ]
    assert "3 x 6 steps of" in cells[0] and "1 x 6 steps of" in cells[2]
    assert together.startswith("together 0.0")
    assert len(run("--grid", "two").stdout.splitlines()) == 2
    wrong = run("--grid", "three")
    assert wrong.returncode == 1 and "--grid: expected one of one, two, found" in wrong.stderr
    (folder / "toy_x2.h5").unlink()
    assert "toy_x2.h5" in run().stderr
