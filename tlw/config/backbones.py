"""The known super-resolution networks by name, and the check of a config's entry, without torch."""

from collections.abc import Mapping
from typing import Any

from tlw.config import lookup
from tlw.runtime.errors import near

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


def check(path_or_name: str, arguments: Mapping[str, Any]) -> None:
    """Refuses, by ValueError, a backbone that cannot be found or that has no such arguments.

    `arguments` are those besides `scale`. Only names are checked, without importing torch; values
    are checked by the network's constructor.
    """
    what = f"backbone '{path_or_name}'"
    lookup.check(import_path(path_or_name), arguments, what=what, given=("scale",))


def import_path(path_or_name: str) -> str:
    """The import path of a known name, or the path itself."""
    path = (BACKBONES | FOREIGN).get(path_or_name, path_or_name)
    if ":" not in path:
        raise ValueError(
            f"unknown backbone '{path_or_name}'; known are {', '.join(BACKBONES)}, or give an "
            f"import path, 'package.module:Class'{near(path_or_name, BACKBONES)}"
        )
    return path
