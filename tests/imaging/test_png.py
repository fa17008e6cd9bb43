"""PNG of 16 bits per channel, against files of another encoder and Pillow's look at them."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tlw.imaging import png


def samples(height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.integers(0, 65536, (height, width, channels), dtype=np.uint16)


def filtered(image: np.ndarray, filters: list[int]) -> bytes:
    """A PNG's lines, byte by byte as the specification puts it, with a filter for each line."""
    height, _, channels = image.shape
    pixel = 2 * channels
    lines = [bytes(image[y].astype(">u2").tobytes()) for y in range(height)]
    coded = bytearray()
    for y, (line, number) in enumerate(zip(lines, filters, strict=True)):
        coded.append(number)
        for x, byte in enumerate(line):
            a = line[x - pixel] if x >= pixel else 0
            b = lines[y - 1][x] if y else 0
            c = lines[y - 1][x - pixel] if y and x >= pixel else 0
            nearest = min((a, b, c), key=lambda value: abs(a + b - c - value))
            coded.append((byte - (0, a, b, (a + b) // 2, nearest)[number]) % 256)
    return bytes(coded)


def png_file(image: np.ndarray, lines: bytes, *, interlaced: int = 0, parts: int = 1) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width, channels = image.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, interlaced)
    data = zlib.compress(lines)
    size = -(-len(data) // parts)
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + b"".join(chunk(b"IDAT", piece) for piece in pieces)
        + chunk(b"IEND", b"")
    )


@given(
    st.integers(1, 9), st.integers(1, 4), st.lists(st.integers(0, 4), min_size=1, max_size=9),
    st.integers(1, 4),
)  # fmt: skip
def test_every_filter_is_undone(width, channels, filters, parts):
    image = samples(len(filters), width, channels)
    content = png_file(image, filtered(image, filters), parts=parts)
    assert png.is_16_bit(content)
    np.testing.assert_array_equal(png.decode(content), image)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_what_is_written_is_read_the_same_and_pillow_sees_its_high_bytes(channels):
    image = samples(7, 5, channels)
    content = png.encode(image)
    np.testing.assert_array_equal(png.decode(content), image)
    with Image.open(io.BytesIO(content)) as opened:
        seen = np.atleast_3d(np.array(opened))
    if channels == 1:
        np.testing.assert_array_equal(seen, image)
    else:
        shown = image if channels > 2 else image[..., [0, 0, 0, 1]]
        np.testing.assert_array_equal(seen, shown >> 8)


def test_other_files_are_not_its_business():
    image = samples(3, 4, 3)
    content = png_file(image, filtered(image, [0, 0, 0]))
    assert not png.is_16_bit(png_file(image, b"", interlaced=1))
    assert not png.is_16_bit(b"\xff\xd8" + content)
    assert not png.is_16_bit(content[:20])
    eight = io.BytesIO()
    Image.fromarray(np.zeros((3, 4, 3), np.uint8)).save(eight, format="PNG")
    assert not png.is_16_bit(eight.getvalue())


def test_damaged_pixels_are_refused():
    image = samples(3, 4, 3)
    lines = filtered(image, [0, 1, 4])
    with pytest.raises(ValueError, match="cut off: expected 75 bytes, found 70"):
        png.decode(png_file(image, lines[:-5]))
    with pytest.raises(ValueError, match="no filter has the number 9"):
        png.decode(png_file(image, b"\x09" + lines[1:]))
    content = png_file(image, lines)
    start = content.index(b"IDAT") + 4
    with pytest.raises(ValueError, match="pixels are damaged"):
        png.decode(content[:start] + bytes(10) + content[start + 10 :])


def test_no_more_is_unpacked_than_the_image_has():
    image = samples(3, 4, 3)
    lines = filtered(image, [2, 3, 4])
    bomb = png_file(image, lines + bytes(20_000_000))
    assert len(bomb) < 40_000
    np.testing.assert_array_equal(png.decode(bomb), image)
