"""Steps of training in double precision, in as many processes as were started, for test_parallel.

    python joint_steps.py PAIRS OUTPUT

Double precision, for there the order of sums does not hide a fault: two processes that reckon as
one differ by 1e-12 or so, and not by what Adam makes of the noise in gradients that are zero.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from toys import CROPS, SMALL_EDSR, SMALL_HAT, toy_cell

from tlw.config.config import Cell
from tlw.imaging.ranges import to_unit
from tlw.training import parallel
from tlw.training.sampling import Batches, noise_seed, training_sets
from tlw.training.trainer import Run

CPU = torch.device("cpu")
# Two blocks, of which the second is dropped now and then.
DEEP = {**SMALL_HAT["arguments"], "depths": [2], "drop_path": 0.4}
HAT = SMALL_HAT | {"arguments": DEEP}
EVEN = CROPS | {"batch": 4, "steps_per_epoch": 2, "augment": True}
UNEVEN = {"sampling": "tiles", "size": 32, "batch": 2, "epochs": 2}  # of three tiles
SWITCH = {"l1-udl": {"esu_epochs": 1}}
CELLS = {
    "l1, hat": toy_cell("l1", backbone=HAT, recipe=EVEN),
    "l1-udl paper, edsr": toy_cell("l1-udl", backbone=SMALL_EDSR, recipe=EVEN, changes=SWITCH),
    "l1-udl authors-code, hat": toy_cell(
        "l1-udl", backbone=SMALL_HAT, recipe=EVEN, changes=SWITCH, preset="authors-code"
    ),
    "mse-tlw paper, hat, an odd tile": toy_cell("mse-tlw", backbone=SMALL_HAT, recipe=UNEVEN),
}


def trained(cell: Cell, pairs: Path) -> dict[str, torch.Tensor]:
    """Network and loss of a cell after all its steps, and its last figures."""
    batches = Batches(training_sets(cell, [pairs]), cell.recipe, cell.seed)
    run = Run(cell, CPU)
    run.net.double()
    run.loss.double()
    for step in range(len(batches)):
        run.start_epoch(step // batches.steps_per_epoch)
        torch.manual_seed(noise_seed(cell.seed, step))
        lr, hr = (to_unit(images).double() for images in batches[step])
        mine = parallel.deal(len(lr))
        loss = run.loss(run.net(lr[mine]), hr[mine])
        run.optimizer.zero_grad()
        loss.backward()
        run.optimizer.step()
    figures = parallel.mean({"loss": loss.detach(), **run.loss.last})
    parts = {"net": run.net, "loss": getattr(run.loss, "weight_net", nn.Identity())}
    state = {f"{part}.{k}": v for part, of in parts.items() for k, v in of.state_dict().items()}
    return {key: contiguous(value) for key, value in (state | figures).items()}


def contiguous(value: torch.Tensor) -> torch.Tensor:
    return value.detach().clone(memory_format=torch.contiguous_format)


def main(pairs: Path, output: Path) -> None:
    torch.set_num_threads(1)
    with parallel.joined(CPU):
        for name, cell in CELLS.items():
            state = trained(cell, pairs)
            save_file(state, output / f"{name}.{parallel.rank()}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
