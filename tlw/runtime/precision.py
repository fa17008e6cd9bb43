"""The two ways to compute, `exact` and `fast`: one named setting, on record with each cell.

`exact` is float32 throughout. `fast` takes the convolutions of the judge, the weighting network
and the super-resolution network in bfloat16, which CPUs and GPUs of today multiply several times
faster, and everything between them, sums, weights, losses and optimisers, in float32.
"""

from contextlib import AbstractContextManager

import torch
from torch import Tensor

HALF = torch.bfloat16


def full_float32(*, deterministic: bool = False) -> AbstractContextManager:
    """Inside this a GPU convolves float32 in float32, for which torch takes TF32's 10 bits else.

    Args:
        deterministic: only by ways that give the same bits each time, some of them slower.
    """
    return torch.backends.cudnn.flags(enabled=True, deterministic=deterministic, allow_tf32=False)


def two_halves(x: Tensor) -> Tensor:
    """Images (N, C, H, W) in `HALF` and yet to 16 bits: (N, 2C, H, W), high parts, then low ones.

    A convolution whose kernel stands there twice takes them as it would take x. bfloat16's 8 bits
    alone would be coarser than what a network still gets wrong late in training; of a bfloat16
    judge's error this is the larger part. Gradients flow as if it were x.
    """
    high = x.to(HALF)
    low = (x - high).detach().to(HALF)
    return torch.cat([high, low], dim=1).contiguous(memory_format=torch.channels_last)


def twice(kernel: Tensor) -> Tensor:
    """A convolution's kernel (O, C, h, w) for `two_halves`: (O, 2C, h, w)."""
    return torch.cat([kernel, kernel], dim=1)
