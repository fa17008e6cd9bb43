"""A training in two ranks: the gradients of one process, also stopped and gone on with."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from joint_steps import CELLS, main
from safetensors.torch import load_file
from toys import (
    CROPS,
    FRAGILE_VDSR,
    SMALL_EDSR,
    curve,
    photograph,
    run,
    tlw_train,
    toy_cell,
    toy_pairs,
    write_cell,
)
from trainings import SWITCH, train_here

from tlw.config.record import read_record
from tlw.losses.tlw import TLWLoss

TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
FOURS = CROPS | {"batch": 4, "epochs": 3, "steps_per_epoch": 2, "augment": True}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    """Three tiles of 32 pixels, or any crops of that size."""
    images = [photograph(size=(56, 84)), photograph("coffee", size=(56, 56))]
    return toy_pairs(tmp_path_factory.mktemp("pairs"), images)


@pytest.fixture(scope="module")
def steps(tmp_path_factory, pairs) -> dict[str, list[dict[str, torch.Tensor]]]:
    """By cell: what one process found, and each of two ranks."""
    folders = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    main(pairs, folders[0])
    script = Path(__file__).parents[1] / "helpers" / "joint_steps.py"
    done = run([*TWO, script, pairs, folders[1]])
    assert done.returncode == 0, done.stderr
    files = [(folders[0], 0), (folders[1], 0), (folders[1], 1)]
    return {
        name: [load_file(folder / f"{name}.{rank}.safetensors") for folder, rank in files]
        for name in CELLS
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["l1, edsr", "l1, hat, an odd tile", "l1-udl paper, edsr"])
def test_two_ranks_have_the_gradients_and_figures_of_one_process(steps, name):
    """The UDL's two steps among them: a head stops to learn. The authors' UDL, whose weights begin
    at the least uncertainty of a batch, and the weighting network's BatchNorm see their rank alone.
    """
    one, *two = steps[name]
    assert one.keys() == two[0].keys()
    looked_at = [key for key in one if "gradient" in key or key.endswith("loss")]
    assert len(looked_at) > 20
    for key in looked_at:
        torch.testing.assert_close(two[0][key], one[key], rtol=1e-6, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS)
def test_both_ranks_hold_the_same_phi_and_theta_at_every_step(steps, name):
    _, first, second = steps[name]
    assert first.keys() == second.keys()
    for key in first:
        assert torch.equal(first[key], second[key]), key
    moved = {
        part
        for part in ("theta", "phi")
        for key in first
        if key.startswith(f"0 {part}")
        and "gradient" not in key
        and not torch.equal(first[key], first[f"3{key[1:]}"])
    }
    assert moved == ({"theta", "phi"} if "tlw" in name else {"theta"})


ANYBODYS = """
import sys, torch, torch.distributed as dist
from test_tlw import StandIn
from tlw.losses.tlw import TLWLoss

class Both(torch.nn.Module):
    def __init__(self, net, loss_fn):
        super().__init__()
        self.net, self.loss_fn = net, loss_fn

    def forward(self, lr, hr):
        return self.loss_fn(self.net(lr), hr)

dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(rank)
loss_fn = TLWLoss(judge=StandIn(), features=4, init="pytorch")
net = torch.nn.Conv2d(3, 3, 3, padding=1)
if sys.argv[2] == "around the network":
    model = Both(torch.nn.parallel.DistributedDataParallel(net), loss_fn)
else:  # as Lightning has it
    model = torch.nn.parallel.DistributedDataParallel(Both(net, loss_fn))
optimizer = torch.optim.Adam(model.parameters())
for _ in range(3):
    optimizer.zero_grad()
    model(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8)).backward()
    optimizer.step()
    if rank == 0:  # alone: what asked the other rank for anything would wait for ever
        with torch.no_grad():
            loss_fn(net(torch.rand(1, 3, 8, 8)), torch.rand(1, 3, 8, 8))
torch.save([p.detach() for m in (loss_fn.weight_net, net) for p in m.parameters()],
           f"{sys.argv[1]}/{rank}.pt")
