"""Trainings in this process, and what their folders hold."""

from pathlib import Path

from toys import CROPS, FRAGILE_VDSR, curve, toy_cell

from tlw.config.config import Cell
from tlw.training.trainer import train

# Three epochs, so that the UDL's step changes in the middle; a learning rate that always changes;
# all else that has to be taken up again.
SCHEDULE = {"schedule": "cosine", "final_learning_rate": 0, "warmup_steps": 2}
REST = {"optimizer": "adamw", "weight_decay": 0.01, "clip_gradient": 0.5, "ema": 0.9}
THREE_EPOCHS = CROPS | SCHEDULE | REST | {"epochs": 3, "steps_per_epoch": 2, "augment": True}
SWITCH = {"l1-udl": {"esu_epochs": 1}}


def train_here(cell: Cell, pairs: Path, folder: Path, **options) -> Path:
    train(cell, [pairs], folder, device="cpu", **options)
    return folder


def assert_same_results(one: Path, other: Path) -> None:
    """Weights bit by bit, and the log but for its times."""
    names = {path.name for path in one.glob("*.safetensors")}
    assert "weights.safetensors" in names  # and the weighting network's, where there is one
    assert names == {path.name for path in other.glob("*.safetensors")}
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert curve(one / "training.csv") == curve(other / "training.csv")
    for folder in (one, other):
        assert not (folder / "checkpoints").exists()
        assert not list(folder.glob(".*.part"))


def last_step(folder: Path) -> int:
    """The step of the newest checkpoint, 0 without one."""
    names = [path.name for path in (folder / "checkpoints").glob("step-*.pt")]
    return max((int(name.split("-")[1]) for name in names), default=0)


def fragile_cell(loss: str, preset: str = "paper", **options) -> Cell:
    changes = SWITCH if loss == "l1-udl" else None
    options = {"recipe": THREE_EPOCHS} | options
    return toy_cell(loss, backbone=FRAGILE_VDSR, preset=preset, changes=changes, **options)
