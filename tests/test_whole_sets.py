"""The image sets of the paper as they are, whole, from their files to scores and to training."""

import csv
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from configs import read_config
from PIL import Image
from toys import environment, tlw, write_cell

from tlw.config.config import Cell
from tlw.data.pairs import Pairs
from tlw.judge.weights import judge_weights
from tlw.report.tables import PUBLISHED

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
TRAINING = {"General100": 100, "BSDS200": 200, "T91": 91}


def run(*words: str | Path) -> None:
    """The command `tlw` with these words."""
    done = subprocess.run(tlw(*words), env=environment(), text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


def pairs_of(name: str, scale: int, use: str, shared: Path, folder: Path) -> Path:
    """A set's pairs under the protocol `paper`, from the files that somebody has."""
    run("fetch", name, "--from", shared / "datasets" / name, "--folder", folder / "images")
    path = folder / f"{name}_x{scale}.h5"
    options = ("--scale", scale, "--use", use, "--threads", 1)
    run("pairs", folder / "images" / name, "--output", path, *options)
    return path


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_papers_bicubic_rows_of_set5_and_set14_come_out_to_their_last_decimal(
    shared, tmp_path, scale
):
    sets = {"Set5": 5, "Set14": 14}
    pairs = [pairs_of(name, scale, "test", shared, tmp_path) for name in sets]
    options = [*(f"--pairs={path}" for path in pairs), "--device", "cpu", "--threads", 1]
    options += ["--judge-folder", judge_weights("vgg").parent]
    run("evaluate", "bicubic", *options, "--output", tmp_path / "scores.csv")
    scores = pd.read_csv(tmp_path / "scores.csv").groupby("benchmark")
    assert dict(scores.size()) == sets
    with PUBLISHED.open(newline="") as file:
        published = {
            row["dataset"]: [row["psnr_y"], row["lpips"]]
            for row in csv.DictReader(file)
            if (row["backbone"], row["scale"]) == ("bicubic", str(scale)) and row["dataset"] in sets
        }
    means = scores[["psnr_y", "lpips_vgg"]].mean()
    ours = {name: [f"{number:.4f}" for number in means.loc[name]] for name in sets}
    assert ours == published


@pytest.mark.parametrize(("scale", "multiple"), [(2, 28), (3, 21), (4, 28)])
def test_the_papers_training_images_are_391_cropped_to_whole_windows(
    shared, tmp_path, scale, multiple
):
    count = 0
    for name, images in TRAINING.items():
        pairs = Pairs(pairs_of(name, scale, "train", shared, tmp_path))
        assert len(pairs) == len(pairs.names) == images
        for file, size in zip(pairs.names, pairs.sizes, strict=True):
            with Image.open(shared / "datasets" / name / file) as image:
                whole = image.height, image.width
            assert tuple(size) == tuple(side - side % multiple for side in whole)
        lr, hr = pairs[images - 1]
        assert hr.shape == (3, scale * lr.shape[1], scale * lr.shape[2])
        count += images
    assert count == 391


def train_steps(cell: Cell, pairs: list[Path], folder: Path, *, steps: int) -> dict:
    """Trains until a checkpoint has that many steps or more, then stops it; the checkpoint."""
    words = ["train", write_cell(cell, folder), *(f"--pairs={path}" for path in pairs)]
    words += ["--device", "cpu", "--threads", 1, "--checkpoint-seconds", 0]
    words += ["--judge-folder", judge_weights("vgg").parent]
    process = subprocess.Popen(tlw(*words), env=environment(), text=True, stderr=subprocess.PIPE)
    patience = time.monotonic() + 500
    while not any(
        int(path.stem.split("-")[1]) >= steps for path in folder.glob("checkpoints/step-*.pt")
    ):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < patience
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGTERM and "stopped by a signal" in told
    assert "starts at step 0 of 39100" in told  # 100 epochs of 391 images
    newest = max(folder.glob("checkpoints/step-*.pt"))
    return torch.load(newest, weights_only=True)


def test_a_vdsr_of_the_papers_size_trains_on_the_papers_images(shared, tmp_path):
    """The very cells of config/config.yaml; a few steps, since an epoch takes half an hour here."""
    pairs = [pairs_of(name, 2, "train", shared, tmp_path) for name in TRAINING]
    cells = {
        cell.name: cell for cell in read_config(ROOT / "config" / "config.yaml").cells("table1")
    }
    for loss, steps in {"l1": 3, "l1-tlw": 1}.items():
        folder = tmp_path / loss
        state = train_steps(cells[f"vdsr_x2_{loss}_seed0"], pairs, folder, steps=steps)
        assert state["step"] >= steps and list(folder.glob("tensorboard/events*"))
        numbers = list(state["net"].values())
        assert sum(value.numel() for value in numbers) == 64 * 9 * (3 + 10 * 64 + 3)
        assert all(value.isfinite().all() for value in numbers)
        rows = state["log"]["pending"]
        assert all(np.isfinite(row["loss"]) for row in rows)
        assert any(key.startswith("weight_net.") for key in state["loss"]) == (loss == "l1-tlw")
