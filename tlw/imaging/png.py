"""What Pillow leaves open in PNG: 16 bits per channel, chunks of any size, and those about colour.

Pillow reads only 8 bits of 16 in colour, writes 16 in grey only, refuses a file whose text or
profile is long, and drops most of what says which colours are meant. 16 bits are read and written
here without palette and interlacing.
Source: W3C, Portable Network Graphics (PNG) Specification, sections 5 (chunks), 9 (filters) and 11
(kinds of chunks).
"""

import struct
import zlib
from collections.abc import Iterator

import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">IIBBBBB")  # width, height, depth, colour type, compression, filter, lace
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by channels
_CHANNELS = {colour: channels for channels, colour in _COLOUR_TYPES.items()}
_UP = 2  # a filter
# Chunks that the pixels cannot do without: palette, transparency, frames, and the orientation.
_PIXELS = (
    *(b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"),
    *(b"acTL", b"fcTL", b"fdAT", b"eXIf"),
)
_COLOUR = (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"mDCV", b"cLLI")
_HEAD = len(_SIGNATURE) + 25  # bytes to the end of the first chunk, which is IHDR


def is_png(content: bytes) -> bool:
    """Whether a file's content begins as that of a PNG does."""
    return content.startswith(_SIGNATURE)


def pixels_alone(content: bytes) -> bytes:
    """A PNG without text, profile and other chunks that change no pixel, however long they are."""
    kept = (content[place] for kind, place in _chunks(content) if kind in _PIXELS)
    return _SIGNATURE + b"".join(kept)


def colour_chunks(content: bytes) -> bytes:
    """The chunks of a PNG, as they stand there, that say which colours its numbers mean.

    These are cICP, iCCP, sRGB, gAMA, cHRM, mDCV and cLLI. One with a wrong check sum is left out.
    """
    kept = (content[place] for kind, place in _chunks(content) if kind in _COLOUR)
    return b"".join(chunk for chunk in kept if chunk == _chunk(chunk[4:8], chunk[8:-4]))


def profile_chunk(profile: bytes | None) -> bytes:
    """An ICC profile as a chunk, as in `colour_chunks`; nothing for none."""
    return _chunk(b"iCCP", b"icc\0\0" + zlib.compress(profile)) if profile else b""


def with_chunks(content: bytes, chunks: bytes) -> bytes:
    """A PNG with `chunks` put in behind its header."""
    return content[:_HEAD] + chunks + content[_HEAD:]


def is_16_bit(content: bytes) -> bool:
    """Whether a file's content is a PNG that `decode` can read."""
    if not is_png(content) or content[12:16] != b"IHDR" or len(content) < _HEAD:
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
        data = (content[place][8:-4] for kind, place in _chunks(content) if kind == b"IDAT")
        raw = zlib.decompressobj().decompress(b"".join(data), expected)
    except zlib.error as error:
        raise ValueError(f"its pixels are damaged: {error}") from None
    if len(raw) != expected:
        raise ValueError(f"its pixels are cut off: expected {expected} bytes, found {len(raw)}")
    lines = np.frombuffer(raw, np.uint8).reshape(height, 1 + width * pixel)
    filters, coded = lines[:, 0], lines[:, 1:].reshape(height, width, pixel)
    if filters.max() > 4:
        raise ValueError(f"its pixels are damaged: no filter has the number {filters.max()}")
    return _unfiltered(filters, coded).view(">u2").astype(np.uint16)


def encode(samples: np.ndarray) -> bytes:
    """A PNG of an image uint16 (H, W, C), C as for `decode`."""
    height, width, channels = samples.shape
    lines = samples.astype(">u2").view(np.uint8).reshape(height, -1)
    filtered = np.full((height, 1 + lines.shape[1]), _UP, np.uint8)
    filtered[:, 1:] = lines
    filtered[1:, 1:] -= lines[:-1]
    header = _HEADER.pack(width, height, 16, _COLOUR_TYPES[channels], 0, 0, 0)
    return (
        _SIGNATURE
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(filtered.data))
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _chunks(content: bytes) -> Iterator[tuple[bytes, slice]]:
    """Kind and place, from length to check sum, of each chunk; the last may be cut off."""
    place = len(_SIGNATURE)
    while place + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        yield kind, slice(place, place + 12 + length)
        place += 12 + length


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
