"""The known super-resolution networks by name, and the check of a config's entry, without torch."""

from collections.abc import Mapping
from typing import Any

from tlw.config import lookup
from tlw.runtime.errors import one_of, shown

BACKBONES: dict[str, str] = {
    "vdsr": "tlw.backbones.vdsr:VDSR",
    "edsr": "tlw.backbones.edsr:EDSR",
    "rcan": "tlw.backbones.rcan:RCAN",
    "hat": "tlw.backbones.hat:HAT",
}
# What other people's checkpoints are built as; no network to be trained here.
FOREIGN: dict[str, str] = {
    "edsr-shifted": "tlw.backbones.shifted_edsr:ShiftedEDSR",
    "foreign": "tlw.backbones.foreign:Foreign",
}


# What the known networks may be built with: beyond it a slip of the pen, or a hostile file, would
# take all memory, or for ever. RCAN, the deepest, has 200 blocks of 64 features.
WIDEST = 2048
DEEPEST = 1000
_LESS = {"window": 32, "overlap_ratio": 2}  # tables of indices grow with their fourth power
_DEPTHS = ("blocks", "groups", "layers", "depths")


def check(path_or_name: str, arguments: Mapping[str, Any]) -> None:
    """Refuses, by ValueError, a backbone that cannot be found or that has no such arguments.

    `arguments` are those besides `scale`. Names are checked, without importing torch, and that
    known networks stay within `WIDEST` and `DEEPEST`; other values are checked by the network's
    constructor.
    """
    what = f"backbone '{path_or_name}'"
    lookup.check(import_path(path_or_name), arguments, what=what, given=("scale",))
    if is_known(path_or_name):
        _check_sizes(arguments, what)


def is_known(path_or_name: str) -> bool:
    """Whether it is a network of this package: to build it runs no code from elsewhere."""
    ours = BACKBONES | FOREIGN
    return path_or_name in ours or path_or_name in ours.values()


def _check_sizes(arguments: Mapping[str, Any], what: str) -> None:
    depth = 1
    for key, value in arguments.items():
        numbers = value if isinstance(value, list | tuple) else [value]
        numbers = [number for number in numbers if isinstance(number, int | float)]
        most = max([len(numbers), *numbers], default=0)
        limit = _LESS.get(key, WIDEST)
        if most > limit:
            raise ValueError(f"{what}: {key}: expected {limit} or less, found {shown(value)}")
        if key in _DEPTHS:
            depth *= max(1, sum(numbers))
    if depth > DEEPEST:
        asked = {key: value for key, value in arguments.items() if key in _DEPTHS}
        raise ValueError(f"{what}: expected {DEEPEST} blocks or fewer, found {shown(asked)}")


def import_path(path_or_name: str) -> str:
    """The import path of a known name, or the path itself."""
    path = (BACKBONES | FOREIGN).get(path_or_name, path_or_name)
    if ":" not in path:
        raise ValueError(
            f"backbone: {one_of(path_or_name, BACKBONES)}; or give an import path, "
            "'package.module:Class'"
        )
    return path
