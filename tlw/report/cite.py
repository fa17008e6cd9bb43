"""What results rest on: a methods paragraph and BibTeX, of given cells or of everything."""

import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path

import tlw
from tlw.config.config import Cell, read_cell

ALWAYS = ("tlw", "lpips", "pytorch", "snakemake")
ALIASES = {"BSDS100": "BSDS", "BSDS200": "BSDS"}


def references() -> dict[str, str]:
    """The BibTeX entries that are known, by key."""
    text = (files("tlw.report") / "references.bib").read_text(encoding="utf-8")
    entries = re.findall(r"^@\w+\{(\w+),\n(?:.*\n)*?\}$", text, re.MULTILINE)
    starts = [text.index(f"{{{key},") for key in entries]
    heads = [text.rindex("@", 0, start) for start in starts]
    return {
        key: text[head:end].strip()
        for key, head, end in zip(entries, heads, [*heads[1:], len(text)], strict=True)
    }


def cite(folders: Sequence[Path], benchmarks: Iterable[str] = ()) -> str:
    """The paragraph and the entries that cells rest on; without cells, all entries.

    Args:
        folders: of cells, with their cell.json.
        benchmarks: names of image sets that they were scored on.

    Raises:
        ValueError: for a folder without a cell.json, or with one that is no cell's.
    """
    known = references()
    cells = [read_cell(folder / "cell.json") for folder in folders]
    if not cells:
        return "\n\n".join(known.values()) + "\n"
    named = [*ALWAYS, *(name for cell in cells for name in _names(cell)), *benchmarks]
    keys = dict.fromkeys(ALIASES.get(name, name) for name in named)
    chosen = [known[key] for key in keys if key in known]
    without = sorted(key for key in keys if key not in known)
    note = f"% no reference is known for: {', '.join(without)}\n\n" if without else ""
    return f"{_methods(cells)}\n\n{note}" + "\n\n".join(chosen) + "\n"


def _names(cell: Cell) -> list[str]:
    metrics = ["ssim"] if cell.protocol == "standard" else []
    losses = ["udl"] if cell.loss.kind == "udl" else []
    return [cell.backbone.path, *losses, *metrics, *cell.train]


def _methods(cells: Sequence[Cell]) -> str:
    def each(values: Iterable[object]) -> str:
        return ", ".join(dict.fromkeys(map(str, values)))

    seeds = len({cell.seed for cell in cells})
    return (
        f"We trained {each(c.backbone_name for c in cells)} at scale "
        f"{each(c.scale for c in cells)} with the losses {each(c.loss_name for c in cells)} on "
        f"{each(name for c in cells for name in c.train)}, with "
        f"{seeds} {'seed' if seeds == 1 else 'seeds'} each, by tlw {tlw.__version__} "
        f"(preset {each(c.preset for c in cells)}, protocol {each(c.protocol for c in cells)}, "
        f"precision {each(c.recipe.precision for c in cells)})."
    )
