"""Every reading of a small set, against scikit-image, torch and the lpips package on its own."""

import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from oracles import lpips_oracle
from PIL import Image
from skimage.color import rgb2ycbcr
from skimage.metrics import structural_similarity
from toys import photograph

from tlw.imaging.pictures import Picture, read_picture, write_picture
from tlw.scoring.audit import audit_folders
from tlw.scoring.readings import Reading

SIZES = [(71, 62), (61, 85)]


def noisy(image: np.ndarray, seed: int) -> np.ndarray:
    """An image of 16 bits near one of 8 bits."""
    noise = np.random.default_rng(seed).normal(0, 12, image.shape)
    return np.round((image + noise).clip(0, 255) * 257).astype(np.uint16)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    """sr and hr: a colour image of 16 bits; a grey one of 8 bits, with an sr of hr cropped."""
    root = tmp_path_factory.mktemp("readings")
    for name in ("sr", "hr"):
        (root / name).mkdir()
    colour, coffee = photograph(size=SIZES[0]), photograph("coffee", size=SIZES[1])
    Image.fromarray(colour).save(root / "hr" / "a.png")
    write_picture(root / "sr" / "a.png", Picture(noisy(colour, 0)))
    grey = coffee[..., 1]
    Image.fromarray(grey).save(root / "hr" / "b.png")
    cropped = np.round(noisy(grey, 1)[:60, :84] / 257).astype(np.uint8)
    Image.fromarray(cropped).save(root / "sr" / "b.png")
    return root / "sr", root / "hr"


# --- an independent implementation, image by image, from the files -----------------------------


@cache
def planes(
    folders: tuple[Path, Path], sr: str, crop: int, border: int, grey: str, channel: str
) -> list[tuple[np.ndarray, np.ndarray]]:
    """sr and hr of each image as a reading compares them, in levels: float64 (C, H, W)."""
    found = []
    for name in ("a.png", "b.png"):
        images = [
            read_picture(folders[0] / name).samples / (257 if name == "a.png" else 1),
            np.array(Image.open(folders[1] / name)).astype(float),
        ]
        if sr == "8 bits":
            images[0] = np.floor(images[0] + 0.5)
        height, width = (side - side % crop for side in images[0].shape[:2])
        inside = (slice(border, height - border), slice(border, width - border))
        found.append(tuple(channels(image[inside], grey, channel) for image in images))
    return found


def channels(image: np.ndarray, grey: str, channel: str) -> np.ndarray:
    image = image.squeeze()
    if image.ndim == 2 and grey == "as stored" and channel in ("Y", "Y in 8 bits"):
        return (rounded(image) if "8 bits" in channel else image)[None]
    if image.ndim == 2:
        image = np.stack([image] * 3, axis=-1)
    if channel == "RGB":
        return np.moveaxis(image, -1, 0)
    if channel.startswith("full"):
        plane = image @ np.array([0.299, 0.587, 0.114])
    else:
        plane = rgb2ycbcr(image / 255)[..., 0]
    return (rounded(plane) if "8 bits" in channel else plane)[None]


def rounded(plane: np.ndarray) -> np.ndarray:
    return np.floor(np.round(plane, 6) + 0.5)


def psnr(folders: tuple[Path, Path], reading: Reading) -> float:
    squares, peaks = [], []
    for x, y in planes(folders, *reading[1:6]):
        squares.append((x - y).ravel() ** 2)
        low = y.min() if reading.peak == "hr's range" else 0
        peaks.append(255 if reading.peak == "255" else y.max() - low)
    if reading.mean == "of PSNRs":
        pairs = zip(peaks, squares, strict=True)
        return float(np.mean([20 * np.log10(p) - 10 * np.log10(s.mean()) for p, s in pairs]))
    if reading.mean == "of errors":
        error = np.mean([s.mean() for s in squares])
    else:
        error = np.concatenate(squares).mean()
    return float(20 * np.log10(max(peaks)) - 10 * np.log10(error))


def ssim(folders: tuple[Path, Path], reading: Reading) -> float:
    # None of these images has a side of 384 pixels: pooled is not.
    return ssim_of_set(folders, reading.window, *reading[1:6])


@cache
def ssim_of_set(folders: tuple[Path, Path], window: str, *choices: str | int) -> float:
    values = [
        np.mean([ssim_of(x, y, window) for x, y in zip(sr, hr, strict=True)])
        for sr, hr in planes(folders, *choices)
    ]
    return float(np.mean(values))


def ssim_of(x: np.ndarray, y: np.ndarray, window: str) -> float:
    if window == "uniform":
        return structural_similarity(x, y, data_range=255)
    if window == "gaussian":
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        return structural_similarity(x, y, data_range=255, **options)
    return ssim_by_torch(x, y, cut=window == "cut", mirrored=window == "mirrored")


