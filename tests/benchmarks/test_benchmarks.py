"""The benchmarks: their baselines compute what the package computes, and every script runs."""

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from basicsr_like import network
from common import interleave, quartiles, ratio
from flops import flops
from hat_like import PublishedHAT
from plain import PlainTraining
from precision import CRITERION, deviations, keeps_bounds, looked_at
from torch import nn
from toys import environment, toy_cell

from tlw.backbones import build, count_parameters
from tlw.backbones.hat import HAT
from tlw.judge.lpips import Judge
from tlw.losses.tlw import TLWLoss
from tlw.training.trainer import Run

SCRIPTS = Path(__file__).parents[2] / "benchmarks"
CPU = torch.device("cpu")


def images(size: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(5)
    return torch.rand(1, 3, size // 2, size // 2), torch.rand(1, 3, size, size)


def twins(loss: str, preset: str, *, prints_lpips: bool = False) -> tuple[Run, PlainTraining]:
    """A run of a small cell, and the plain reading of it with the same weights."""
    cell = toy_cell(loss, preset=preset)
    run, plain = Run(cell, CPU), PlainTraining(cell, CPU, prints_lpips=prints_lpips)
    plain.net.load_state_dict(run.plain_net.state_dict())
    if plain.weighted:
        plain.weight_net.load_state_dict(run.loss.weight_net.state_dict())
    return run, plain


@pytest.mark.parametrize(
    ("loss", "preset"), [("l1", "paper"), ("l1-tlw", "paper"), ("mse-tlw", "authors-code")]
)
def test_the_plain_reading_computes_the_package_s_losses_step_after_step(loss, preset):
    run, plain = twins(loss, preset)
    lr, hr = images()
    for step in range(2):  # the second one also shows that both networks were updated alike
        torch.manual_seed(step)
        ours = run.step(lr, hr)["loss"].item()
        torch.manual_seed(step)
        assert ours == pytest.approx(plain.step(lr, hr).item(), rel=1e-4)
        if plain.weighted:
            assert float(run.loss.last["phi_loss"]) == pytest.approx(plain.phi_loss, rel=1e-4)


@pytest.mark.parametrize("loss", ["l1-tlw", "mse-tlw"])
def test_the_plain_reading_has_the_package_s_gradients_to_the_precision_of_float64(loss):
    run, plain = twins(loss, "paper")
    for module in (run.plain_net, run.loss, plain.net, plain.judge, plain.weight_net):
        module.double()
    lr, hr = (x.double() for x in images())
    torch.manual_seed(0)
    run.loss(run.plain_net(lr), hr).backward()
    torch.manual_seed(0)
    plain.step(lr, hr)
    for name, ours, plainly in (
        *gradients(run.plain_net, plain.net),
        *gradients(run.loss.weight_net, plain.weight_net),
    ):
        if not is_normalised_away(name):
            torch.testing.assert_close(ours, plainly, rtol=0, atol=1e-12 * ours.abs().max().item())


def gradients(ours: nn.Module, plainly: nn.Module):
    """Name and gradients of the parameters of two modules that have the same ones."""
    for (name, one), other in zip(ours.named_parameters(), plainly.parameters(), strict=True):
        yield name, one.grad, other.grad


def is_normalised_away(name: str) -> bool:
    """Whether a bias of the weighting network stands before a normalisation: its gradient is 0."""
    return name in {"layers.0.bias", "layers.3.bias", "layers.6.bias"}


def test_a_plain_step_sends_eighteen_images_through_the_judge_where_ours_sends_nine():
    run, plain = twins("l1-tlw", "paper", prints_lpips=True)
    seen = {"ours": 0, "plain": 0}

    def counted(name, call):
        def count(x):
            seen[name] += len(x)
            return call(x)

        return count

    run.loss.judge.features = counted("ours", run.loss.judge.features)
    plain.judge.taps = counted("plain", plain.judge.taps)
    plain.lpips.taps = counted("plain", plain.lpips.taps)
    for contender in (run, plain):
        contender.step(*images())
    assert seen == {"ours": 9, "plain": 18}


@pytest.mark.parametrize(("name", "scale"), [("edsr", 2), ("edsr", 4), ("rcan", 2), ("hat", 4)])
def test_networks_built_as_basicsr_does_have_as_many_parameters_as_ours(name, scale):
    with torch.device("meta"):
        assert count_parameters(network(name, scale)) == count_parameters(build(name, scale=scale))


@pytest.mark.parametrize("overlap_ratio", [0, 0.5])
def test_hat_as_published_computes_what_ours_does_and_the_same_gradients(overlap_ratio):
    torch.manual_seed(0)
    size = {
        "embed": 12,
        "depths": (2, 2),
        "heads": (3, 3),
        "window": 4,
        "squeeze": 4,
        "features": 8,
    }
    ours = HAT(scale=2, overlap_ratio=overlap_ratio, **size).double()
    published = PublishedHAT(scale=2, overlap_ratio=overlap_ratio, **size).double()
    published.load_state_dict(ours.state_dict())
    lr = torch.rand(2, 3, 10, 13, dtype=torch.float64)  # no multiples of the window
    found = []
    for net in (ours, published):
        torch.manual_seed(1)  # the same branches are dropped
        sr = net(lr)
        sr.square().mean().backward()
        found.append([sr, *(parameter.grad for parameter in net.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_a_pass_of_the_judge_has_the_operations_that_vgg16_s_table_gives():
    blocks = [[3, 64, 64], [64, 128, 128], [128, *[256] * 3], [256, *[512] * 3], [512, *[512] * 3]]
    sides = [16 // 2**number for number in range(5)]
    expected = sum(
        2 * 9 * inward * outward * side**2
        for channels, side in zip(blocks, sides, strict=True)
        for inward, outward in pairwise(channels)
    )
    judge = Judge("vgg")
    assert flops(lambda: judge.features(torch.rand(1, 3, 16, 16))) == expected


def test_contenders_take_turns_and_each_is_first_in_its_round():
    order = []
    times = interleave({name: lambda name=name: order.append(name) for name in "abc"}, rounds=2)
    assert "".join(order) == "abc" + "bca" + "cab"  # the first round does not count
    assert {name: len(seconds) for name, seconds in times.items()} == {"a": 2, "b": 2, "c": 2}


def test_a_ratio_is_one_of_medians_with_the_quartiles_of_the_rounds():
    times = {"ours": [1.0, 2.0, 9.0, 2.0, 2.0], "plain": [2.0, 4.0, 90.0, 8.0, 6.0]}
    assert ratio(times, "ours", "plain") == 6.0 / 2.0
    assert quartiles(times, "ours", "plain") == (2.0, 4.0)


def small_loss(**changes) -> TLWLoss:
    torch.manual_seed(0)
    return TLWLoss("l1", features=4, samples=1, learning_rate=1e-30, **changes)


def test_numerics_that_are_exact_deviate_by_nothing_and_those_of_bf16_by_a_little():
    lr, hr = images(48)
    sr = torch.nn.functional.interpolate(lr, scale_factor=2)
    exact, other = small_loss(), small_loss()
    assert set(deviations(exact, other, sr, hr, 0.5, seed=1).values()) == {0.0}
    autocast = torch.autocast("cpu", torch.bfloat16)
    rounded = deviations(exact, other, sr, hr, 0.5, 1, autocast)
    assert all(0 < value < 1 for value in rounded.values())
    # nothing is updated by looking
    again = [float(looked_at(exact, sr, hr, 0.5, 1)[CRITERION]) for _ in range(2)]
    assert again[0] == again[1]


@pytest.mark.parametrize(
    ("deviating", "kept"),
    [([0.005] * 100, True), ([0.02] * 100, False), ([0.005] * 90 + [0.04] * 10, False)],
)
def test_the_bounds_hold_for_the_median_and_for_the_95th_percentile(deviating, kept):
    assert keeps_bounds(np.array(deviating)) is kept


def run_script(name: str, *words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(SCRIPTS / f"{name}.py"), "--quick", "--threads", "1", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment())


SMALLEST = ("--backbone", "edsr", "--scale", "2", "--size", "32", "--rounds", "1")
CALLS = {
    "step": (*SMALLEST, "--preset", "authors-code"),
    "shares": SMALLEST,
    "flops": (*SMALLEST, "--loss", "l1"),
    "memory": (*SMALLEST, "--loss", "l1"),
    "precision": (*SMALLEST, "--steps", "1", "--autocast"),
    "pairs": ("--scale", "2", "--rounds", "1"),
    "scoring": ("--size", "32", "--rounds", "1"),
    "startup": ("--cells", "3", "--rounds", "1"),
    "checkpoints": ("--backbone", "edsr", "--scale", "2", "--rounds", "1"),
}
EXPECTED = {
    "step": ("l1-tlw, plain reading", "l1, as in BasicSR"),
    "shares": ("weighting network, backward", "judge, backward"),
    "flops": ("judge, one image", "of the bf16 peak"),
    "memory": ("of the plain reading's",),
    "precision": ("theta loss's gradient", "the bound of 0.03"),
    "pairs": ("building on 1 core", "reading pairs"),
    "scoring": ("2 cells, plain", "images a second"),
    "startup": ("snakemake -n all, 3 cells", "tlw --help"),
    "checkpoints": ("A checkpoint every 300 s", "edsr x2"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_a_script_says_what_it_ran_on_and_prints_its_ratios(name):
    done = run_script(name, *CALLS[name])
    assert done.returncode == 0 or (name == "precision" and "BEYOND" in done.stdout), done.stderr
    assert "instruction sets" in done.stdout and "1 threads" in done.stdout
    for words in EXPECTED[name]:
        assert words in done.stdout
    assert done.stderr == ""


@pytest.mark.slow
def test_the_shares_of_a_step_are_all_of_it_and_the_judge_has_some_where_there_is_one():
    done = run_script("shares", *SMALLEST)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]]
            for line in done.stdout.splitlines() if line.startswith("|")]  # fmt: skip
    header, table = rows[0], {row[0]: [float(x[:-1]) for x in row[1:]] for row in rows[2:]}
    assert np.allclose(np.sum(list(table.values()), axis=0), 100, atol=0.5)
    weighted = [name.startswith("l1-tlw") for name in header[1:]]
    for part in ("judge, forward", "judge, backward", "weighting network, backward"):
        assert [share > 0 for share in table[part]] == weighted


@pytest.mark.slow
def test_the_toy_grid_s_cells_are_compared_in_both_numerics(tmp_path):
    config = yaml.safe_load((SCRIPTS.parent / "config" / "toy.yaml").read_text())
    config["grids"] = {"table1": config["grids"]["table1"] | {"backbones": ["vdsr"], "scales": [2],
                                                              "losses": ["l1"]}}  # fmt: skip
    config["recipes"]["toy"] |= {"epochs": 1, "steps_per_epoch": 2}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    words = ("--config", tmp_path / "tiny.yaml", "--folder", tmp_path / "runs")
    done = subprocess.run(
        [sys.executable, SCRIPTS / "toy_precision.py", *words],
        env=environment(PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}"),
        text=True, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "| vdsr x2 l1 |" in done.stdout and "within the bound of 0.02 dB" in done.stdout


def test_every_script_is_run_here_and_described():
    scripts = {path.stem for path in SCRIPTS.glob("*.py") if "__main__" in path.read_text()}
    assert scripts == {*CALLS, "toy_precision", "coverage"}  # see tests/report/test_intervals.py
    page = (SCRIPTS / "README.md").read_text()
    assert all(f"`{path.name}`" in page for path in SCRIPTS.glob("*.py"))
