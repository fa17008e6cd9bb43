"""Where cells stand, told from the files of real trainings and of such as have come to grief."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from scored_cells import scored
from toys import CROPS, SMALL_VDSR, tlw
from typer.testing import CliRunner

from tlw.cli import app
from tlw.config.config import Config
from tlw.report.status import Status, statuses, told

LOSSES = ["l1", "mse", "l1-udl", "l1-tlw", "mse-tlw"]


@pytest.fixture
def config(tmp_path) -> Path:
    """A config of five cells; no folder is there yet."""
    content = {
        "results": str(tmp_path / "results"),
        "test": ["toy-test"],
        "grids": {
            "grid": {
                **{"title": "Toys", "train": ["toy-train"], "recipe": "crops"},
                **{"backbones": ["small"], "scales": [2], "losses": LOSSES},
            }
        },
        "recipes": {"crops": {**CROPS, "init": "pytorch"}},
        "backbones": {"small": SMALL_VDSR},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def folder_of(config: Path, loss: str) -> Path:
    return config.parent / "results" / "grid" / f"small_x2_{loss}_seed0"


def by_loss(config: Path, **options) -> dict[str, Status]:
    found = statuses(Config.parse(yaml.safe_load(config.read_text()), "config"), **options)
    return {one.cell.split("_")[2]: one for one in found}


def test_a_real_training_is_trained_then_scored(config, pairs, tmp_path):
    folder = folder_of(config, "l1")
    folder.mkdir(parents=True)
    [cell, *_] = Config.parse(yaml.safe_load(config.read_text()), "config").cells("grid")
    given = cell.model_copy(update={"train": ("toy",)})
    (folder / "cell.json").write_text(given.model_dump_json())
    subprocess.run(
        tlw("train", folder / "cell.json", "--pairs", pairs, "--device", "cpu"), check=True
    )
    one = by_loss(config)["l1"]
    assert (one.state, one.epoch, one.step, one.epochs) == ("trained", 1, 6, 2)
    assert 0 <= one.seconds < 600
    scores = scored(tmp_path / "other", {("toy", "a"): (30.0, 0.25), ("toy", "b"): (31.0, 0.35)})
    (scores / "scores.csv").rename(folder / "scores.csv")
    one = by_loss(config)["l1"]
    assert (one.state, one.benchmark) == ("scored", "toy")
    assert one.scores == {"psnr_y": 30.5, "lpips_vgg": 0.3}


def test_a_lock_that_is_touched_is_a_training_and_one_that_stands_still_is_none(config):
    folder = folder_of(config, "mse")
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "step-00000003-0123456789abcdef.pt").touch()
    (folder / "checkpoints" / "training.csv").write_text("step,epoch,loss\n2,0,0.5\n3,1,0.4\n")
    (folder / ".lock").touch()
    one = by_loss(config)["mse"]
    assert (one.state, one.epoch, one.step) == ("training", 1, 3)
    long_ago = time.time() - 90
    os.utime(folder / ".lock", (long_ago, long_ago))
    assert by_loss(config)["mse"].state == "stopped"


def test_what_failed_says_why_and_where_and_ends_with_1(config):
    folder = folder_of(config, "l1-tlw")
    (folder / "logs").mkdir(parents=True)
    log = folder / "logs" / "train.log"
    log.write_text("starts at step 0\ntlw: error: the loss of step 3 is nan\n")
    done = CliRunner().invoke(app, ["status", str(config)])
    assert done.exit_code == 1
    assert f"failed: the loss of step 3 is nan\n  its log: {log}" in done.stdout
    assert done.stdout.endswith("5 cells: 1 failed, 4 not started\n")
    as_json = CliRunner().invoke(app, ["status", str(config), "--json"])
    assert as_json.exit_code == 1
    found = {one["cell"]: one for one in json.loads(as_json.stdout)}
    assert found["small_x2_l1-tlw_seed0"]["error"] == "the loss of step 3 is nan"
    assert found["small_x2_l1_seed0"]["state"] == "not started"
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "training.csv").write_text("step,epo")  # cut off by a kill
    assert by_loss(config)["l1-tlw"].step is None


def test_without_a_cell_that_failed_the_exit_code_is_0(config):
    done = CliRunner().invoke(app, ["status", str(config)])
    assert done.exit_code == 0 and done.stdout.endswith("5 cells: 5 not started\n")


def test_ages_are_in_words_of_a_fitting_size():
    cell = {"grid": "g", "cell": "c", "state": "trained", "epochs": 2}
    for seconds, words in ((3.2, "3 s"), (180, "3 min"), (7200, "2 h"), (2e5, "2 d")):
        assert f"{words} ago" in told([Status(**cell, seconds=seconds)])