def ssim_by_torch(x: np.ndarray, y: np.ndarray, *, cut: bool, mirrored: bool) -> float:
    line = torch.exp(-(torch.arange(-5.0, 6, dtype=torch.float64) ** 2) / 4.5)
    window = torch.outer(line, line)
    window = (window / window.sum())[None, None]
    a, b = (torch.from_numpy(np.ascontiguousarray(plane))[None, None] for plane in (x, y))
    if mirrored:
        a, b = (F.pad(plane, (5, 5, 5, 5), mode="reflect") for plane in (a, b))
    mean_a, mean_b = F.conv2d(a, window), F.conv2d(b, window)
    var_a, var_b = (F.conv2d(z * z, window) - mean**2 for z, mean in ((a, mean_a), (b, mean_b)))
    cov = F.conv2d(a * b, window) - mean_a * mean_b
    contrast = (2 * cov + 58.5225) / (var_a + var_b + 58.5225)
    contrast = contrast.relu() if cut else contrast
    light = (2 * mean_a * mean_b + 6.5025) / (mean_a**2 + mean_b**2 + 6.5025)
    return float((light * contrast).mean())


def test_every_reading_of_psnr_and_ssim_is_that_of_an_independent_implementation(folders):
    values = audit_folders(*folders, scale=3)
    assert len(values) == len(set(values)) > 1000
    alone = {"psnr": psnr, "ssim": ssim}
    for reading, value in values.items():
        expected = alone[reading.metric](folders, reading)
        assert value == pytest.approx(expected, abs=1e-9), reading


def test_the_choices_of_this_set_all_make_a_difference(folders):
    """Otherwise the test above would compare less than it says."""
    values = audit_folders(*folders, scale=3, metrics=["psnr"])
    for axis in ("sr", "crop", "border", "grey", "channel", "peak", "mean"):
        assert len({getattr(reading, axis) for reading in values}) > 1, axis
    assert len(set(values.values())) > 0.6 * len(values)


def test_every_reading_of_lpips_is_that_of_the_lpips_package(tmp_path):
    image = photograph(size=(49, 49))
    for name, content in {"hr": image, "sr": (noisy(image, 0) / 257).astype(np.uint8)}.items():
        (tmp_path / name).mkdir()
        Image.fromarray(content).save(tmp_path / name / "a.png")
    values = audit_folders(tmp_path / "sr", tmp_path / "hr", scale=4, metrics=["lpips"])
    # Cropped to a multiple of 28 nothing is left that AlexNet could pool.
    assert {(r.crop, r.border) for r in values} == {(1, 0), (4, 0), (4, 4)}
    assert len(values) == 3 * 2 * 2 * 2
    for reading, value in values.items():
        end = 49 - 49 % reading.crop - reading.border
        inside = slice(reading.border, end)
        given = []
        for name in ("sr", "hr"):
            pixels = np.array(Image.open(tmp_path / name / "a.png"))[inside, inside]
            if reading.order == "BGR":
                pixels = pixels[..., ::-1]
            unit = torch.from_numpy(pixels / 255).float().permute(2, 0, 1)[None]
            given.append(unit if reading.range == "[0, 1]" else 2 * unit - 1)
        with torch.no_grad():
            expected = lpips_oracle(reading.net)(*given).item()
        assert value == pytest.approx(expected, abs=2e-6), reading


def test_large_images_are_averaged_down_before_pooled_ssim(tmp_path):
    hr = photograph(size=(390, 400))
    sr = (noisy(hr, 0) / 257).astype(np.uint8)
    for name, content in {"hr": hr, "sr": sr}.items():
        (tmp_path / name).mkdir()
        Image.fromarray(content).save(tmp_path / name / "a.png")
    values = audit_folders(tmp_path / "sr", tmp_path / "hr", scale=2, metrics=["ssim"])
    by_choice = {r: v for r, v in values.items() if (r.crop, r.border, r.channel) == (2, 0, "RGB")}
    for window, cut in (("gaussian", False), ("cut", True)):
        [found] = [v for r, v in by_choice.items() if (r.window, r.pooled) == (window, "yes")]
        x, y = (
            F.avg_pool2d(torch.from_numpy(image.astype(float)).permute(2, 0, 1), 2).numpy()
            for image in (sr, hr)
        )
        each = [ssim_by_torch(a, b, cut=cut, mirrored=False) for a, b in zip(x, y, strict=True)]
        assert found == pytest.approx(np.mean(each), abs=1e-9)
        [whole] = [v for r, v in by_choice.items() if (r.window, r.pooled) == (window, "no")]
        assert math.fabs(whole - found) > 0.01
