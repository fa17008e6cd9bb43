"""The columns of scores: what a metric is called, which way is better, what names a row."""

from typing import NamedTuple


class Metric(NamedTuple):
    """How the numbers of a metric are headed, and which of them are better."""

    head: str
    more_is_better: bool


METRICS = {
    "psnr_y": Metric("PSNR (dB)", True),
    "ssim_y": Metric("SSIM", True),
    "lpips_alex": Metric("LPIPS alex", False),
    "lpips_vgg": Metric("LPIPS vgg", False),
    "dists": Metric("DISTS", False),
}
# Those that no protocol has, and that are taken beside its own where they are asked for.
EXTRA = ("dists",)
# The columns that name a row of the printed table, and one number of it.
ROW = ["scale", "backbone", "loss"]
NUMBER = [*ROW, "benchmark", "metric"]
