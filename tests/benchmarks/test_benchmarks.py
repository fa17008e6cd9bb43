"""The benchmarks: their baselines compute what the package computes, and every script runs."""

import argparse
import re
import subprocess
import sys
from pathlib import Path

import first_light
import numpy as np
import pytest
import torch
from common import interleave, quartiles, ratio
from precision import CRITERION, deviations, keeps_bounds, looked_at
from reference import PlainJudge, ReferenceTraining
from torch import nn
from toys import CROPS, SMALL_EDSR, environment, toy_cell

from tlw.config.config import Cell
from tlw.judge.lpips import Judge
from tlw.losses.tlw import TLWLoss
from tlw.training.trainer import Run

SCRIPTS = Path(__file__).parents[2] / "benchmarks"
CPU = torch.device("cpu")


def images(size: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(5)
    return torch.rand(1, 3, size // 2, size // 2), torch.rand(1, 3, size, size)


def matched(loss: str, preset: str, *, prints_lpips: bool = False) -> tuple[Run, ReferenceTraining]:
    """A run of a small cell, and the reference of it with the same weights."""
    cell = toy_cell(loss, preset=preset)
    run, plain = Run(cell, CPU), ReferenceTraining(cell, CPU, prints_lpips=prints_lpips)
    plain.net.load_state_dict(run.plain_net.state_dict())
    if plain.weighted:
        plain.weight_net.load_state_dict(run.loss.weight_net.state_dict())
    return run, plain


@pytest.mark.parametrize(
    ("loss", "preset"), [("l1", "paper"), ("l1-tlw", "paper"), ("mse-tlw", "authors-code")]
)
def test_the_reference_computes_the_package_s_losses_step_after_step(loss, preset):
    run, plain = matched(loss, preset)
    lr, hr = images()
    for step in range(2):  # the second one also shows that both networks were updated alike
        torch.manual_seed(step)
        ours = run.step(lr, hr)["loss"].item()
        torch.manual_seed(step)
        assert ours == pytest.approx(plain.step(lr, hr).item(), rel=1e-4)
        if plain.weighted:
            assert float(run.loss.last["phi_loss"]) == pytest.approx(plain.phi_loss, rel=1e-4)


@pytest.mark.parametrize("loss", ["l1-tlw", "mse-tlw"])
def test_the_reference_has_the_package_s_gradients_to_the_precision_of_float64(loss):
    run, plain = matched(loss, "paper")
    for module in (run.plain_net, run.loss, plain.net, plain.judge, plain.weight_net):
        module.double()
    lr, hr = (x.double() for x in images())
    phi: dict[str, torch.Tensor] = {}  # gradients, which are gone after phi's step
    run.loss.optimizer.register_step_pre_hook(
        lambda *_: phi.update((n, p.grad) for n, p in run.loss.weight_net.named_parameters())
    )
    torch.manual_seed(0)
    run.loss(run.plain_net(lr), hr).backward()
    torch.manual_seed(0)
    plain.step(lr, hr)
    theirs = [parameter.grad for parameter in plain.weight_net.parameters()]
    for name, ours, plainly in (
        *gradients(run.plain_net, plain.net),
        *((name, one, other) for (name, one), other in zip(phi.items(), theirs, strict=True)),
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
    run, plain = matched("l1-tlw", "paper", prints_lpips=True)
    seen = {"ours": 0, "plain": 0}

    def counted(name, call):
        def count(x, *rest):
            seen[name] += len(x)
            return call(x, *rest)

        return count

    run.loss.judge._features = counted("ours", run.loss.judge._features)
    plain.judge.taps = counted("plain", plain.judge.taps)
    plain.lpips.taps = counted("plain", plain.lpips.taps)
    for contender in (run, plain):
        contender.step(*images())
    assert seen == {"ours": 9, "plain": 18}


@pytest.mark.parametrize("calibrated", [True, False])
def test_the_plain_judge_gives_the_package_s_distances_and_gradients(calibrated):
    _, hr = images()
    both = torch.rand(2, 3, 32, 32)
    found = []
    judges = Judge("vgg", calibrated=calibrated), PlainJudge(None, calibrated=calibrated, bgr=False)
    for judge in judges:
        x = both.clone().requires_grad_()
        distance = judge.against(hr)(x)
        distance.sum().backward()
        found.append((distance.detach(), x.grad / x.grad.abs().max()))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-5)


def test_contenders_take_turns_and_each_is_first_in_its_round():
    order = []
    times = interleave({name: lambda name=name: order.append(name) for name in "abc"}, rounds=2)
    assert "".join(order) == "abc" + "bca" + "cab" + "abc"  # the first two do not count
    assert {name: len(seconds) for name, seconds in times.items()} == {"a": 2, "b": 2, "c": 2}


def test_contenders_compute_in_full_float32():
    seen = []
    interleave({"a": lambda: seen.append(torch.backends.cudnn.conv.fp32_precision)}, rounds=1)
    assert set(seen) == {"ieee"}


def test_a_ratio_is_one_of_medians_with_the_quartiles_of_the_rounds():
    times = {"ours": [1.0, 2.0, 9.0, 2.0, 2.0], "plain": [2.0, 4.0, 90.0, 8.0, 6.0]}
    assert ratio(times, "ours", "plain") == 6.0 / 2.0
    assert quartiles(times, "ours", "plain") == (2.0, 4.0)


def small_loss(**changes) -> TLWLoss:
    torch.manual_seed(0)
    return TLWLoss("l1", features=4, samples=1, learning_rate=1e-30, **changes)


def test_the_same_precision_deviates_by_nothing_and_bf16_by_a_little():
    lr, hr = images(48)
    sr = torch.nn.functional.interpolate(lr, scale_factor=2)
    full, other = small_loss(), small_loss()
    assert set(deviations(full, other, sr, hr, 0.5, seed=1).values()) == {0.0}
    autocast = torch.autocast("cpu", torch.bfloat16)
    rounded = deviations(full, other, sr, hr, 0.5, 1, autocast)
    assert all(0 < value < 1 for value in rounded.values())
    # nothing is updated by looking
    again = [float(looked_at(full, sr, hr, 0.5, 1)[CRITERION]) for _ in range(2)]
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
    "step": ("--backbone", "edsr", "--scale", "2", "--sizes", "32", "--rounds", "1"),
    "memory": (*SMALLEST, "--loss", "l1"),
    "precision": (*SMALLEST, "--steps", "1", "--autocast"),
    "scoring": ("--size", "32", "--rounds", "1"),
    "lesser_cpu": ("--rounds", "1"),
}
EXPECTED = {
    "step": ("ours, plain judge", "the loss differs from the reference's by"),
    "memory": ("of the reference",),
    "precision": ("theta loss's gradient", "the bound of 0.03"),
    "scoring": ("2 cells, plain", "images a second"),
    "lesser_cpu": ("a step with AVX2 alone", "Intel AVX2 (limited)"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_a_script_says_what_it_ran_on_and_prints_its_ratios(name):
    done = run_script(name, *CALLS[name])
    # Ratios, and bf16 by autocast, may well break their bounds here: tested is that they say so.
    told = {"precision": "BEYOND", "step": "times as fast as with"}.get(name, "?")
    assert done.returncode == (1 if told in done.stdout else 0), done.stderr
    assert "instruction sets" in done.stdout and "1 threads" in done.stdout
    for words in EXPECTED[name]:
        assert words in done.stdout
    assert done.stderr == ""


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_first_light_says_what_it_needs():
    for options, words in (("cuda", "'cuda' cannot be used"), ("cpu", "expected a GPU")):
        done = subprocess.run(
            [sys.executable, SCRIPTS / "first_light.py", "--device", options],
            capture_output=True, text=True, env=environment(),
        )  # fmt: skip
        assert done.returncode == 1 and words in done.stderr


@pytest.mark.slow
def test_first_light_s_judge_and_trainings_are_right_on_a_cpu_too(monkeypatch):
    cells = first_light._cells

    def small(folder: Path) -> list[Cell]:
        crops = {"precision": "float32", **CROPS, "epochs": 20}
        return [
            Cell.parse(
                cell.model_dump()
                | {"backbone": SMALL_EDSR, "recipe": cell.recipe.model_dump() | crops},
                "small",
            )
            for cell in cells(folder)
        ]

    monkeypatch.setattr(first_light, "_cells", small)
    monkeypatch.setattr(first_light, "LOSSES", ("l1", "l1-udl"))
    options = argparse.Namespace(device=CPU, judge_folder=None)
    found = [*first_light.judges(options), *first_light.trainings(options)]
    assert len(found) == 4 and all(one["ok"] for one in found), found
    assert all(re.search(r"resumed at step [1-9]", one["found"]) for one in found[2:])


def test_every_script_is_run_here_and_described():
    scripts = {path.stem for path in SCRIPTS.glob("*.py") if "__main__" in path.read_text()}
    assert scripts == {*CALLS, "first_light", "coverage"}  # see tests/report/test_intervals.py
    page = (SCRIPTS / "README.md").read_text()
    assert all(f"`{path.name}`" in page for path in SCRIPTS.glob("*.py"))
