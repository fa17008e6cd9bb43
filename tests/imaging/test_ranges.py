"""The one image convention: conversions there and back."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.color import rgb2ycbcr

from tlw.imaging.ranges import (
    crop_to_multiple,
    from_signed,
    luma,
    round_to_8_bits,
    swap_channels,
    to_signed,
    to_tensor,
    to_uint8,
)

UNHURRIED = settings(deadline=None)  # cores may be shared


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize(("multiple", "shape"), [(1, (20, 30)), (12, (12, 24)), (20, (20, 20))])
def test_a_crop_is_the_top_left_multiple(rgb, multiple, shape):
    cropped = crop_to_multiple(rgb, multiple)
    assert cropped.shape == (*shape, 3)
    np.testing.assert_array_equal(cropped, rgb[: shape[0], : shape[1]])


def test_an_image_smaller_than_the_multiple_is_refused_with_both_sizes(rgb):
    with pytest.raises(ValueError, match=r"20 x 30 pixels.*multiple of 21"):
        crop_to_multiple(rgb, 21)


@UNHURRIED
@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2).map(lambda s: (*s, 3))))
def test_8_bits_survive_the_way_to_a_tensor_and_back(image):
    tensor = to_tensor(image)
    assert tensor.dtype == torch.float32 and tensor.shape == (3, *image.shape[:2])
    np.testing.assert_array_equal(to_uint8(tensor), image)
    torch.testing.assert_close(round_to_8_bits(tensor), tensor, rtol=0, atol=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_float_image_keeps_its_values_even_where_it_overshoots(dtype):
    image = np.array([[[-0.05, 0.5, 1.1]]], dtype=dtype)
    torch.testing.assert_close(
        to_tensor(image), torch.tensor([[[-0.05]], [[0.5]], [[1.1]]]), rtol=0, atol=1e-7
    )


@pytest.mark.parametrize("array", [np.zeros((4, 4)), np.zeros((4, 4, 3), dtype=np.int64)])
def test_other_shapes_and_types_are_no_images(array):
    with pytest.raises(ValueError, match="expected an image"):
        to_tensor(array)


def test_rounding_clamps_and_rounds_halves_up():
    levels = torch.tensor([-20.0, 0.49, 0.5, 1.5, 2.5, 254.4999, 254.5, 300.0])
    expected = [0, 0, 1, 2, 3, 254, 255, 255]
    image = (levels.double() / 255).expand(3, 1, -1)
    assert round_to_8_bits(image)[0, 0].mul(255).round().int().tolist() == expected
    assert to_uint8(image)[0, :, 0].tolist() == expected


def test_values_that_are_not_finite_do_not_become_an_image():
    with pytest.raises(ValueError, match="nan"):
        to_uint8(torch.full((3, 2, 2), float("nan")))
    with pytest.raises(ValueError, match=r"\(3, H, W\)"):
        to_uint8(torch.zeros(1, 3, 2, 2))


@UNHURRIED
@given(st.floats(0, 1, width=32))
def test_signed_values_go_there_and_back(value):
    unit = torch.tensor(value)
    assert -1 <= to_signed(unit) <= 1
    torch.testing.assert_close(from_signed(to_signed(unit)), unit, rtol=0, atol=1e-7)


def test_the_signed_range_ends_at_minus_one_and_one():
    assert to_signed(torch.tensor([0.0, 0.5, 1.0])).tolist() == [-1, 0, 1]


def test_swapping_channels_turns_rgb_into_bgr():
    image = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    torch.testing.assert_close(swap_channels(image)[:, 0], image[:, 2])
    torch.testing.assert_close(swap_channels(image[0]), image[0, [2, 1, 0]])
    torch.testing.assert_close(swap_channels(swap_channels(image)), image)


def test_luma_of_black_white_and_primaries_is_that_of_bt601():
    colours = torch.tensor([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]).double()
    expected = torch.tensor([16, 235, 81.481, 144.553, 40.966]).double()
    found = luma(colours[:, :, None, None])
    assert found.shape == (5, 1, 1)
    torch.testing.assert_close(found.flatten(), expected)


def test_luma_agrees_with_scikit_image(rgb):
    found = luma(to_tensor(rgb)[None].double())[0].numpy()
    np.testing.assert_allclose(found, rgb2ycbcr(rgb)[..., 0], atol=1e-4)
