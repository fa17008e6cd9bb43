"""The columns of scores: what a metric is called, which way is better, what names a row."""

import re
from typing import Any, NamedTuple, get_args

import pandas as pd

from tlw.config.settings import ExtraMetric


class Metric(NamedTuple):
    """How the numbers of a metric are headed, and which of them are better."""

    head: str
    more_is_better: bool


METRICS = {
    "psnr_y": Metric("PSNR (dB)", True),
    "ssim_y": Metric("SSIM", True),
    "lpips_alex": Metric("LPIPS alex", False),
    "lpips_vgg": Metric("LPIPS vgg", False),
    "lpips_squeeze": Metric("LPIPS squeeze", False),
    "dists": Metric("DISTS", False),
}
# Those that are taken beside a protocol's own where they are asked for.
EXTRA: tuple[str, ...] = get_args(ExtraMetric)
# The columns that name a row of the printed table, and one number of it.
ROW = ["scale", "backbone", "loss"]
NUMBER = [*ROW, "benchmark", "metric"]


def guarded(table: pd.DataFrame) -> pd.DataFrame:
    """A table for a CSV: text that a spreadsheet would take for a formula gets a ' before it.

    Names of images and of methods may begin with =, +, - or @. Numbers stay as they are.
    """

    def guard(value: Any) -> Any:
        return re.sub(r"^'*[=+\-@]", r"'\g<0>", value) if isinstance(value, str) else value

    text = [column for column in table if not pd.api.types.is_numeric_dtype(table[column])]
    safe = {c: pd.Series(map(guard, table[c]), table.index, dtype=object) for c in text}
    return table.assign(**safe)


def unguarded(text: pd.Series) -> pd.Series:
    """A column of names as they were before `guarded`."""
    return text.str.replace(r"^'('*[=+\-@])", r"\1", regex=True)
