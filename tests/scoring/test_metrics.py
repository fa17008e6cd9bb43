"""PSNR and SSIM against scikit-image and a direct implementation."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from tlw.data.protocols import protocol
from tlw.imaging.image_files import read_image
from tlw.imaging.ranges import luma, to_tensor
from tlw.scoring.metrics import psnr_y, ssim_y

UNHURRIED = settings(deadline=None)  # cores may be shared


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    hr = torch.rand(2, 3, 24, 31, generator=generator)
    noise = 0.1 * torch.randn(hr.shape, generator=generator)
    return (hr + noise).clamp(0, 1), hr


def slow_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """The mean over all 11x11 windows inside the image, one window at a time."""
    distance = np.arange(-5, 6) ** 2
    window = np.exp(-(distance[:, None] + distance) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for i in range(x.shape[0] - 10):
        for j in range(x.shape[1] - 10):
            a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
            mean_a, mean_b = (window * a).sum(), (window * b).sum()
            var_a = (window * (a - mean_a) ** 2).sum()
            var_b = (window * (b - mean_b) ** 2).sum()
            cov = (window * (a - mean_a) * (b - mean_b)).sum()
            values.append(
                (2 * mean_a * mean_b + c1)
                * (2 * cov + c2)
                / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
            )
    return float(np.mean(values))


@pytest.mark.parametrize("border", [0, 4])
def test_psnr_agrees_with_scikit_image(pair, border):
    inside = slice(border, -border or None)
    expected = [
        peak_signal_noise_ratio(
            *(rgb2ycbcr(i.permute(1, 2, 0).double().numpy())[inside, inside, 0] for i in (hr, sr)),
            data_range=255,
        )
        for sr, hr in zip(*pair, strict=True)
    ]
    found = psnr_y(*pair, border=border)
    assert found.dtype == torch.float64 and found.shape == (2,)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("metric", [psnr_y, ssim_y])
def test_grey_is_measured_by_its_level_and_not_by_luma_of_a_smaller_range(pair, metric):
    sr, hr = (images[:, :1].expand(-1, 3, -1, -1) for images in pair)
    found = metric(sr, hr, border=2, grey=True)
    inside = [images[:, 0, 2:-2, 2:-2].double().numpy() for images in (sr, hr)]
    for value, a, b in zip(found, *inside, strict=True):
        expected = (
            peak_signal_noise_ratio(b, a, data_range=1)
            if metric is psnr_y
            else slow_ssim(255 * a, 255 * b)
        )
        assert value.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("border", [0, 3])
def test_ssim_agrees_with_one_window_at_a_time(pair, border):
    inside = slice(border, -border or None)
    lumas = [luma(images.double())[:, inside, inside].numpy() for images in pair]
    expected = [slow_ssim(x, y) for x, y in zip(*lumas, strict=True)]
    found = ssim_y(*pair, border=border)
    assert found.dtype == torch.float64 and found.shape == (2,)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@UNHURRIED
@given(st.integers(1, 255))
def test_psnr_of_a_uniform_difference_is_known(levels):
    hr = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    found = psnr_y(hr + levels / 255, hr).item()
    assert found == pytest.approx(20 * math.log10(255 / (levels * 219 / 255)), abs=1e-9)


def test_equal_images_have_infinite_psnr_and_ssim_one(pair):
    _, hr = pair
    assert psnr_y(hr, hr).tolist() == [math.inf] * 2
    np.testing.assert_allclose(ssim_y(hr, hr), 1, rtol=0, atol=1e-12)


@pytest.mark.parametrize("metric", [psnr_y, ssim_y])
def test_each_image_of_a_batch_is_measured_by_itself(pair, metric):
    sr, hr = pair
    alone = [metric(sr[i : i + 1], hr[i : i + 1]).item() for i in range(2)]
    assert metric(sr, hr).tolist() == alone


@pytest.mark.parametrize("metric", [psnr_y, ssim_y])
def test_what_lies_in_the_border_does_not_count(pair, metric):
    sr, hr = pair
    spoiled = sr.clone()
    spoiled[..., :3], spoiled[..., -3:, :] = 0, 1
    assert metric(spoiled, hr, border=3).tolist() == metric(sr, hr, border=3).tolist()
    assert metric(spoiled, hr, border=2).tolist() != metric(sr, hr, border=2).tolist()


@pytest.mark.parametrize("metric", [psnr_y, ssim_y])
def test_mismatched_shapes_are_refused_and_not_cropped(pair, metric):
    sr, hr = pair
    for other in (sr[..., 1:], sr[:1], sr[0], sr[:, :1]):
        with pytest.raises(ValueError, match="one shape"):
            metric(other, hr)
    with pytest.raises(ValueError, match="one shape"):
        metric(sr[0], hr[0])


@pytest.mark.parametrize("metric", [psnr_y, ssim_y])
@pytest.mark.parametrize("wrong", [-1e-3, 1.001, 255.0, math.nan, math.inf])
def test_values_outside_the_unit_range_are_refused(pair, metric, wrong):
    sr, hr = pair
    spoiled = sr.clone()
    spoiled[1, 2, 10, 10] = wrong
    with pytest.raises(ValueError, match=r"expected sr in \[0, 1\]"):
        metric(spoiled, hr)
    with pytest.raises(ValueError, match=r"expected hr in \[0, 1\]"):
        metric(sr, spoiled)


def test_borders_that_leave_nothing_are_refused(pair):
    with pytest.raises(ValueError, match="border of 12"):
        psnr_y(*pair, border=12)
    with pytest.raises(ValueError, match="border of -1"):
        psnr_y(*pair, border=-1)
    with pytest.raises(ValueError, match="at least 11 x 11"):
        ssim_y(*pair, border=7)


# Bicubic on Set5 as Kim, Lee and Lee report it (VDSR, CVPR 2016); what is rounded moves the fourth
# digit: luma in 8 bits gives 0.9293, 0.8678 and 0.8102 here.
@pytest.mark.parametrize(("scale", "published"), [(2, 0.9299), (3, 0.8682), (4, 0.8104)])
def test_bicubic_ssim_on_set5_is_near_the_published_one(shared, scale, published):
    standard = protocol("standard")
    values = []
    for path in sorted((shared / "datasets" / "Set5").iterdir()):
        image = read_image(path)
        height, width = (side - side % scale for side in image.shape[:2])
        lr = to_tensor(standard.downsample(image[:height, :width], scale))[None]
        sr = standard.finish(standard.upsample_bicubic(lr, scale))
        hr = to_tensor(image[:height, :width])[None]
        values.append(ssim_y(sr, hr, border=scale).item())
    assert np.mean(values) == pytest.approx(published, abs=1e-3)


@pytest.mark.parametrize("size", [(11, 11), (12, 30), (64, 47)])
def test_ssim_equals_scikit_image_s_with_wang_s_settings(size):
    generator = torch.Generator().manual_seed(0)
    hr = torch.rand(2, 3, *size, generator=generator)
    sr = (hr + 0.1 * torch.randn(hr.shape, generator=generator)).clamp(0, 1)
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = [
        structural_similarity(x.numpy(), y.numpy(), data_range=255, **wang)
        for x, y in zip(luma(sr.double()), luma(hr.double()), strict=True)
    ]
    np.testing.assert_allclose(ssim_y(sr, hr).numpy(), expected, rtol=0, atol=1e-10)
