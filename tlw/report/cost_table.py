"""Networks' costs as a table."""

from collections.abc import Mapping
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
