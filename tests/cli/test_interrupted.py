"""One Ctrl-C ends the verbs that work on many images, and leaves nothing half done."""

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from png_files import write_image
from toys import environment, photograph, tlw, toy_cell

from tlw.networks.sr_net import build_network, save_network


@pytest.fixture
def many(tmp_path) -> Path:
    """A folder of 5000 images, which take a minute or more, as a complete image set."""
    folder = tmp_path / "many"
    write_image(folder / "0000.png", np.ascontiguousarray(photograph(size=(224, 224))))
    for index in range(1, 5000):
        os.link(folder / "0000.png", folder / f"{index:04d}.png")
    size = (folder / "0000.png").stat().st_size
    rows = "".join(f"{path.name}\t{size}\t-\n" for path in sorted(folder.glob("*.png")))
    (folder / "manifest.tsv").write_text("file\tbytes\tsha256\n" + rows)
    return folder


def interrupted(words: list, at_work: Path) -> subprocess.CompletedProcess:
    """The verb after one SIGINT, sent when there is something that matches `at_work`."""
    process = subprocess.Popen(
        tlw(*map(str, words)),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    while not list(at_work.parent.glob(at_work.name)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    return subprocess.CompletedProcess(words, process.returncode, output)


def test_pairs(many, tmp_path):
    words = ["pairs", many, "--scale", "2", "--use", "train", "-o", tmp_path / "out" / "x.h5"]
    done = interrupted(words, tmp_path / "out" / ".*.part")
    assert done.returncode != 0 and "Traceback" not in done.stdout
    assert not list((tmp_path / "out").iterdir())


def test_upscale(many, tmp_path):
    cell = toy_cell(backbone={"path": "vdsr"}, scale=2)
    torch.manual_seed(0)
    save_network(tmp_path / "w.safetensors", build_network(cell.backbone, 2), cell)
    out = tmp_path / "out"
    done = interrupted(
        ["upscale", many, "--weights", tmp_path / "w.safetensors", "-o", out], out / "*.png"
    )
    assert done.returncode != 0 and "Traceback" not in done.stdout
    made = list(out.iterdir())
    assert 0 < len(made) < 5000 and all(path.suffix == ".png" for path in made)
