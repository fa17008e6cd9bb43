"""The TLW authors' checkpoints: their state-dict keys mapped to those of the networks here.

Only names change, and the rows of one table; nothing else does. In particular the channels stay
as they are: the authors' networks take and give BGR, so weights loaded through this module do,
too. Whoever runs them swaps the channels of the images, not of the weights.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from tlw.backbones import build
from tlw.config.backbones import BACKBONES

# Per network, what turns a key of ours into theirs: substitutions, made in this order.
RULES: dict[str, tuple[tuple[str, str], ...]] = {
    "vdsr": (
        (r"^head", "conv1.0"),
        (r"^body\.(\d+)", r"trunk.\1.conv"),
        (r"^tail", "conv2"),
    ),
    "edsr": (
        (r"^head", "head.0"),
        (r"^body_end", "body.16"),
        (r"\.conv1", ".body.0"),
        (r"\.conv2", ".body.2"),
        (r"^tail", "tail.1"),
        (r"^upsample", "tail.0"),
    ),
    "rcan": (
        (r"^head", "sf"),
        (r"^body\.(\d+)\.end", r"rgs.\1.module.20"),
        (r"^body\.(\d+)\.blocks\.(\d+)", r"rgs.\1.module.\2.module"),
        (r"\.conv1", ".0"),
        (r"\.conv2", ".2"),
        (r"\.attention\.squeeze", ".3.module.1"),
        (r"\.attention\.excite", ".3.module.3"),
        (r"^body_end", "conv1"),
        (r"^upsample", "upscale"),
        (r"^tail", "conv2"),
    ),
    "hat": (
        (r"^head_norm", "patch_embed.norm"),
        (r"^head", "conv_first"),
        (r"^body\.(\d+)\.end", r"layers.\1.conv"),
        (r"^body\.(\d+)", r"layers.\1.residual_group"),
        (r"\.overlap(\.attention)?", ".overlap_attn"),
        (r"\.attention", ".attn"),
        (r"\.position_bias", ".relative_position_bias_table"),
        (r"\.project", ".proj"),
        (r"\.mlp\.0", ".mlp.fc1"),
        (r"\.mlp\.2", ".mlp.fc2"),
        (r"\.conv\.(\d)", r".conv_block.cab.\1"),
        (r"\.squeeze", ".attention.1"),
        (r"\.excite", ".attention.3"),
        (r"^body_norm", "norm"),
        (r"^body_end", "conv_after_body"),
        (r"^narrow", "conv_before_upsample"),
        (r"^tail", "conv_last"),
        (r"^", "net."),
    ),
}
# Entries of theirs that ours have no use for: layers that are never called, tables that are
# computed, and the variance head, which is not the network's.
DROPPED = {
    "edsr": r"(sub|add)_mean\.(weight|bias)",
    "hat": r"net\.relative_position_index_(SA|OCA)|u_estimator\..*",
}


def authors_state(name: str, state: Mapping[str, Tensor], *, scale: int) -> dict[str, Tensor]:
    """A state dict of the authors' network `name` at `scale`, under the keys of ours.

    `name` is one of `BACKBONES`; "hat" also takes the authors' UHAT, and drops its variance head.
    The result loads strictly into `build(name, scale=scale)`; its
    tensors are those of `state`, but for the tables of HAT's overlap blocks. Channels are not
    permuted: these weights work on BGR.

    Raises ValueError that names every missing key, every unknown key and every wrong shape.
    """
    if name not in BACKBONES:
        raise ValueError(f"the authors have no backbone '{name}', only {', '.join(BACKBONES)}")
    with torch.device("meta"):
        expected = build(name, scale=scale).state_dict()
    theirs = {key: _their_key(name, key) for key in expected}
    _require_same(f"{name} x{scale}", {theirs[key]: expected[key] for key in expected}, state, name)
    return {
        key: _reordered(state[theirs[key]]) if _is_overlap_table(key) else state[theirs[key]]
        for key in expected
    }


def _their_key(name: str, key: str) -> str:
    for ours, theirs in RULES[name]:
        key = re.sub(ours, theirs, key)
    return key


def _require_same(
    what: str, expected: Mapping[str, Tensor], state: Mapping[str, Tensor], name: str
) -> None:
    dropped = re.compile(DROPPED.get(name, r"(?!)"))
    missing = [key for key in expected if key not in state]
    unknown = [key for key in state if key not in expected and not dropped.fullmatch(key)]
    shapes = [
        f"{key} {tuple(state[key].shape)} for {tuple(expected[key].shape)}"
        for key in expected
        if key in state and state[key].shape != expected[key].shape
    ]
    faults = {"missing": missing, "unknown": unknown, "of wrong shape": shapes}
    if any(faults.values()):
        found = "; ".join(f"{kind}: {', '.join(keys)}" for kind, keys in faults.items() if keys)
        raise ValueError(
            f"not a state of the authors' {what} (is the name or the scale another?): {found}"
        )


def _is_overlap_table(key: str) -> bool:
    return key.endswith("overlap.attention.position_bias")


def _reordered(table: Tensor) -> Tensor:
    """The rows of an overlap block's table of relative positions, from their order to ours.

    Ours are numbered by query - key, as in the other blocks. Theirs go by key - query, and their
    numbers start so low that some are negative and count from the table's end. With no overlap
    and a window of side n, a row of the offsets has 2 n - 1 of them, and the numbers are
    n - 2 rows and n - 2 columns too low.
    """
    row = round(len(table) ** 0.5)
    low = (row + 1) // 2 - 2
    return table.roll(low * (row + 1), dims=0).flip(0)
