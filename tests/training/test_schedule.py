"""Learning rates, against torch's own schedulers."""

import pytest
import torch
from torch.optim import lr_scheduler as schedulers

from tlw.config.recipe import Recipe
from tlw.training.schedule import learning_rate

STEPS, WARMUP = 40, 8


def recipe(**changes) -> Recipe:
    crops = {"sampling": "crops", "size": 8, "epochs": 4, "steps_per_epoch": 10}
    return Recipe.parse({**crops, "learning_rate": 0.1, **changes}, "recipe")


def torchs(scheduler) -> list[float]:
    """The learning rates that a scheduler of torch's gives an optimiser, step by step."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    schedule, rates = scheduler(optimizer), []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def after_warmup(scheduler):
    return lambda o: schedulers.SequentialLR(
        o,
        [schedulers.LinearLR(o, 1 / WARMUP, 1.0, total_iters=WARMUP - 1), scheduler(o)],
        milestones=[WARMUP],
    )


@pytest.mark.parametrize(
    ("changes", "scheduler"),
    [
        ({}, lambda o: schedulers.ConstantLR(o, factor=1)),
        (
            {"schedule": "multistep", "milestones": [10, 30], "gamma": 0.5},
            lambda o: schedulers.MultiStepLR(o, [10, 30], gamma=0.5),
        ),
        (
            {"schedule": "cosine", "final_learning_rate": 0.01},
            lambda o: schedulers.CosineAnnealingLR(o, STEPS, eta_min=0.01),
        ),
        (
            {"schedule": "cosine", "final_learning_rate": 0, "warmup_steps": WARMUP},
            after_warmup(lambda o: schedulers.CosineAnnealingLR(o, STEPS - WARMUP)),
        ),
    ],
)
def test_the_rates_are_those_of_torchs_schedulers(changes, scheduler):
    ours = [learning_rate(recipe(**changes), step, STEPS) for step in range(STEPS)]
    assert ours == pytest.approx(torchs(scheduler))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"schedule": "multistep", "milestones": [3]},
            "gamma: missing; schedule multistep needs it",
        ),
        ({"schedule": "cosine"}, "final_learning_rate: missing"),
        ({"gamma": 0.5}, "gamma: found 0.5, but schedule constant has none"),
        (
            {"schedule": "multistep", "gamma": 0.5, "milestones": [9, 3]},
            "milestones: expected steps that rise, found (9, 3)",
        ),
        (
            {"schedule": "cosine", "final_learning_rate": 1},
            "final_learning_rate: expected at most learning_rate (0.1), found 1",
        ),
        ({"schedule": "cosin"}, "cosine"),
    ],
)
def test_a_schedule_that_does_not_fit_together_is_refused_with_its_key(changes, words):
    with pytest.raises(ValueError) as caught:
        recipe(**changes)
    assert words in str(caught.value)
