"""Precision: `float32`, or `bf16-mixed` where the device has units for it.

`bf16-mixed` takes the convolutions of the judge, the weighting network and the super-resolution
network in bfloat16, and everything between them, sums, weights, losses and optimisers, in float32.
A device without units for bfloat16 would take several times as long, so there it is float32.
"""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger(__name__)
HALF = torch.bfloat16


def usable(precision: str, device: torch.device | str) -> str:
    """What a device computes in when it is asked for `precision`: that, or "float32".

    A device without units for bfloat16 takes "bf16-mixed" as "float32", and warns once.
    """
    kind = torch.device(device).type
    if precision == "bf16-mixed" and not has_bf16_units(kind):
        _warn(kind)
        return "float32"
    return precision


@cache
def has_bf16_units(kind: str) -> bool:
    """Whether devices of a kind multiply bfloat16 faster than float32, as far as torch tells.

    GPUs tell themselves. Of CPUs those with AVX512_BF16 or AMX do, unless ATEN_CPU_CAPABILITY or
    ONEDNN_MAX_CPU_ISA forbids their use. Torch tells since 2.10; before, a CPU counts as one
    without.

    Args:
        kind: "cuda", "cpu" or another type of torch's devices.
    """
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if kind != "cpu" or not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return False
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "DEFAULT")
    found: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(re.search("DEFAULT|ALL|BF16|FP16|AMX|AVX10", limit, re.IGNORECASE)) and any(
        found.get(name, False) for name in ("avx512_bf16", "amx_bf16")
    )


@cache  # once a process
def _warn(kind: str) -> None:
    log.warning(
        "precision bf16-mixed: this %s has no units for bfloat16, so it computes in float32",
        {"cpu": "CPU", "cuda": "GPU"}.get(kind, kind),
    )


@contextmanager
def full_float32(*, deterministic: bool = False) -> Iterator[None]:
    """Inside this a GPU computes float32 in float32, for which torch may take TF32's 10 bits else.

    Args:
        deterministic: only by ways that give the same bits each time, some of them slower.
    """
    cudnn: Any = torch.backends.cudnn  # torch's types know no `cudnn.conv`
    matmul = torch.backends.cuda.matmul
    full: str | bool
    if hasattr(matmul, "fp32_precision"):  # torch 2.9 and newer; mixing both kinds is an error
        switches, name, full = (cudnn.conv, matmul), "fp32_precision", "ieee"
    else:
        switches, name, full = (cudnn, matmul), "allow_tf32", False
    before = [getattr(switch, name) for switch in switches]
    was_deterministic, cudnn.deterministic = cudnn.deterministic, deterministic
    try:
        for switch in switches:
            setattr(switch, name, full)
        yield
    finally:
        cudnn.deterministic = was_deterministic
        for switch, value in zip(switches, before, strict=True):
            setattr(switch, name, value)


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