dist.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.parametrize("wrapped", ["around the network", "around both"])
def test_in_anybodys_loop_phi_is_the_same_in_all_ranks_whatever_it_starts_from(tmp_path, wrapped):
    """Where the first rank validates alone meanwhile, too."""
    (tmp_path / "loop.py").write_text(ANYBODYS)
    tests = str(Path(__file__).parents[1])
    paths = f"{tests}/losses:{tests}/helpers:{Path(tests).parent}"
    done = run([*TWO, tmp_path / "loop.py", tmp_path, wrapped], PYTHONPATH=paths)
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    start = [p for p in TLWLoss(judge=torch.nn.Identity(), features=4).weight_net.parameters()]
    assert len(first) == len(start) + 2
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def assert_near(folder: Path, whole: Path) -> None:
    """Weights and curves of float32 trainings whose sums come in another order."""
    one, other = (load_file(at / "weights.safetensors") for at in (whole, folder))
    assert one.keys() == other.keys()
    for key in one:
        torch.testing.assert_close(other[key], one[key], rtol=0, atol=1e-6)
    rows = [curve(at / "training.csv") for at in (whole, folder)]
    assert len(rows[0]) == len(rows[1]) > 0
    for expected, found in zip(*rows, strict=True):
        assert {k: float(v) for k, v in found.items()} == pytest.approx(
            {k: float(v) for k, v in expected.items()}, rel=1e-4
        )


@pytest.mark.slow
@pytest.mark.parametrize("starter", ["tlw train --gpus 2", "torchrun"])
def test_a_cell_trained_in_two_ranks_is_that_of_one(tmp_path, pairs, starter):
    cell = toy_cell("l1-udl", backbone=SMALL_EDSR, recipe=FOURS, changes=SWITCH)
    train_here(cell, pairs, tmp_path / "one")
    write_cell(cell, tmp_path / "two")
    command = tlw_train(tmp_path / "two", pairs)
    done = run([*TWO, *command[1:]] if starter == "torchrun" else [*command, "--gpus", "2"])
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("starts at step 0 of 6, on 2 times cpu") == 1
    assert_near(tmp_path / "two", tmp_path / "one")
    assert not (tmp_path / "two" / "checkpoints").exists()
    assert len(list((tmp_path / "two" / "tensorboard").iterdir())) == 1
    assert [s.ranks for s in read_record(tmp_path / "two" / "record.json").sittings] == [2]


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_stop_of_either_ends_both_after_the_step_and_one_process_goes_on(tmp_path, pairs, rank):
    backbone = FRAGILE_VDSR | {"path": "toys:Stoppable"}
    cell, folder = toy_cell(backbone=backbone, recipe=FOURS), tmp_path / "cell"
    write_cell(cell, folder)
    stopped = run(
        tlw_train(folder, pairs, "--gpus", 2), TOYS_SIGNAL="SIGTERM@3", TOYS_RANK=str(rank)
    )
    assert stopped.returncode != 0
    assert "stopped by a signal after step 3, saved" in stopped.stderr
    assert [path.name[:13] for path in folder.glob("checkpoints/*.pt")] == ["step-00000003"]
    train_here(cell, pairs, folder)
    train_here(cell, pairs, tmp_path / "whole")
    assert_near(folder, tmp_path / "whole")
    assert [s.ranks for s in read_record(folder / "record.json").sittings] == [2, 1]


@pytest.mark.slow
def test_a_signal_to_the_starter_lets_the_ranks_end_their_step_and_save(tmp_path, pairs):
    cell = toy_cell(recipe=FOURS | {"steps_per_epoch": 3000})
    folder = tmp_path / "cell"
    write_cell(cell, folder)
    starter = subprocess.Popen(
        tlw_train(folder, pairs, "--gpus", 2), stderr=subprocess.PIPE, text=True
    )
    while not (folder / "checkpoints" / "training.csv").exists():
        assert starter.poll() is None, starter.communicate()
    starter.terminate()
    _, told = starter.communicate(timeout=120)
    assert starter.returncode != 0
    assert "stopped by a signal after step" in told
    assert list(folder.glob("checkpoints/step-*.pt"))
    assert not (folder / ".lock").exists()


def test_a_batch_that_cannot_be_shared_out_is_refused_at_once(tmp_path, pairs):
    write_cell(toy_cell(recipe=FOURS | {"batch": 3}), tmp_path)
    refused = run(tlw_train(tmp_path, pairs, "--gpus", 2))
    assert refused.returncode == 1
    assert "expected a number of GPUs that divides the recipe's batch of 3" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["cell.json"]
