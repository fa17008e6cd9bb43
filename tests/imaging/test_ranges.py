"""Reading, writing and converting images."""

import os
import signal
import struct
import time
import zlib
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from skimage.color import rgb2ycbcr

from tlw.imaging.image_files import read_image, write_image
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
from tlw.runtime.files import written_aside

UNHURRIED = settings(deadline=None)  # cores may be shared


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def sixteen_bit_png(width: int, height: int, colour_type: int, channels: int) -> bytes:
    """A PNG of 16 bits per channel, which Pillow reads but cannot write in RGB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    lines = (b"\0" + bytes(range(width * channels * 2))) * height
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp"])
def test_lossless_files_are_read_as_they_were_written(tmp_path, rgb, suffix):
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(rgb).save(path, **({"lossless": True} if suffix == "webp" else {}))
    read = read_image(path)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, rgb)


def test_a_grey_image_becomes_rgb_with_equal_channels(tmp_path, rgb):
    Image.fromarray(rgb[..., 0]).save(tmp_path / "grey.png")
    read = read_image(tmp_path / "grey.png")
    np.testing.assert_array_equal(read, np.stack([rgb[..., 0]] * 3, axis=-1))


def test_the_grey_images_of_set14_become_rgb(shared):
    for name in ("bridge", "man"):
        image = read_image(shared / "datasets" / "Set14" / f"{name}.bmp")
        assert image.shape == (512, 512, 3)
        assert (image[..., 0] == image[..., 1]).all() and (image[..., 0] == image[..., 2]).all()


def test_alpha_is_dropped_and_not_blended(tmp_path, rgb):
    alpha = np.random.default_rng(1).integers(0, 256, rgb.shape[:2], dtype=np.uint8)
    Image.fromarray(np.dstack([rgb, alpha])).save(tmp_path / "alpha.png")
    np.testing.assert_array_equal(read_image(tmp_path / "alpha.png"), rgb)


@pytest.mark.parametrize("transparency", [None, 1])
def test_a_palette_is_looked_up(tmp_path, transparency):
    indices = np.random.default_rng(2).integers(0, 3, (8, 9), dtype=np.uint8)
    colours = np.array([[255, 0, 10], [3, 200, 90], [7, 8, 250]], dtype=np.uint8)
    image = Image.fromarray(indices)
    image.putpalette(colours.tobytes())
    options = {} if transparency is None else {"transparency": transparency}
    image.save(tmp_path / "palette.png", **options)
    np.testing.assert_array_equal(read_image(tmp_path / "palette.png"), colours[indices])


def test_a_black_and_white_image_becomes_0_and_255(tmp_path):
    bits = np.random.default_rng(3).random((8, 9)) > 0.5
    Image.fromarray(bits).save(tmp_path / "bits.png")
    expected = np.stack([bits * np.uint8(255)] * 3, axis=-1)
    np.testing.assert_array_equal(read_image(tmp_path / "bits.png"), expected)


def test_an_exif_orientation_is_applied(tmp_path, rgb):
    image = Image.fromarray(rgb)
    exif = image.getexif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to display
    image.save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png"), np.rot90(rgb, -1))


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_per_channel_are_refused_by_name(tmp_path, colour_type, channels):
    path = tmp_path / "deep.png"
    path.write_bytes(sixteen_bit_png(6, 5, colour_type, channels))
    with pytest.raises(ValueError, match=r"deep\.png.*8 bits per channel"):
        read_image(path)


def test_cmyk_is_refused_by_name(tmp_path):
    Image.new("CMYK", (8, 8)).save(tmp_path / "print.jpg")
    with pytest.raises(ValueError, match=r"print\.jpg.*CMYK"):
        read_image(tmp_path / "print.jpg")


@pytest.mark.parametrize("suffix", ["png", "bmp", "jpg"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95])
def test_a_truncated_image_is_refused_by_name(tmp_path, rgb, suffix, share):
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(np.tile(rgb, (4, 4, 1))).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match=rf"cut\.{suffix}.*cannot be read"):
        read_image(path)


def test_text_folders_and_missing_files_are_refused_by_name(tmp_path):
    (tmp_path / "notes.png").write_text("not an image")
    for name in ("notes.png", "missing.png", "."):
        with pytest.raises(ValueError, match="cannot be read"):
            read_image(tmp_path / name)


def test_an_image_is_written_whole_and_read_back(tmp_path, rgb):
    path = tmp_path / "deeper" / "image.png"
    write_image(path, rgb)
    np.testing.assert_array_equal(read_image(path), rgb)
    assert [p.name for p in path.parent.iterdir()] == ["image.png"]


def test_only_uint8_rgb_is_written_and_only_as_png(tmp_path, rgb):
    with pytest.raises(ValueError, match=r"image\.png.*float64"):
        write_image(tmp_path / "image.png", rgb / 255)
    with pytest.raises(ValueError, match=r"uint8 \(H, W, 3\)"):
        write_image(tmp_path / "image.png", rgb[..., 0])
    with pytest.raises(ValueError, match=r"image\.jpg.*PNG"):
        write_image(tmp_path / "image.jpg", rgb)
    assert not list(tmp_path.iterdir())


def test_an_error_leaves_the_old_file_and_nothing_aside(tmp_path):
    target = tmp_path / "value.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), written_aside(target) as aside:
        aside.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def half_written(target):
    with written_aside(target) as aside:
        aside.write_text("half")
        time.sleep(60)


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    target = tmp_path / "value.txt"
    target.write_text("old")
    writer = get_context("fork").Process(target=half_written, args=(target,))
    writer.start()
    while not list(tmp_path.glob(".*.part")):
        time.sleep(0.01)
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    assert target.read_text() == "old"
    with written_aside(target) as aside:
        aside.write_text("new")
    assert target.read_text() == "new"


def test_a_target_that_cannot_be_replaced_gives_an_error_with_its_name(tmp_path):
    target = tmp_path / "taken"
    (target / "by a folder").mkdir(parents=True)
    with (
        pytest.raises(OSError, match="taken: could not be written"),
        written_aside(target) as aside,
    ):
        aside.write_text("new")
    assert list(tmp_path.iterdir()) == [target]


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
