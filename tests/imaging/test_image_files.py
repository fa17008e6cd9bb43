"""Image files: which of a folder are images, and how they are read."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from png_files import write_image

from tlw.imaging.image_files import (
    SUFFIXES,
    check_names,
    folder_name,
    image_files,
    read_image,
)


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


# --- which files of a folder ------------------------------------------------------------------


def folder_with(folder: Path, *names: str | bytes) -> Path:
    for name in names:
        path = folder / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def test_what_systems_leave_in_folders_is_no_image_and_not_worth_a_word(tmp_path, caplog):
    left = ("._a.png", ".DS_Store", "Thumbs.db", "desktop.ini", ".hidden.png", "manifest.tsv")
    folder = folder_with(tmp_path, "b.PNG", "a.png", *left)
    (tmp_path / ".thumbnails").mkdir()
    assert [path.name for path in image_files(folder)] == ["a.png", "b.PNG"]
    assert not caplog.records


def test_every_listed_format_is_an_image_by_its_suffix(tmp_path):
    folder = folder_with(tmp_path, *(f"{suffix[1:]}{suffix}" for suffix in SUFFIXES))
    assert len(image_files(folder)) == len(SUFFIXES)
    assert {".png", ".webp", ".gif", ".ppm", ".jpeg"} <= set(SUFFIXES)


def test_what_else_is_left_out_is_counted_and_named(tmp_path, caplog):
    others = ("a.heic", "deeper/b.png", "pages.pdf", "thumbs.png/c.png")
    folder = folder_with(tmp_path, "a.png", *others)
    (folder / "gone.png").symlink_to(tmp_path / "nowhere")
    assert [path.name for path in image_files(folder)] == ["a.png"]
    [message] = caplog.messages
    assert message.startswith(f"{tmp_path}: 5 of 6 entries are left out, being no image files")
    assert message.endswith("): a.heic, deeper, gone.png, pages.pdf, thumbs.png")


def test_a_folder_without_images_and_one_that_is_not_there_are_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"expected images \(\.png, .*\), found none"):
        image_files(folder_with(tmp_path / "empty", ".DS_Store"))
    for name in ("absent", "file"):
        with pytest.raises(ValueError, match=rf"{name}: expected a folder of images"):
            image_files(tmp_path / name)


def test_names_that_are_no_utf_8_are_told_and_can_be_printed(tmp_path):
    check_names([tmp_path / "café.png", tmp_path / "猫.png"])
    names = [Path(os.fsdecode(name)) for name in (b"caf\xe9.png", b"\xff", b"a.png")]
    with pytest.raises(ValueError, match=r"expected names in UTF-8, found 2 in another") as caught:
        check_names(names)
    assert r"caf\udce9.png" in str(caught.value).encode().decode()


def test_alpha_is_said_to_be_dropped_where_it_hides_something(tmp_path, rgb, caplog):
    for name, alpha in {"solid": 255, "clear": 254}.items():
        image = np.dstack([rgb, np.full(rgb.shape[:2], alpha, np.uint8)])
        Image.fromarray(image).save(tmp_path / f"{name}.png")
        read_image(tmp_path / f"{name}.png")
    [message] = caplog.messages
    assert (
        message == f"{tmp_path}/clear.png: its alpha is dropped, and the colours under it are taken"
    )


def test_a_limit_of_pixels_is_the_caller_s(tmp_path, rgb):
    write_image(tmp_path / "a.png", rgb)
    with pytest.raises(ValueError, match=r"a\.png: .*no more than 599 pixels, found 600 \(20 x 30"):
        read_image(tmp_path / "a.png", max_pixels=599)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", max_pixels=600), rgb)


def test_a_folder_has_a_name_however_it_is_reached(tmp_path, monkeypatch):
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "link").symlink_to(inner)
    monkeypatch.chdir(inner)
    words = (".", "..", str(inner), f"{inner}/", "../inner/.", str(tmp_path / "link"))
    found = [folder_name(Path(word)) for word in words]
    assert found == ["inner", "outer", "inner", "inner", "inner", "link"]
