"""The resizing against MATLAB's own images, a slow direct implementation, torch and Pillow."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tlw.imaging.resize import imresize

UNHURRIED = settings(deadline=None, max_examples=60)  # cores may be shared
SIZES = st.integers(1, 40)
BORDERS = st.sampled_from(["mirror", "replicate"])


def keys_kernel(x: float, a: float) -> float:
    x = abs(x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    if x < 2:
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return 0.0


def slow_resize(signal, size_out, scale, a, antialias, border):
    """One output sample at a time, by the definition, with whole-number loops only."""
    size = len(signal)
    stretch = min(scale, 1.0) if antialias else 1.0
    reach = math.ceil(2 / stretch) + 2
    result = []
    for i in range(size_out):
        centre = (i + 0.5) / scale - 0.5
        total = weighted = 0.0
        for j in range(math.floor(centre) - reach, math.floor(centre) + reach + 1):
            weight = keys_kernel((centre - j) * stretch, a)
            inside = j
            while not 0 <= inside < size:
                if border == "replicate":
                    inside = 0 if inside < 0 else size - 1
                else:
                    inside = -1 - inside if inside < 0 else 2 * size - 1 - inside
            total += weight
            weighted += weight * signal[inside]
        result.append(weighted / total)
    return np.array(result)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("image_set", ["Set5", "Set14"])
def test_matlabs_own_lr_images_come_out_with_no_differing_pixel(shared, image_set, scale):
    references = sorted((shared / "matlab_lr" / image_set / f"x{scale}").glob("*_HR.png"))
    assert len(references) == {"Set5": 5, "Set14": 14}[image_set]
    for path in references:
        hr = np.array(Image.open(path))
        expected = np.array(Image.open(path.with_name(path.name.replace("_HR", "_LR"))))
        found = imresize(hr, scale=1 / scale, mode="uint8", border="replicate")
        np.testing.assert_array_equal(found, expected, err_msg=path.name)


def test_a_mirrored_border_differs_from_the_older_matlab_near_borders_only(shared):
    folder = shared / "matlab_lr" / "Set5" / "x2"
    hr = np.array(Image.open(folder / "img_003_SRF_2_HR.png"))
    older = np.array(Image.open(folder / "img_003_SRF_2_LR.png"))
    newer = imresize(hr, scale=1 / 2, mode="uint8", border="mirror")
    assert 0.007 < (newer != older).any(axis=-1).mean() < 0.018  # 0.7 to 1.8 % of pixels
    np.testing.assert_array_equal(newer[2:-2, 2:-2], older[2:-2, 2:-2])


def cubic_matrix(size_in: int, size_out: int, **options) -> np.ndarray:
    """What takes `size_in` samples to `size_out`, (size_out, size_in), from unit vectors."""
    return imresize(np.eye(size_in), size=(size_out, size_in), **options)


@UNHURRIED
@given(SIZES, SIZES, st.sampled_from([-0.5, -0.75]), st.booleans(), BORDERS, st.integers(0, 99))
def test_the_matrix_equals_the_slow_definition(size_in, size_out, a, antialias, border, seed):
    signal = np.random.default_rng(seed).normal(size=size_in)
    expected = slow_resize(signal, size_out, size_out / size_in, a, antialias, border)
    matrix = cubic_matrix(size_in, size_out, a=a, antialias=antialias, border=border)
    np.testing.assert_allclose(matrix @ signal, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("scale", [1 / 3, 0.37, 2.5])
def test_a_scale_that_gives_no_whole_size_places_the_kernel_by_the_scale(scale):
    image = np.random.default_rng(0).normal(size=(10, 7))
    height, width = math.ceil(scale * 10), math.ceil(scale * 7)
    rows = np.stack([slow_resize(c, height, scale, -0.5, True, "mirror") for c in image.T], axis=1)
    expected = np.stack([slow_resize(r, width, scale, -0.5, True, "mirror") for r in rows])
    np.testing.assert_allclose(imresize(image, scale=scale), expected, rtol=0, atol=1e-12)


@UNHURRIED
@given(SIZES, SIZES, st.booleans(), BORDERS)
def test_rows_of_the_matrix_sum_to_one(size_in, size_out, antialias, border):
    matrix = cubic_matrix(size_in, size_out, antialias=antialias, border=border)
    assert matrix.dtype == np.float64 and matrix.shape == (size_out, size_in)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=0, atol=1e-13)


@UNHURRIED
@given(SIZES, SIZES, BORDERS)
def test_a_flipped_signal_gives_the_flipped_result(size_in, size_out, border):
    matrix = cubic_matrix(size_in, size_out, border=border)
    np.testing.assert_allclose(matrix[::-1, ::-1], matrix, rtol=0, atol=1e-14)


@UNHURRIED
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), BORDERS)
def test_a_constant_image_stays_constant(height, width, rows, columns, border):
    image = np.full((height, width, 3), 93, dtype=np.uint8)
    resized = imresize(image, size=(rows, columns), border=border)
    np.testing.assert_allclose(resized, np.full((rows, columns, 3), 93.0), rtol=1e-13)
    assert (imresize(image, size=(rows, columns), border=border, mode="uint8") == 93).all()


@UNHURRIED
@given(st.floats(-3, 3), st.integers(0, 99), st.sampled_from([1 / 3, 1 / 2, 2, 3]))
def test_resizing_is_linear(factor, seed, scale):
    first, second = np.random.default_rng(seed).normal(size=(2, 9, 12, 3))
    together = imresize(first + factor * second, scale=scale)
    apart = imresize(first, scale=scale) + factor * imresize(second, scale=scale)
    np.testing.assert_allclose(together, apart, rtol=0, atol=1e-12)


@UNHURRIED
@given(st.integers(0, 99), st.sampled_from([1 / 4, 1 / 3, 1 / 2, 2, 3]))
def test_flips_of_an_image_commute_with_resizing(seed, scale):
    image = np.random.default_rng(seed).random((12, 24, 3))
    resized = imresize(image, scale=scale)
    for axis in (0, 1):
        flipped = imresize(np.flip(image, axis), scale=scale)
        np.testing.assert_allclose(flipped, np.flip(resized, axis), rtol=0, atol=1e-14)


def test_the_same_size_is_the_identity():
    np.testing.assert_array_equal(cubic_matrix(7, 7), np.eye(7))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_without_antialiasing_it_is_torchs_bicubic(scale):
    image = np.random.default_rng(1).random((11, 13, 3))
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    for factor in (scale, 1 / scale):
        expected = torch.nn.functional.interpolate(
            tensor, size=[math.ceil(factor * 11), math.ceil(factor * 13)], mode="bicubic"
        )
        found = imresize(
            image, size=expected.shape[2:], a=-0.75, antialias=False, border="replicate"
        )
        np.testing.assert_allclose(found, expected[0].permute(1, 2, 0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_inside_the_border_it_is_pillows_bicubic(scale):
    plane = np.random.default_rng(2).random((24, 36)).astype(np.float32)
    size = (24 // scale, 36 // scale)
    expected = np.array(Image.fromarray(plane).resize(size[::-1], Image.Resampling.BICUBIC))
    found = imresize(plane, size=size)
    np.testing.assert_allclose(found[2:-2, 2:-2], expected[2:-2, 2:-2], rtol=0, atol=1e-6)


def test_thirds_of_whole_multiples_have_the_exact_size():
    strip = np.zeros((1, 3000), dtype=np.uint8)
    for size in range(3, 3000, 111):
        assert imresize(strip[:, :size], scale=1 / 3).shape == (1, size // 3)
        assert imresize(strip[:, : size + 1], scale=1 / 3).shape == (1, size // 3 + 1)


def test_a_third_as_float_fraction_or_size_is_the_same():
    image = np.random.default_rng(3).random((30, 60, 3))
    expected = imresize(image, size=(10, 20))
    np.testing.assert_array_equal(imresize(image, scale=1 / 3), expected)
    np.testing.assert_array_equal(imresize(image, scale=Fraction(1, 3)), expected)


def test_8_bits_are_rounded_and_clipped_after_each_dimension():
    image = np.random.default_rng(4).integers(0, 2, (12, 12, 3), dtype=np.uint8) * 255
    half = imresize(image, size=(6, 12))
    assert half.min() < 0 and half.max() > 255
    rounded = np.floor(half.clip(0, 255) + 0.5).astype(np.uint8)
    expected = np.floor(imresize(rounded, size=(6, 6)).clip(0, 255) + 0.5)
    found = imresize(image, scale=1 / 2, mode="uint8")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)
    once = np.floor(imresize(image, scale=1 / 2).clip(0, 255) + 0.5)
    assert (found != once).any()  # the order of rounding is seen


def test_the_dimension_that_shrinks_more_comes_first():
    image = np.random.default_rng(5).integers(0, 2, (12, 12, 3), dtype=np.uint8) * 255
    columns = imresize(image, size=(12, 3), mode="uint8")
    expected = imresize(columns, size=(6, 3), mode="uint8")
    np.testing.assert_array_equal(imresize(image, size=(6, 3), mode="uint8"), expected)


def test_wrong_arguments_are_refused():
    image = np.zeros((8, 8, 3))
    for options, message in [
        ({}, "either scale or size"),
        ({"scale": 2, "size": (4, 4)}, "either scale or size"),
        ({"scale": 2, "mode": "uint8"}, "wants a uint8 image"),
        ({"scale": 2, "mode": "int"}, "'float' or 'uint8'"),
        ({"scale": 2, "border": "wrap"}, "'mirror' or 'replicate'"),
        ({"size": (0, 4)}, "at least 1"),
        ({"scale": -1}, "at least 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            imresize(image, **options)
    with pytest.raises(ValueError, match=r"\(H, W, C\)"):
        imresize(image[0, 0], scale=2)
    with pytest.raises(ValueError, match="at least 1"):
        imresize(np.zeros((0, 0)), size=(4, 4))
