"""Large images in overlapping tiles, so that what a network needs of memory stays bounded.

Of each tile only the inner part is kept, without blending. Where the overlap is no less than the
network's radius, the lr pixels on either side that an sr pixel depends on, the sr is the same but
for rounding. At the networks' default size the radius is

- VDSR: 2 for the bicubic kernel, (layers + 2) / scale for the convolutions: 8, 6, 5 at x2, x3, x4;
- EDSR: 2 blocks + 2 for the body and 2 for what comes after: 36, which is the default overlap.

Channel attention (RCAN, HAT) takes its means over the tile instead of the image, so there the sr is
only near, whatever the overlap. How near depends on weights and image. Seen on a photograph of
300 x 295, tiles of 126: RCAN, trained a little, 83 dB between whole and tiled, and 56 dB as drawn
and full size (200 x 195); HAT, whose attention counts little beside its windows, 141 and 125 dB.
That needs tiles that begin at whole windows: HAT at the next best pixel falls to 42 and 45 dB.
"""

from collections.abc import Callable
from itertools import pairwise, product
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # for the command's help, which does without torch
    from torch import Tensor

# Side of a tile, and overlap, in lr pixels. 512 leaves the benchmarks whole: their largest images
# have 1024 x 1024 hr pixels (Urban100; Manga109 comes next), which are 512 x 512 at x2.
TILE = 512
OVERLAP = 36
# An image file of more pixels is read only on demand: some kilobytes can unpack to gigabytes.
MAX_PIXELS = 100_000_000


class Span(NamedTuple):
    """A tile along one axis, in lr pixels: what the network sees, and what is kept of it."""

    seen: slice
    kept: slice


def check_tiles(tile: int, overlap: int, window: int = 1) -> None:
    """Raises ValueError for tiles of which nothing would be left between their overlaps."""
    if overlap < 0:
        raise ValueError(f"expected an overlap of 0 lr pixels or more, found {overlap}")
    least = _up(2 * overlap, window) + window
    if tile != 0 and tile < least:
        raise ValueError(
            f"expected tiles of {least} lr pixels or more, to keep something between overlaps of "
            f"{overlap}, or 0 for no tiles, found {tile}"
        )


def tile_of(height: int, width: int, tile: int) -> int:
    """The side of the tiles that an lr image is cut into; 0 if it is run whole.

    It is whole where `tile` is 0, or no less than the image by the number of pixels.
    """
    return tile if height * width > tile**2 else 0


def in_tiles(
    upscale: "Callable[[Tensor], Tensor]",
    lr: "Tensor",
    *,
    tile: int = TILE,
    overlap: int = OVERLAP,
    window: int = 1,
) -> "Tensor":
    """sr (3, sH, sW) of lr (3, H, W), by tiles where lr has more than tile x tile pixels.

    Args:
        upscale: from lr to sr, of any size and on the same device.
        tile: side in lr pixels, overlaps included; 0 for the whole image.
        overlap: what each tile sees beyond the part that is kept, in lr pixels. It is less at the
            image's own edges only.
        window: tiles begin at multiples of this, so that a network on windows has the same windows
            in a tile as in the image.

    Raises:
        ValueError: for tiles of which nothing would be left between their overlaps.
    """
    check_tiles(tile, overlap, window)
    height, width = lr.shape[-2:]
    if not tile_of(height, width, tile):
        return upscale(lr)
    sr = None
    rows, columns = (spans(length, tile, overlap, window) for length in (height, width))
    for row, column in product(rows, columns):
        part = upscale(lr[:, row.seen, column.seen])
        if sr is None:
            scale = part.shape[-1] // (column.seen.stop - column.seen.start)
            sr = part.new_empty(len(part), scale * height, scale * width)
        inner = part[:, _inside(row, scale), _inside(column, scale)]
        sr[:, _times(row.kept, scale), _times(column.kept, scale)] = inner
    assert sr is not None  # an image has one tile or more
    return sr


def spans(length: int, tile: int, overlap: int, window: int = 1) -> list[Span]:
    """The tiles along an axis of `length`: all of one size, but for the last one with a window.

    The last is moved back inside the image. Two neighbours meet in the middle of what both see.
    """
    tile -= tile % window
    if length <= tile:
        return [Span(slice(0, length), slice(0, length))]
    step = tile - _up(2 * overlap, window)
    last = _up(length - tile, window)
    starts = [*range(0, last, step), last]
    cuts = [0, *((before + tile + after) // 2 for before, after in pairwise(starts)), length]
    seen = (slice(start, min(start + tile, length)) for start in starts)
    return [
        Span(*pair) for pair in zip(seen, (slice(*ends) for ends in pairwise(cuts)), strict=True)
    ]


def _inside(span: Span, scale: int) -> slice:
    start = span.seen.start
    return _times(slice(span.kept.start - start, span.kept.stop - start), scale)


def _times(part: slice, scale: int) -> slice:
    return slice(scale * part.start, scale * part.stop)


def _up(length: int, multiple: int) -> int:
    return length + -length % multiple
