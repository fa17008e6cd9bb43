"""Large images in tiles: the same sr where the overlap covers the network's radius."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from toys import SMALL_HAT, photograph

from tlw.config.config import Backbone
from tlw.imaging.ranges import to_tensor
from tlw.imaging.tiles import OVERLAP, TILE, check_tiles, in_tiles, spans, tile_of
from tlw.networks.sr_net import build_network, super_resolve


def enlarge(lr: torch.Tensor) -> torch.Tensor:
    return lr.repeat_interleave(2, 1).repeat_interleave(2, 2)


@given(st.integers(1, 60), st.integers(0, 9), st.integers(1, 8), st.integers(1, 300))
def test_tiles_fit_have_their_overlap_and_keep_every_pixel_once(kept, overlap, window, length):
    tile = 2 * (overlap + window) + window + kept
    parts = spans(length, tile, overlap, window)
    assert [i for _, part in parts for i in range(part.start, part.stop)] == list(range(length))
    for seen, part in parts:
        assert seen.start % window == 0 and seen.stop - seen.start <= tile
        assert seen.start == 0 or seen.start <= part.start - overlap
        assert seen.stop == length or seen.stop >= part.stop + overlap
    if window == 1:
        assert {seen.stop - seen.start for seen, _ in parts} == {min(tile, length)}


@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(1, 12),
    st.integers(0, 4),
    st.integers(1, 4),
)
def test_tiles_of_any_size_are_put_together_where_they_belong(size, kept, overlap, window):
    lr = torch.rand(3, *size)
    tile = 2 * (overlap + window) + window + kept
    sr = in_tiles(enlarge, lr, tile=tile, overlap=overlap, window=window)
    assert torch.equal(sr, enlarge(lr))


@given(st.tuples(st.integers(18, 40), st.integers(18, 40)), st.integers(0, 3))
def test_a_blur_is_the_same_when_the_overlap_covers_it_and_not_otherwise(size, overlap):
    lr = torch.rand(3, *size, dtype=torch.float64)
    kernel = torch.ones(3, 1, 5, 5, dtype=torch.float64)

    def blur(part: torch.Tensor) -> torch.Tensor:
        return F.conv2d(part[None], kernel, padding=2, groups=3)[0]

    tiled = in_tiles(blur, lr, tile=9, overlap=overlap)
    same = torch.allclose(tiled, blur(lr), rtol=0, atol=1e-12)
    assert same == (overlap >= 2)


def test_no_more_pixels_than_a_tile_has_are_run_at_once():
    seen = []

    def look(part: torch.Tensor) -> torch.Tensor:
        seen.append(part.shape[1:])
        return part

    in_tiles(look, torch.rand(3, 100, 130), tile=50, overlap=4)
    assert set(seen) == {(50, 50)} and len(seen) == 3 * 3
    seen.clear()
    in_tiles(look, torch.rand(3, 25, 100), tile=50, overlap=4)  # longer, not larger
    in_tiles(look, torch.rand(3, 100, 100), tile=0, overlap=4)
    assert seen == [(25, 100), (100, 100)]


@pytest.mark.parametrize(
    ("tile", "overlap", "window", "told"),
    [
        (72, 36, 1, "tiles of 73 lr pixels or more, .* overlaps of 36, .* found 72"),
        (83, 36, 7, "tiles of 84 lr pixels or more"),
        (-1, 0, 1, "tiles of 1 lr pixels or more, .* found -1"),
        (64, -1, 1, "overlap of 0 lr pixels or more, found -1"),
    ],
)
def test_tiles_that_keep_nothing_are_refused(tile, overlap, window, told):
    with pytest.raises(ValueError, match=told):
        check_tiles(tile, overlap, window)
    with pytest.raises(ValueError, match=told):
        in_tiles(enlarge, torch.rand(3, 8, 8), tile=tile, overlap=overlap, window=window)


@pytest.mark.parametrize("window", [1, 7])
def test_the_smallest_tiles_that_are_not_refused_keep_something(window):
    least = 72 + -72 % window + window
    check_tiles(least, 36, window)
    assert all(kept.start < kept.stop for _, kept in spans(300, least, 36, window))


def test_the_benchmarks_run_whole_by_default():
    """Largest images: Set14's barbara 720 x 576, BSDS100 481 x 321, Urban100 1024 x 1024, at x2."""
    for height, width in ((576, 720), (321, 481), (1024, 1024), (1170, 827)):
        assert tile_of(height // 2, width // 2, TILE) == 0


# --- the networks -----------------------------------------------------------------------------


def difference(entry: dict, *, scale: int, size: tuple[int, int], tile: int, overlap: int) -> float:
    """Of the tiled from the whole sr of a photograph, at most, by a network as it is drawn."""
    torch.manual_seed(0)
    net = build_network(Backbone(**entry), scale).eval()
    lr = to_tensor(photograph(size=size))
    whole = super_resolve(net, lr, tile=0)
    tiled = super_resolve(net, lr, tile=tile, overlap=overlap)
    assert tiled.shape == whole.shape == (3, scale * size[0], scale * size[1])
    return (tiled - whole).abs().max().item()


@pytest.mark.parametrize(
    ("path", "scale", "tile", "overlap"),
    [("vdsr", 2, 50, 8), ("vdsr", 3, 50, 6), ("vdsr", 4, 50, 5)]
    + [("edsr", scale, 76, OVERLAP) for scale in (2, 3, 4)],
)
def test_the_deep_networks_without_attention_are_the_same_in_tiles(path, scale, tile, overlap):
    entry = {"path": path, "arguments": {"features": 8}}  # as deep as by default
    options = {"size": (74, 90), "tile": tile, "overlap": overlap}
    assert difference(entry, scale=scale, **options) < 1e-4


@pytest.mark.parametrize(
    ("path", "scale", "radius"),
    [("vdsr", 2, 8), ("vdsr", 3, 6), ("vdsr", 4, 5)]
    + [("edsr", scale, OVERLAP) for scale in (2, 3, 4)],
)
def test_the_radius_is_what_the_module_says(path, scale, radius):
    """By the gradient of the middle lr pixel's sr, with weights under which none cancels."""
    net = build_network(Backbone(path=path, arguments={"features": 2}), scale).double()
    for parameter in net.parameters():
        torch.nn.init.constant_(parameter, 0.5 if parameter.ndim == 4 else 0.0)
    lr = torch.full((1, 3, 81, 3), 0.9, dtype=torch.float64, requires_grad=True)
    sr = net(lr)
    sr[:, :, scale * 40 : scale * 41].sum().backward()
    reached = lr.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
    assert (reached.min(), reached.max()) == (40 - radius, 40 + radius)


def test_windows_lie_in_a_tile_as_in_the_image():
    """HAT's channel attention, left out here, is all that its tiles change."""
    entry = SMALL_HAT | {"arguments": SMALL_HAT["arguments"] | {"depths": [2], "conv_scale": 0.0}}
    options = {"scale": 2, "size": (90, 110), "tile": 61, "overlap": 21}
    assert difference(entry, **options) < 1e-5

    torch.manual_seed(0)
    net = build_network(Backbone(**entry), 2).eval()
    lr = to_tensor(photograph(size=(90, 110)))
    with torch.no_grad():
        whole = net(lr[None])[0]
        elsewhere = in_tiles(lambda part: net(part[None])[0], lr, tile=61, overlap=21)
    assert (elsewhere - whole).abs().max() > 1e-3


@pytest.mark.parametrize(
    "entry",
    [
        SMALL_HAT,
        {"path": "rcan", "arguments": {"features": 4, "groups": 1, "blocks": 2, "reduction": 4}},
    ],
    ids=["hat", "rcan"],
)
def test_channel_attention_makes_tiles_near_but_not_the_same(entry):
    changed = difference(entry, scale=2, size=(120, 150), tile=100, overlap=OVERLAP)
    assert 0 < changed < 1e-2


class Greedy(torch.nn.Module):
    """A backbone that no memory is enough for."""

    def __init__(self, *, scale: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")


def test_a_gpu_out_of_memory_is_told_what_to_do():
    net = build_network(Backbone(path="test_tiles:Greedy"), 2)
    with pytest.raises(
        ValueError, match=r"12 x 10 lr pixels at once .* smaller tiles \(--tile\) than 512"
    ):
        super_resolve(net, torch.rand(3, 12, 10))
