"""FixedSum (Eq. 5) and the relaxed Bernoulli sampling that follows it."""

from typing import get_args

import torch
from torch import Tensor

from tlw.config.settings import Over
from tlw.runtime.errors import one_of


def fixed_sum(x: Tensor, k: float | Tensor, *, over: Over = "channel") -> Tensor:
    """Moves x linearly towards 1 or towards 0 so that its mean becomes k (Eq. 5).

    Where the components sum to S and there are N of them, each x becomes
    x + (kN - S)/(N - S) (1 - x) when kN > S, and x - (S - kN)/S x otherwise: every component
    stays in [0, 1] and their sum becomes kN.

    Args:
        x: (N, C, H, W), values in [0, 1].
        k: the share that the sum has of its maximum, in (0, 1); a scalar tensor is not checked,
            since a GPU would have to be waited for.
        over: the components that share one sum: all of an "image" (C, H, W), as the paper's text
            reads, or each "channel" (H, W) on its own, as the authors' code has it.

    Returns:
        (N, C, H, W), values in [0, 1], with mean k over each image or channel.

    Raises:
        ValueError: for a k outside (0, 1) or an unknown `over`.
    """
    if not isinstance(k, Tensor) and not 0 < k < 1:
        raise ValueError(f"fixed_sum: k must lie between 0 and 1, found {k}")
    if over not in get_args(Over):
        raise ValueError(f"fixed_sum: over: {one_of(over, get_args(Over))}")
    dims = (1, 2, 3) if over == "image" else (2, 3)
    n = x[0].numel() if over == "image" else x[0, 0].numel()
    total = x.sum(dim=dims, keepdim=True)
    # Only one of the two is not zero. The clamps keep the other one's gradient finite where x is
    # all 0 or all 1, and change nothing elsewhere. Where kN = S both are zero, and the gradient is
    # that of the second: relu's is 0 there, clamp_min's is 1.
    tiny = torch.finfo(x.dtype).tiny
    up = (k * n - total).relu() / (n - total).clamp_min(tiny)
    down = (total - k * n).clamp_min(0) / total.clamp_min(tiny)
    return x + up * (1 - x) - down * x


def relaxed_bernoulli(
    mean: Tensor, noise: Tensor, *, temperature: float = 0.1, margin: float = 0.001
) -> Tensor:
    """A differentiable sample of independent Bernoulli variables (Wang & Yin, UAI 2020).

    sigmoid((logit m + logit u) / temperature), where m and u are `mean` and `noise` drawn in from
    0 and 1 by margin / 2, so that both logits are finite.

    Args:
        mean: probabilities in [0, 1], any shape.
        noise: uniform on [0, 1), of the same shape.
        temperature: the lower, the nearer the samples are to 0 and 1; the authors use 0.1.
        margin: the authors use 0.001.

    Returns:
        Samples in (0, 1), of the same shape.
    """
    m = (1 - margin) * mean + margin / 2
    u = (1 - margin) * noise + margin / 2
    return torch.sigmoid((torch.logit(m) + torch.logit(u)) / temperature)
