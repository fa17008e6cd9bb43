"""What a training will take on the device at hand, told by a few of its own steps."""

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import numpy as np
import torch

from tlw.config.config import Cell
from tlw.config.settings import UDLSettings
from tlw.runtime.devices import pick_device
from tlw.runtime.precision import full_float32
from tlw.training.run import Run
from tlw.training.sampling import Batches, training_sets

SAMPLES = 4  # batches, spread evenly over an epoch


def estimate(
    cell: Cell,
    pairs: Sequence[Path],
    *,
    device: str = "auto",
    judge_folder: Path | None = None,
    cuda_graphs: bool = True,
) -> tuple[int, float]:
    """The steps of a training, and the seconds that one of them takes on the average.

    Timed is the third step of each of some batches: a GPU records it in the second. What an image
    size costs when it is seen first is not counted, nor checkpoints, looks at validation images,
    and the reading of images.

    Args:
        cell: what would be trained.
        pairs: the pairs files of its training sets.

    Raises:
        ValueError: as `tlw.training.trainer.train` does.
    """
    on = pick_device(device)
    batches = Batches(training_sets(cell, pairs), cell.recipe, cell.seed)
    last = batches.steps_per_epoch - 1
    places = np.linspace(0, last, min(SAMPLES, last + 1)).astype(int)
    with full_float32():
        run = Run(cell, on, judge_folder, cuda_graphs=cuda_graphs)
        seconds = 0.0
        for epoch, share in _kinds(cell):
            run.start_epoch(epoch)
            run.set_learning_rate(0, len(batches))
            each = [_third(run, *(x.to(on) for x in batches[int(place)])) for place in places]
            seconds += share * mean(each)
    return len(batches), seconds


def _kinds(cell: Cell) -> list[tuple[int, float]]:
    """An epoch of each kind of step, and the share of all steps that are of it."""
    epochs = cell.recipe.epochs
    if isinstance(cell.loss, UDLSettings) and 0 < cell.loss.esu_epochs < epochs:
        share = cell.loss.esu_epochs / epochs
        return [(0, share), (cell.loss.esu_epochs, 1 - share)]
    return [(0, 1.0)]


def _third(run: Run, lr: torch.Tensor, hr: torch.Tensor) -> float:
    for _ in range(2):
        run.step(lr, hr)
    _wait(run.device)
    began = time.perf_counter()
    run.step(lr, hr)
    _wait(run.device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
