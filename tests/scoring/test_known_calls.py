"""Readings against numbers that other people's tools gave for the same images."""

import csv
from collections import defaultdict
from pathlib import Path

import pytest

from tlw.scoring.audit import Values, audit_folders
from tlw.scoring.known_calls import known_call
from tlw.scoring.readings import Reading, usual

WHOLE, RGB, FULL = {"border": 0}, {"channel": "RGB"}, {"channel": "full-range Y"}
FULL8 = {"channel": "full-range Y in 8 bits"}
CUT, POOLED = {"window": "cut"}, {"pooled": "yes"}
GAUSSIAN = (
    "structural_similarity gaussian_weights sigma=1.5 use_sample_covariance=False channel_axis=2 "
    "data_range=255"
)
# The reading of each recorded call: its metric, and in what it departs from the usual one.
RECORDED = {
    ("basicsr", "calculate_psnr crop_border=0 test_y_channel=False"): ("psnr", WHOLE | RGB),
    ("basicsr", "calculate_ssim crop_border=0 test_y_channel=False"): ("ssim", WHOLE | RGB),
    ("basicsr", "calculate_psnr crop_border=0 test_y_channel=True"): ("psnr", WHOLE),
    ("basicsr", "calculate_ssim crop_border=0 test_y_channel=True"): ("ssim", WHOLE),
    ("basicsr", "calculate_psnr crop_border=4 test_y_channel=False"): ("psnr", RGB),
    ("basicsr", "calculate_ssim crop_border=4 test_y_channel=False"): ("ssim", RGB),
    ("basicsr", "calculate_psnr crop_border=4 test_y_channel=True"): ("psnr", {}),
    ("basicsr", "calculate_ssim crop_border=4 test_y_channel=True"): ("ssim", {}),
    ("piq", "psnr"): ("psnr", WHOLE | RGB),
    ("piq", "psnr convert_to_greyscale=True"): ("psnr", WHOLE | FULL),
    ("piq", "ssim"): ("ssim", WHOLE | RGB | POOLED),
    ("piq", "ssim downsample=False"): ("ssim", WHOLE | RGB),
    ("torchmetrics", "peak_signal_noise_ratio data_range=1"): ("psnr", WHOLE | RGB),
    ("torchmetrics", "structural_similarity_index_measure data_range=1"): (
        "ssim",
        WHOLE | RGB | {"window": "mirrored"},
    ),
    ("torchmetrics", "PeakSignalNoiseRatio data_range=1 accumulated over the set"): (
        "psnr",
        WHOLE | RGB | {"mean": "of pixels"},
    ),
    ("scikit-image", "peak_signal_noise_ratio"): ("psnr", WHOLE | RGB),
    ("scikit-image", "structural_similarity channel_axis=2"): (
        "ssim",
        WHOLE | RGB | {"window": "uniform"},
    ),
    ("scikit-image", GAUSSIAN): ("ssim", WHOLE | RGB),
    ("opencv", "PSNR of COLOR_BGR2YCrCb[0] in 8 bits"): ("psnr", WHOLE | FULL8),
    ("opencv", "PSNR"): ("psnr", WHOLE | RGB),
    ("pyiqa", "psnr test_y_channel=False color_space=yiq"): ("psnr", WHOLE | RGB),
    ("pyiqa", "psnr test_y_channel=True color_space=yiq"): ("psnr", WHOLE | FULL),
    ("pyiqa", "psnr test_y_channel=True color_space=ycbcr"): ("psnr", WHOLE),
    ("pyiqa", "SSIM"): ("ssim", WHOLE | FULL8 | CUT),
    ("pyiqa", "SSIM test_y_channel=False"): ("ssim", WHOLE | RGB | CUT),
    ("pyiqa", "SSIM downsample=True"): ("ssim", WHOLE | FULL8 | CUT | POOLED),
}


def reading(metric: str, choices: dict) -> Reading:
    return usual(metric, 4)._replace(**choices)


@pytest.fixture(scope="module")
def values(set5_readings) -> Values:
    return set5_readings


@pytest.fixture(scope="module")
def recorded(shared) -> dict[str, dict[tuple[str, str], float]]:
    """By image (or "mean", or "all"): the number that each tool's call gave."""
    found: dict[str, dict] = defaultdict(dict)
    with (shared / "audit" / "recorded.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            call = row["tool"].split()[0], row["call"].strip()
            found[row["image"]][call] = float(row["value"])
    return found


def test_means_over_set5_are_those_that_the_tools_gave(values, recorded):
    numbers = recorded["mean"] | recorded["all"]
    assert numbers.keys() == RECORDED.keys()
    for call, number in numbers.items():
        metric, choices = RECORDED[call]
        # float32, an epsilon under the logarithm: the tools differ that much among themselves
        near = 1e-4 if metric == "psnr" else 2e-5
        assert values[reading(metric, choices)] == pytest.approx(number, abs=near), call


def test_each_image_has_the_numbers_that_the_tools_gave(shared, recorded, tmp_path):
    for name in ("bird", "woman"):
        folders = [tmp_path / name / kind for kind in ("sr", "hr")]
        sources = [shared / "audit/lanczos_x4_set5", shared / "datasets/Set5"]
        for folder, source, suffix in zip(folders, sources, (".png", ".bmp"), strict=True):
            folder.mkdir(parents=True)
            Path(folder / f"{name}{suffix}").symlink_to(source / f"{name}{suffix}")
        values = audit_folders(*folders, scale=4)
        for call, number in recorded[name].items():
            metric, choices = RECORDED[call]
            near = 1e-4 if metric == "psnr" else 2e-5
            assert values[reading(metric, choices)] == pytest.approx(number, abs=near), call


def test_every_recorded_call_but_the_usual_reading_is_known_by_its_tool_s_name():
    for (tool, call), (metric, choices) in RECORDED.items():
        words = known_call(reading(metric, choices), 4)
        if choices:
            names = {"basicsr": "BasicSR", "opencv": "OpenCV"}
            assert names.get(tool, tool) in words, call
        else:
            assert words is None
