"""Steps of training in as many ranks as were started, each step's gradients and weights to a file.

    torchrun --nproc-per-node 2 joint_steps.py PAIRS OUTPUT

Double precision, for there the order of sums does not hide a fault, as Adam makes large steps of
small differences, and the sign of an error turns at 0.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from toys import CROPS, SMALL_EDSR, SMALL_HAT, toy_cell

from tlw.config.config import Cell
from tlw.imaging.ranges import to_unit
from tlw.training import parallel
from tlw.training.run import Run
from tlw.training.sampling import Batches, noise_seed, training_sets

CPU = torch.device("cpu")
EVEN = CROPS | {"batch": 4, "steps_per_epoch": 2, "augment": True}
UNEVEN = {"sampling": "tiles", "size": 32, "batch": 2, "epochs": 2}  # of three tiles
SWITCH = {"l1-udl": {"esu_epochs": 1}}
CELLS = {
    "l1, edsr": toy_cell("l1", backbone=SMALL_EDSR, recipe=EVEN),
    "l1, hat, an odd tile": toy_cell("l1", backbone=SMALL_HAT, recipe=UNEVEN),
    "l1-udl paper, edsr": toy_cell("l1-udl", backbone=SMALL_EDSR, recipe=EVEN, changes=SWITCH),
    "l1-udl authors-code, hat": toy_cell(
        "l1-udl", backbone=SMALL_HAT, recipe=EVEN, changes=SWITCH, preset="authors-code"
    ),
    "mse-tlw, edsr": toy_cell("mse-tlw", backbone=SMALL_EDSR, recipe=EVEN),
}


def trained(cell: Cell, pairs: Path) -> dict[str, torch.Tensor]:
    """Gradients, network, weighting network and loss of a cell after each of its steps."""
    batches = Batches(training_sets(cell, [pairs]), cell.recipe, cell.seed)
    run, found = Run(cell, CPU), {}
    run.net.double()
    run.loss.double()
    net = parallel.averaged(run.net)
    phi = getattr(run.loss, "weight_net", torch.nn.Identity())
    for step in range(len(batches)):
        run.start_epoch(step // batches.steps_per_epoch)
        torch.manual_seed(noise_seed(cell.seed, step) + parallel.rank())
        lr, hr = (to_unit(images).double() for images in batches[step])
        mine = parallel.part(len(lr))
        loss = run.loss(net(lr[mine]), hr[mine])
        run.optimizer.zero_grad()
        loss.backward()
        run.optimizer.step()
        found[f"{step} loss"] = parallel.mean({"loss": loss.detach()})["loss"]
        parts = {"theta": run.net.named_parameters(), "phi": phi.named_parameters()}
        for part, parameters in parts.items():
            for key, value in parameters:
                found[f"{step} {part} {key}"] = value
                if value.grad is not None:
                    found[f"{step} {part} gradient of {key}"] = value.grad
        found = {key: copied(value) for key, value in found.items()}
    return found


def copied(value: torch.Tensor) -> torch.Tensor:
    return value.detach().clone(memory_format=torch.contiguous_format)


def main(pairs: Path, output: Path) -> None:
    torch.set_num_threads(1)
    with parallel.joined(CPU):
        for name, cell in CELLS.items():
            save_file(trained(cell, pairs), output / f"{name}.{parallel.rank()}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
