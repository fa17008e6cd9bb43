"""PNG of 16 bits per channel, of which Pillow reads only 8 bits in colour, and writes grey only.

The pixels alone: no palette, no interlacing, and neither check sums nor metadata when reading.
Source: W3C, Portable Network Graphics (PNG) Specification, sections 9 (filters) and 11 (chunks).
"""

import struct
import zlib

import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">IIBBBBB")  # width, height, depth, colour type, compression, filter, lace
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by channels
_CHANNELS = {colour: channels for channels, colour in _COLOUR_TYPES.items()}
_UP = 2  # a filter


def is_16_bit(content: bytes) -> bool:
    """Whether a file's content is a PNG that `decode` can read."""
    if content[:8] != _SIGNATURE or content[12:16] != b"IHDR" or len(content) < 33:
        return False
    *_, depth, colour, _, _, interlaced = _HEADER.unpack_from(content, 16)
    return depth == 16 and colour in _CHANNELS and not interlaced


def decode(content: bytes) -> np.ndarray:
    """uint16 (H, W, C), of C channels: 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.

    Raises ValueError when pixels are missing or damaged.
    """
    width, height, _, colour, *_ = _HEADER.unpack_from(content, 16)
    pixel = 2 * _CHANNELS[colour]
    expected = height * (1 + width * pixel)
    try:
        # No more than expected, whatever the file would unpack to.
        raw = zlib.decompressobj().decompress(b"".join(_pixel_data(content)), expected)
    except zlib.error as error:
        raise ValueError(f"its pixels are damaged: {error}") from None
    if len(raw) != expected:
        raise ValueError(f"its pixels are cut off: expected {expected} bytes, found {len(raw)}")
    lines = np.frombuffer(raw, np.uint8).reshape(height, 1 + width * pixel)
    filters, coded = lines[:, 0], lines[:, 1:].reshape(height, width, pixel)
    if filters.max() > 4:
        raise ValueError(f"its pixels are damaged: no filter has the number {filters.max()}")
    return _unfiltered(filters, coded).view(">u2").astype(np.uint16)


def encode(samples: np.ndarray, profile: bytes | None = None) -> bytes:
    """A PNG of an image uint16 (H, W, C), C as for `decode`, with its ICC colour profile if any."""
    height, width, channels = samples.shape
    lines = samples.astype(">u2").view(np.uint8).reshape(height, -1)
    filtered = np.full((height, 1 + lines.shape[1]), _UP, np.uint8)
    filtered[:, 1:] = lines
    filtered[1:, 1:] -= lines[:-1]
    header = _HEADER.pack(width, height, 16, _COLOUR_TYPES[channels], 0, 0, 0)
    return (
        _SIGNATURE
        + _chunk(b"IHDR", header)
        + (_chunk(b"iCCP", b"icc\0\0" + zlib.compress(profile)) if profile else b"")
        + _chunk(b"IDAT", zlib.compress(filtered.data))
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _pixel_data(content: bytes) -> list[bytes]:
    parts, place = [], len(_SIGNATURE)
    while place + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        if kind == b"IDAT":
            parts.append(content[place + 8 : place + 8 + length])
        place += 12 + length
    return parts


def _unfiltered(filters: np.ndarray, coded: np.ndarray) -> np.ndarray:
    """The bytes uint8 (H, W, pixel) of filtered ones, by the number of each line's filter.

    A byte is coded as its difference from a guess out of the pixels left, above, and above left of
    it. So all pixels of an anti-diagonal can be decoded at once, after the diagonals before.
    """
    height, width, pixel = coded.shape
    # Above the first line and left of the first column lie zeros.
    done = np.zeros((height + 1, width + 1, pixel), np.int16)
    for diagonal in range(height + width - 1):
        y = np.arange(max(0, diagonal - width + 1), min(height, diagonal + 1))
        x = diagonal - y
        left, above, corner = done[y + 1, x], done[y, x + 1], done[y, x]
        guesses = (0 * left, left, above, (left + above) >> 1, _paeth(left, above, corner))
        done[y + 1, x + 1] = coded[y, x] + np.choose(filters[y, None], guesses) & 255
    return done[1:, 1:].astype(np.uint8)


def _paeth(left: np.ndarray, above: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """Of three neighbours the one nearest to left + above - corner; the first of equals."""
    linear = left + above - corner
    to_left, to_above, to_corner = (abs(linear - near) for near in (left, above, corner))
    upright = np.where(to_above <= to_corner, above, corner)
    return np.where((to_left <= to_above) & (to_left <= to_corner), left, upright)
