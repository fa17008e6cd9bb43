"""The learning rate of a step: a function of its number, so that a resumed training has the same.

The words are those of `torch.optim.lr_scheduler`, which is the oracle in the tests; its objects
have a state of their own, which a checkpoint would have to keep in step.
"""

import math

from tlw.config.recipe import Recipe


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """The learning rate of the step with this number, counted from 0, of so many.

    It rises linearly over the first `warmup_steps`, the last of which has the full rate. From there
    on "constant" stays, "multistep" multiplies by `gamma` at each of the `milestones` (step
    numbers), and "cosine" falls to `final_learning_rate`, where a step behind the last one would
    be: SGDR without restarts (Loshchilov and Hutter, ICLR 2017, Eq. 5).
    """
    full, warmup = recipe.learning_rate, recipe.warmup_steps
    if step < warmup:
        return full * (step + 1) / warmup
    if recipe.schedule == "multistep":
        return full * (recipe.gamma or 1.0) ** sum(
            step >= milestone for milestone in recipe.milestones
        )
    if recipe.schedule == "cosine":
        last = recipe.final_learning_rate or 0.0
        done = (step - warmup) / (steps - warmup)
        return last + (full - last) * (1 + math.cos(math.pi * done)) / 2
    return full
