"""The readings of a metric: every sensible way to take the same number of the same images.

A reading is one choice on every axis that people disagree about. `usual` is what the field reports,
which is what protocol standard takes, too.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from tlw.config.settings import JudgeNet

MetricName = Literal["psnr", "ssim", "lpips"]
NAMES: tuple[MetricName, ...] = ("psnr", "ssim", "lpips")

CHANNELS = ("Y", "Y in 8 bits", "full-range Y", "full-range Y in 8 bits", "RGB")
PEAKS = ("255", "hr's maximum", "hr's range")
MEANS = ("of PSNRs", "of errors", "of pixels")
NETS: tuple[JudgeNet, ...] = ("alex", "vgg")
NETS_AT_HAND: tuple[JudgeNet, ...] = ("squeeze",)  # read where their weights are there already
ORDERS = ("RGB", "BGR")
RANGES = ("[-1, 1]", "[0, 1]")

MULTIPLES = (1, 12, 28)  # besides the scale
SMALLEST = {"psnr": 1, "ssim": 11, "lpips": 31}  # pixels that a side needs


class Reading(NamedTuple):
    """One way to take a metric; an axis that does not concern the metric is empty.

    - `sr`: "8 bits", or "as it is" where files hold 16 bits
    - `crop`: what the sides of hr (and sr) are cropped to a multiple of
    - `border`: pixels left out on each side, after cropping
    - `grey`: "as RGB": Y of grey files from three equal channels; "as stored": their levels are Y,
      as code has it that calls rgb2ycbcr for colour files only
    - `channel`: "Y" is MATLAB's, in 16..235, "full-range Y" 0.299 R + 0.587 G + 0.114 B
    - `peak`: of the PSNR, in levels: 255, or the largest of hr, or largest less smallest
    - `mean`: of the images' PSNRs; of their mean squared errors; of the error of all pixels
    - `window`: of SSIM: "gaussian" inside the image; "cut" the same with negative contrast terms
      set to 0 (pyiqa); "mirrored" Gaussian windows around every pixel (torchmetrics); "uniform"
      windows of 7 x 7 with sample covariance (scikit-image's default)
    - `pooled`: "yes": averaged down to about 256 pixels before SSIM (piq's default)
    - `net`, `order`, `range`: of LPIPS: its trunk, the channels' order and the range of values that
      it was given; it expects RGB in [-1, 1]
    """

    metric: MetricName
    sr: str
    crop: int
    border: int
    grey: str = ""
    channel: str = ""
    peak: str = ""
    mean: str = ""
    window: str = ""
    pooled: str = ""
    net: str = ""
    order: str = ""
    range: str = ""


def usual(metric: MetricName, scale: int, net: str = "alex") -> Reading:
    """The reading of the field: that of protocol standard. LPIPS has one for each net."""
    if metric == "lpips":
        return Reading(metric, "8 bits", scale, 0, net=net, order="RGB", range="[-1, 1]")
    common = Reading(metric, "8 bits", scale, scale, grey="as RGB", channel="Y")
    if metric == "psnr":
        return common._replace(peak="255", mean="of PSNRs")
    return common._replace(window="gaussian", pooled="no")


def departures(reading: Reading, scale: int) -> dict[str, int | str]:
    """The choices, by axis, in which a reading is not the usual one of its metric (and net)."""
    ordinary = usual(reading.metric, scale, reading.net)._asdict()
    return {axis: choice for axis, choice in reading._asdict().items() if choice != ordinary[axis]}


class Area(NamedTuple):
    """The part of an image that is measured."""

    crop: int
    border: int

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that an image is cropped to, with its border."""
        return height - height % self.crop, width - width % self.crop

    def sides(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that are measured."""
        height, width = self.size(height, width)
        return height - 2 * self.border, width - 2 * self.border


def areas(sizes: Sequence[tuple[int, int]], scale: int, metric: MetricName) -> list[Area]:
    """The areas that differ on images of these sizes.

    A crop that leaves the same pixels as the scale's, or as a smaller one's, is not told apart.
    LPIPS, which takes seconds an area, has a border with the scale's crop only.
    """
    borders = (0, scale) if metric == "lpips" else (0, scale, scale + 6)
    crops: dict[tuple, int] = {}
    for crop in (scale, *MULTIPLES):
        crops.setdefault(tuple(Area(crop, 0).size(*size) for size in sizes), crop)
    return [
        Area(crop, border)
        for crop in sorted(crops.values())
        for border in borders
        if metric != "lpips" or border == 0 or crop == scale
    ]


def leaves_enough(area: Area, sizes: Sequence[tuple[int, int]], metric: MetricName) -> bool:
    """Whether each image has as many pixels in an area as a metric needs."""
    return all(min(area.sides(*size)) >= SMALLEST[metric] for size in sizes)
