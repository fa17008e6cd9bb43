"""Networks' costs as a table."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlw.report.plain_table import markdown_table


def cost_table(found: Mapping[Path, Mapping[str, Any]]) -> str:
    """A Markdown table of what `tlw.networks.cost.costs` gives, a row for each device."""
    heads = ["network", "scale", "parameters", "multiply-adds at 720p", "device", "output"]
    rows = []
    for content in found.values():
        network = [content["network"], f"x{content['scale']}", f"{content['parameters']:,}"]
        network.append(f"{content['multiply_adds'] / 1e9:.4g} G")
        for device, measured in content["devices"].items():
            height, width = measured["output"]
            peak = measured["peak_bytes"]
            row = [*network, device, f"{width} x {height}", f"{measured['seconds']:.3g} s"]
            rows.append([*row, "not told" if peak is None else f"{peak / 1e6:.4g} MB"])
    return markdown_table([*heads, "time", "peak memory"], rows)


def read_costs(cells: Sequence[Path]) -> dict[Path, dict[str, Any]]:
    """The cost.json that `tlw cost` left beside weights, one of each network and scale, by file.

    What a network costs does not depend on its loss or seed, so the first one counts.

    Raises:
        ValueError: for a file of another kind.
    """
    found: dict[tuple[str, int], tuple[Path, dict[str, Any]]] = {}
    for path in (folder / "cost.json" for folder in cells):
        if not path.exists():
            continue
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            cost_table({path: content})
            found.setdefault((content["network"], content["scale"]), (path, content))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: no cost.json of `tlw cost`: {error}") from None
    return dict(found.values())


def to_markdown(costs: Mapping[Path, Mapping[str, Any]]) -> str:
    """A section of a run's tables; without any costs the text is empty."""
    if not costs:
        return ""
    return f"\n## What its networks cost\n\n{cost_table(costs)}\n"
