"""Image files with their bits, grey, alpha and colour profile."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from tlw.imaging import png
from tlw.imaging.pictures import (
    Picture,
    read_picture,
    with_colour_under_alpha,
    write_picture,
)

RANDOM = np.random.default_rng(0)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def samples(channels: int, dtype: type = np.uint8) -> np.ndarray:
    top = np.iinfo(dtype).max
    return RANDOM.integers(0, top, (6, 9, channels), dtype=dtype, endpoint=True)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("colour", [b"", png.profile_chunk(PROFILE)], ids=["plain", "profile"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_picture_comes_back_as_it_was(tmp_path, channels, dtype, colour):
    picture = Picture(samples(channels, dtype), colour)
    write_picture(tmp_path / "picture.png", picture)
    again = read_picture(tmp_path / "picture.png")
    assert again.samples.dtype == dtype and again.colour == colour
    assert again.has_alpha == (channels in (2, 4))
    np.testing.assert_array_equal(again.samples, picture.samples)
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]
    with Image.open(tmp_path / "picture.png") as seen:
        assert seen.info.get("icc_profile") == (PROFILE if colour else None)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_chunks_that_say_which_colours_are_meant_are_kept_and_others_not(tmp_path, dtype):
    kept = {
        b"cICP": bytes([9, 16, 0, 1]),
        b"gAMA": (100_000).to_bytes(4, "big"),
        b"cHRM": struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000),
    }
    dropped = {b"tEXt": b"Comment\0a", b"pHYs": bytes(9), b"tIME": bytes(7)}
    write_picture(tmp_path / "plain.png", Picture(samples(3, dtype)))
    content = (tmp_path / "plain.png").read_bytes()
    chunks = b"".join(chunk(kind, data) for kind, data in (kept | dropped).items())
    wrong = chunk(b"sRGB", b"\0")[:-1] + b"\0"  # by its check sum
    (tmp_path / "in.png").write_bytes(png.with_chunks(content, chunks + wrong))
    write_picture(tmp_path / "out.png", read_picture(tmp_path / "in.png"))
    made = (tmp_path / "out.png").read_bytes()
    assert all(made.count(chunk(kind, data)) == 1 for kind, data in kept.items())
    assert not any(kind in made for kind in (*dropped, b"sRGB"))
    with Image.open(tmp_path / "out.png") as seen:
        seen.load()
        assert seen.info["gamma"] == 1.0 and seen.info["chromaticity"][0] == 0.3127


@pytest.mark.parametrize("form", ["JPEG", "TIFF", "WEBP"])
def test_the_profile_of_another_format_becomes_a_chunk(tmp_path, form):
    Image.fromarray(samples(3)).save(tmp_path / "image", form, icc_profile=PROFILE)
    assert read_picture(tmp_path / "image").colour == png.profile_chunk(PROFILE)


@pytest.mark.parametrize("channels", [2, 4])
def test_colour_under_alpha_is_that_of_the_nearest_pixel_that_is_seen(channels):
    picture = Picture(samples(channels))
    picture.samples[..., -1] = RANDOM.choice([0, 0, 1, 255], picture.samples.shape[:2])
    alpha = picture.samples[..., -1]
    filled = with_colour_under_alpha(picture).samples
    seen = np.argwhere(alpha > 0)
    for place in np.ndindex(alpha.shape):
        distances = ((seen - place) ** 2).sum(1)
        nearest = seen[distances == distances.min()]
        assert filled[place].tolist() in [
            [*picture.samples[y, x, :-1], alpha[place]] for y, x in nearest
        ]


def test_a_picture_that_hides_nothing_or_all_is_left_as_it_is():
    for image in (samples(3), samples(1, np.uint16), np.dstack([samples(3), np.zeros((6, 9))])):
        picture = Picture(image.astype(np.uint8))
        assert with_colour_under_alpha(picture) is picture


def test_a_palette_becomes_rgb_and_its_transparency_alpha(tmp_path):
    indices = RANDOM.integers(0, 3, (8, 9), dtype=np.uint8)
    colours = np.array([[255, 0, 10], [3, 200, 90], [7, 8, 250]], dtype=np.uint8)
    image = Image.fromarray(indices)
    image.putpalette(colours.tobytes())
    image.save(tmp_path / "solid.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "solid.png").samples, colours[indices])
    image.save(tmp_path / "clear.png", transparency=bytes([0, 128, 255]))
    clear = read_picture(tmp_path / "clear.png").samples
    np.testing.assert_array_equal(clear[..., :3], colours[indices])
    np.testing.assert_array_equal(clear[..., 3], np.array([0, 128, 255])[indices])


def test_a_transparent_colour_becomes_alpha(tmp_path):
    rgb = samples(3)
    colour = tuple(int(level) for level in rgb[2, 3])
    Image.fromarray(rgb).save(tmp_path / "eight.png", transparency=colour)
    read = read_picture(tmp_path / "eight.png").samples
    assert read[2, 3, 3] == 0 and (read[..., 3] == 255).sum() == 6 * 9 - 1

    deep = samples(3, np.uint16)
    content = png.encode(deep)
    key = chunk(b"tRNS", deep[2, 3].astype(">u2").tobytes())
    (tmp_path / "deep.png").write_bytes(png.with_chunks(content, key))
    read = read_picture(tmp_path / "deep.png").samples
    np.testing.assert_array_equal(read[..., :3], deep)
    assert read[2, 3, 3] == 0 and (read[..., 3] == 65535).sum() == 6 * 9 - 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA"])
def test_grey_stays_grey(tmp_path, mode):
    image = Image.fromarray(samples(3)).convert(mode)
    image.save(tmp_path / "image.png")
    channels = {"1": 1, "L": 1, "LA": 2, "RGB": 3, "RGBA": 4}[mode]
    assert read_picture(tmp_path / "image.png").samples.shape == (6, 9, channels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_exif_orientation_is_applied_to_16_bits_as_pillow_does_it_to_8(tmp_path, orientation):
    eight = Image.fromarray(samples(3))
    exif = eight.getexif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    eight.save(file, format="PNG", exif=exif)
    expected = np.array(ImageOps.exif_transpose(Image.open(file)))
    (tmp_path / "eight.png").write_bytes(file.getvalue())
    np.testing.assert_array_equal(read_picture(tmp_path / "eight.png").samples, expected)

    start = file.getvalue().index(b"eXIf") - 4
    length = int.from_bytes(file.getvalue()[start : start + 4], "big")
    exif = file.getvalue()[start : start + 12 + length]
    content = png.encode(np.array(eight).astype(np.uint16) * 257)
    for name, place in {"before": content.index(b"IDAT") - 4, "after": -12}.items():
        path = tmp_path / f"{name}.png"
        path.write_bytes(content[:place] + exif + content[place:])
        np.testing.assert_array_equal(read_picture(path).samples, expected.astype(np.uint16) * 257)


def damaged(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_what_cannot_be_read_is_refused_by_name(tmp_path):
    content = png.encode(samples(3, np.uint16))
    for name, wrong in {
        "cut.png": content[: len(content) // 2],
        "text.png": b"no image",
        "empty.png": b"",
        "flipped.png": content[:60] + bytes([content[60] ^ 255]) + content[61:],
    }.items():
        with pytest.raises(ValueError, match=rf"{name}: .*cannot be read"):
            read_picture(damaged(tmp_path / name, wrong))
    with pytest.raises(ValueError, match=r"absent\.png: .*cannot be read"):
        read_picture(tmp_path / "absent.png")
    interlaced = bytearray(content)
    interlaced[28] = 1
    interlaced[29:33] = zlib.crc32(interlaced[12:29]).to_bytes(4, "big")
    with pytest.raises(ValueError, match=r"laced\.png: expected an image of 8 bits per channel"):
        read_picture(damaged(tmp_path / "laced.png", bytes(interlaced)))
    Image.fromarray(samples(3)).convert("CMYK").save(tmp_path / "ink.jpg")
    with pytest.raises(ValueError, match=r"ink\.jpg: .*found mode CMYK"):
        read_picture(tmp_path / "ink.jpg")
