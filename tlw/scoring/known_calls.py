"""What other people's tools compute, as readings: a number is often just what a tool's call gives.

Each was checked against numbers of that tool for the same images. All take whole images, as
their functions are called by default, but for the first two.
"""

from typing import Any

from tlw.scoring.readings import Reading, usual

# By metric: the call in words, and in what it departs from the usual reading. A border of None is
# the scale, which is what `crop_border` is set to.
_CALLS: dict[str, list[tuple[str, dict[str, int | str | None]]]] = {
    "psnr": [
        ("BasicSR with test_y_channel=False", {"border": None, "channel": "RGB"}),
        ("BasicSR, scikit-image, OpenCV, torchmetrics, piq, pyiqa by default", {"channel": "RGB"}),
        ("BasicSR or pyiqa on Y without a border", {}),
        ("torchmetrics accumulated over the set", {"channel": "RGB", "mean": "of pixels"}),
        ("piq in grey, or pyiqa on Y of YIQ", {"channel": "full-range Y"}),
        ("OpenCV on its grey, or its Y", {"channel": "full-range Y in 8 bits"}),
    ],
    "ssim": [
        ("BasicSR with test_y_channel=False", {"border": None, "channel": "RGB"}),
        ("BasicSR on Y without a border", {}),
        (
            "BasicSR by default, scikit-image with gaussian_weights, piq with downsample=False",
            {"channel": "RGB"},
        ),
        ("scikit-image by default", {"channel": "RGB", "window": "uniform"}),
        ("torchmetrics by default", {"channel": "RGB", "window": "mirrored"}),
        ("piq by default", {"channel": "RGB", "pooled": "yes"}),
        ("pyiqa by default", {"channel": "full-range Y in 8 bits", "window": "cut"}),
        ("pyiqa with test_y_channel=False", {"channel": "RGB", "window": "cut"}),
        (
            "pyiqa with downsample=True",
            {"channel": "full-range Y in 8 bits", "window": "cut", "pooled": "yes"},
        ),
    ],
    "lpips": [],
}


def known_call(reading: Reading, scale: int) -> str | None:
    """The call of a known tool that a reading is, in words; None for others."""
    for words, choices in _CALLS[reading.metric]:
        border = scale if "border" in choices else 0
        ordinary = usual(reading.metric, scale, reading.net)
        changed: dict[str, Any] = choices | {"border": border}
        if reading == ordinary._replace(**changed):
            return words
    return None
