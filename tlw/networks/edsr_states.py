"""EDSR's published checkpoints, of the original repository and of BasicSR, under our keys."""

import logging
import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from tlw.backbones import build
from tlw.backbones.shifted_edsr import MEAN

log = logging.getLogger(__name__)

# Per source, what turns a key of ours into theirs; N stands for the number of blocks.
_RULES = {
    "BasicSR": (
        (r"^head", "conv_first"),
        (r"^body_end", "conv_after_body"),
        (r"^tail", "conv_last"),
    ),
    "the original repository": (
        (r"^head", "head.0"),
        (r"^body_end", "body.N"),
        (r"\.conv1", ".body.0"),
        (r"\.conv2", ".body.2"),
        (r"^tail", "tail.1"),
        (r"^upsample", "tail.0"),
    ),
}
_SHIFTS = ("sub_mean.weight", "sub_mean.bias", "add_mean.weight", "add_mean.bias")
_LARGE = (256, 0.1)  # features of the large EDSR, and the factor on its residual blocks


class Found(NamedTuple):
    """An EDSR under our keys, and what it is built with."""

    scale: int
    arguments: dict[str, int]
    state: dict[str, Tensor]


def edsr_of(state: Mapping[str, Tensor]) -> Found | None:
    """The EDSR in a state dict, for `tlw.backbones.shifted_edsr.ShiftedEDSR`; None for others.

    The published sizes differ in a factor on each residual block that no key tells: 0.1 with 256
    features, 1 with fewer. It is put into the blocks' weights.
    """
    if {"conv_first.weight", "conv_after_body.weight", "body.0.conv1.weight"} <= state.keys():
        source, head, first = "BasicSR", "conv_first", "upsample.0.weight"
    elif {"head.0.weight", "body.0.body.0.weight", "tail.1.weight"} <= state.keys():
        source, head, first = "the original repository", "head.0", "tail.0.0.weight"
    else:
        return None
    inner = re.compile(r"body\.(\d+)\.(conv1|body\.0)\.weight")
    blocks = len([key for key in state if inner.fullmatch(key)])
    features = len(state[f"{head}.weight"])
    if first not in state:
        return None
    step = round((len(state[first]) / features) ** 0.5)
    scale = 4 if first.replace("0.weight", "2.weight") in state else step
    arguments = {"features": features, "blocks": blocks}
    return Found(scale, arguments, _mapped(source, state, scale, arguments))


def _mapped(
    source: str, state: Mapping[str, Tensor], scale: int, arguments: dict[str, int]
) -> dict[str, Tensor]:
    with torch.device("meta"):
        expected = build("edsr-shifted", scale=scale, **arguments).state_dict()
    theirs = {key: _their_key(source, key, arguments["blocks"]) for key in expected}
    unknown = state.keys() - set(theirs.values()) - set(_SHIFTS)
    missing = set(theirs.values()) - state.keys()
    if unknown or missing:
        raise ValueError(
            f"looks like an EDSR of {source}, but for keys that are missing "
            f"({', '.join(sorted(missing)[:5]) or 'none'}) and unknown ones "
            f"({', '.join(sorted(unknown)[:5]) or 'none'})"
        )
    shift = state.get("sub_mean.bias")
    if shift is not None and not torch.allclose(shift, -255 * torch.tensor(MEAN), atol=0.1):
        raise ValueError(
            f"sub_mean.bias: expected {[round(-255 * mean, 2) for mean in MEAN]}, the mean colour "
            f"of DIV2K in 8 bits, found {shift.tolist()}: an EDSR of another range; that of the "
            "TLW authors is imported by --backbone edsr"
        )
    factor = _LARGE[1] if arguments["features"] == _LARGE[0] else 1.0
    log.info("An EDSR of %s, x%d, %s, residual factor %g", source, scale, arguments, factor)
    return {
        key: state[name] * factor if ".conv2." in key else state[name]
        for key, name in theirs.items()
    }


def _their_key(source: str, key: str, blocks: int) -> str:
    for ours, theirs in _RULES[source]:
        key = re.sub(ours, theirs.replace("N", str(blocks)), key)
    return key
