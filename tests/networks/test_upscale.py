"""Image files enlarged: what is kept, what is refused, how much memory it takes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from png_files import write_image
from toys import SMALL_EDSR, SMALL_HAT, environment, photograph, toy_cell

from tlw.imaging.pictures import Picture, read_picture, write_picture
from tlw.imaging.ranges import to_tensor, to_uint8
from tlw.networks.sr_net import build_network, load_network, save_network
from tlw.networks.upscale import upscale, upscale_images

NEAREST = {"path": "test_upscale:Nearest"}
OURS = {"networks": [NEAREST["path"]]}


class Nearest(torch.nn.Module):
    """Repeats each pixel; colours 0.25 brighter in green, to see what becomes of grey."""

    def __init__(self, *, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.more = torch.nn.Parameter(torch.tensor([0.0, 0.5, 0.0]).view(1, 3, 1, 1))

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        up = torch.nn.functional.interpolate(lr, scale_factor=self.scale)
        return up + self.more


def weights(folder: Path, backbone: dict, *, scale: int = 2) -> Path:
    """A file of new weights, as of a trained cell."""
    cell = toy_cell(backbone=backbone, scale=scale)
    torch.manual_seed(0)
    path = folder / "weights.safetensors"
    save_network(path, build_network(cell.backbone, scale), cell)
    return path


def gradient(channels: int, dtype: type, size: tuple[int, int] = (12, 10)) -> np.ndarray:
    """Smooth, with as many levels as the bit depth has, up to 3/4 of the brightest."""
    steps = np.linspace(0, 0.75, size[0] * size[1] * channels).reshape(*size, channels)
    return np.round(steps * np.iinfo(dtype).max).astype(dtype)


# --- what is kept -----------------------------------------------------------------------------


def test_an_image_becomes_what_the_network_makes_of_it(tmp_path):
    file = weights(tmp_path, SMALL_EDSR, scale=4)
    write_image(tmp_path / "in" / "photo.png", np.ascontiguousarray(photograph(size=(20, 31))))
    upscale_images([tmp_path / "in" / "photo.png"], file, tmp_path / "out")
    with torch.no_grad():
        sr = load_network(file)[0](to_tensor(photograph(size=(20, 31)))[None])[0]
    with Image.open(tmp_path / "out" / "photo.png") as image:
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.array(image), to_uint8(sr))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_bits_grey_and_alpha_are_kept(tmp_path, channels, dtype):
    cell = toy_cell(backbone=NEAREST)
    net = build_network(cell.backbone, 2).eval()
    image = gradient(channels, dtype)
    up = upscale(net, Picture(image, b"chunks"), 2)
    assert up.samples.dtype == dtype and up.samples.shape == (24, 20, channels)
    assert up.colour == b"chunks"
    colours = channels - (channels in (2, 4))
    top = np.iinfo(dtype).max
    expected = image[..., :colours].repeat(2, 0).repeat(2, 1) / top
    # Green alone is brighter: of grey, a third of it
    expected += 0.25 / 3 if colours == 1 else np.array([0, 0.25, 0])
    found = up.samples[..., :colours].astype(float)
    assert abs(found - expected * top).max() <= 0.51
    if up.has_alpha:
        alpha = torch.from_numpy(image[..., -1].astype(np.float32))[None, None]
        bicubic = torch.nn.functional.interpolate(alpha, scale_factor=2, mode="bicubic")[0, 0]
        assert abs(up.samples[..., -1] - bicubic.clamp(0, top).numpy()).max() <= 0.51


@pytest.mark.parametrize("under", [(0, 0, 0), (255, 255, 255)], ids=["black", "white"])
def test_what_is_hidden_does_not_reach_the_edge_of_what_is_seen(under):
    """A disc of one colour, enlarged as if that colour went on under alpha 0."""
    y, x = np.mgrid[-12:12, -12:12]
    disc = x**2 + y**2 < 80
    colour, alpha = np.full((24, 24, 3), (200, 90, 40), np.uint8), disc * np.uint8(255)
    net = build_network(toy_cell(backbone={"path": "vdsr"}, scale=4).backbone, 4).eval()
    cutout = Picture(np.dstack([np.where(disc[..., None], colour, under), alpha]).astype(np.uint8))
    expected = upscale(net, Picture(colour), 4).samples
    made = upscale(net, cutout, 4).samples
    np.testing.assert_array_equal(made[..., :3], expected)
    assert (made[48, 48, 3], made[0, 0, 3]) == (255, 0)


def test_alpha_does_not_overshoot():
    net = build_network(toy_cell(backbone=NEAREST).backbone, 2).eval()
    image = np.zeros((8, 8, 4), np.uint8)
    image[:, 4:, 3] = 255
    alpha = upscale(net, Picture(image), 2).samples[..., 3]
    assert (alpha[:, :6] == 0).all() and (alpha[:, 10:] == 255).all()


def test_sixteen_bits_are_more_than_eight(tmp_path):
    """A file of 16 bits whose levels fall together in 8 bits."""
    file = weights(tmp_path, SMALL_EDSR)
    image = (20_000 + np.arange(300).reshape(10, 10, 3) // 3).astype(np.uint16)
    write_picture(tmp_path / "in" / "deep.png", Picture(image))
    upscale_images([tmp_path / "in"], file, tmp_path / "out")
    with torch.no_grad():
        lr = torch.from_numpy(image.astype(np.float32) / 65535).permute(2, 0, 1)
        sr = load_network(file)[0](lr[None])[0].clamp(0, 1).permute(1, 2, 0).numpy()
    made = read_picture(tmp_path / "out" / "deep.png").samples
    assert made.dtype == np.uint16 and len(np.unique(made)) > 20
    assert abs(made - sr * 65535.0).max() <= 0.51


@pytest.mark.parametrize("backbone", [SMALL_EDSR, SMALL_HAT], ids=["edsr", "hat"])
def test_any_size_works_whole_and_in_tiles(tmp_path, backbone, caplog):
    file = weights(tmp_path, backbone)
    sizes = {"dot": (1, 1), "line": (1, 40), "odd": (33, 47), "column": (50, 3)}
    for name, size in sizes.items():
        write_image(tmp_path / "in" / f"{name}.png", np.ascontiguousarray(photograph(size=size)))
    for folder, tile in {"whole": 0, "tiled": 28}.items():
        with caplog.at_level("INFO"):
            upscale_images([tmp_path / "in"], file, tmp_path / folder, tile=tile, overlap=8)
        for name, (height, width) in sizes.items():
            made = read_picture(tmp_path / folder / f"{name}.png").samples
            assert made.shape == (2 * height, 2 * width, 3)
    assert caplog.messages == [f"{tmp_path}/in/odd.png: 33 x 47 pixels, in tiles of 28"]
    pair = (read_picture(tmp_path / name / "odd.png").samples for name in ("whole", "tiled"))
    whole, tiled = (samples.astype(int) for samples in pair)
    assert abs(whole - tiled).max() <= 1


# --- which files ------------------------------------------------------------------------------


@pytest.fixture
def nearest(tmp_path) -> Path:
    return weights(tmp_path, NEAREST)


def test_files_and_folders_are_taken_and_what_was_there_is_replaced(tmp_path, nearest):
    small = Image.fromarray(np.ascontiguousarray(photograph(size=(6, 8))))
    photos, out = tmp_path / "photos", tmp_path / "out"
    (photos / "deeper").mkdir(parents=True)
    out.mkdir()
    for name in ("a.PNG", "b.jpg", ".hidden.png", "deeper/d.png"):
        small.save(photos / name)
    small.save(tmp_path / "c.gif")
    (photos / "notes.txt").write_text("no image")
    (out / "a.png").write_text("old")
    given = [tmp_path / "c.gif", photos, photos / "b.jpg"]  # one of them twice, a GIF by its name
    upscale_images(given, nearest, out, **OURS)
    assert {path.name for path in out.iterdir()} == {"a.png", "b.png", "c.png"}
    for path in out.iterdir():
        assert read_picture(path).samples.shape == (12, 16, 3)


def test_images_that_cannot_be_told_apart_or_found_are_refused_before_any_work(tmp_path, nearest):
    image = np.ascontiguousarray(photograph(size=(6, 8)))
    for name in ("one/a.png", "two/a.png", "two/b.png"):
        write_image(tmp_path / name, image)
    (tmp_path / "empty").mkdir()
    out, one, two = tmp_path / "out", tmp_path / "one", tmp_path / "two"
    wrong = {
        (two, one): rf"{two}/a\.png and {one}/a\.png would both be written to {out}/a\.png",
        (one, tmp_path / "absent.png"): r"absent\.png: expected an image or a folder of images",
        (one, tmp_path / "empty"): r"empty: expected images \(\.png, .*, found none",
    }
    for given, told in wrong.items():
        with pytest.raises(ValueError, match=told):
            upscale_images(given, tmp_path / "not read yet", out)
    before = (one / "a.png").read_bytes()
    (tmp_path / "link").symlink_to(one)
    for folder in (one, tmp_path / "two" / ".." / "one", tmp_path / "link"):
        with pytest.raises(ValueError, match=r"a\.png is one of the images to read"):
            upscale_images([one], nearest, folder, **OURS)
    with pytest.raises(ValueError, match="tiles of 73 lr pixels or more"):
        upscale_images([one], nearest, out, tile=50, **OURS)
    assert not out.exists() and (one / "a.png").read_bytes() == before


def test_unreadable_images_are_named_and_all_others_are_done(tmp_path, nearest):
    photos, out = tmp_path / "photos", tmp_path / "out"
    for name in ("a", "b", "c", "d"):
        write_image(photos / f"{name}.png", np.ascontiguousarray(photograph(size=(6, 8))))
    (photos / "b.png").write_bytes((photos / "b.png").read_bytes()[:50])
    (photos / "c.png").write_bytes(b"")
    with pytest.raises(ValueError) as caught:
        upscale_images([photos], nearest, out, **OURS)
    first, second, last = str(caught.value).splitlines()
    assert first.startswith(f"{photos}/b.png: expected an image file") and "cannot be read" in first
    assert second.startswith(f"{photos}/c.png: expected an image file") and "empty" in second
    assert last == f"2 of 4 images could not be enlarged; the others are in {out}"
    assert {path.name for path in out.iterdir()} == {"a.png", "d.png"}


def test_a_single_unreadable_image_is_told_in_one_line(tmp_path, nearest):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=rf"^{tmp_path}/a\.png: [^\n]*$"):
        upscale_images([tmp_path / "a.png"], nearest, tmp_path / "out", **OURS)


def test_what_systems_leave_beside_images_is_none_and_other_formats_are_counted(
    tmp_path, nearest, caplog
):
    photos = tmp_path / "photos"
    for name in ("a.png", "deeper/b.png"):
        write_image(photos / name, np.ascontiguousarray(photograph(size=(6, 8))))
    for name in ("._a.png", ".DS_Store", "Thumbs.db", "c.heic"):
        (photos / name).write_bytes(b"anything")
    upscale_images([photos], nearest, tmp_path / "out", **OURS)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]
    assert "2 of 4 entries are left out" in caplog.text and "c.heic, deeper" in caplog.text


@pytest.mark.parametrize("stem", ["x" * 251, "é" * 125, os.fsdecode(b"caf\xe9")])
def test_names_as_long_as_a_file_system_allows_and_in_any_encoding_are_written(
    tmp_path, nearest, stem
):
    image = Image.fromarray(np.ascontiguousarray(photograph(size=(6, 8))))
    (tmp_path / "in").mkdir()
    image.save(tmp_path / "in" / f"{stem}.bmp")
    upscale_images([tmp_path / "in"], nearest, tmp_path / "out", **OURS)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"{stem}.png"]


def test_an_image_of_too_many_pixels_is_told_with_the_option(tmp_path, nearest):
    write_image(tmp_path / "a.png", np.ascontiguousarray(photograph(size=(6, 8))))
    with pytest.raises(ValueError, match=r"a\.png: .*no more than 47 pixels.*--max-pixels 48"):
        upscale_images([tmp_path / "a.png"], nearest, tmp_path / "out", max_pixels=47, **OURS)


def test_a_network_that_gives_no_numbers_is_told_with_the_image(tmp_path):
    cell = toy_cell(backbone=NEAREST)
    net = build_network(cell.backbone, 2)
    net.net.more.data.fill_(float("nan"))
    save_network(tmp_path / "w.safetensors", net, cell)
    write_image(tmp_path / "a.png", np.ascontiguousarray(photograph(size=(6, 8))))
    with pytest.raises(ValueError, match=r"a\.png: expected an image with finite values"):
        upscale_images([tmp_path / "a.png"], tmp_path / "w.safetensors", tmp_path / "out", **OURS)


# --- memory -----------------------------------------------------------------------------------

SMALL_MEMORY = """
import resource, sys
from pathlib import Path
import torch
from tlw.cli import app
torch.ones(8, 3, 64, 64).repeat(2, 1, 1, 1)
with open("/proc/self/statm") as file:
    have = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (have + 200_000_000,) * 2)
try:
    app([*sys.argv[1:], "--tile", "0"], standalone_mode=False)
except ValueError as error:
    print(error)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_an_image_beyond_the_memory_is_told_with_what_to_change(tmp_path):
    """Whole, the maps of this network do not fit."""
    file = weights(tmp_path, {"path": "edsr", "arguments": {"features": 64, "blocks": 1}}, scale=4)
    write_image(tmp_path / "large.png", np.zeros((1200, 1200, 3), np.uint8))
    words = ["upscale", tmp_path / "large.png", "--weights", file, "-o", tmp_path / "out"]
    words += ["--overlap", "4", "--device", "cpu", "--threads", "1"]
    done = subprocess.run(
        [sys.executable, "-c", SMALL_MEMORY, *map(str, words)],
        **{"capture_output": True, "text": True, "env": environment()},
    )
    assert done.returncode == 0, done.stderr
    [whole] = done.stdout.splitlines()
    start = f"{tmp_path}/large.png: 1200 x 1200"
    assert whole.startswith(f"{start} lr pixels at once on cpu: too much for the memory (")
    assert whole.endswith("; take smaller tiles (--tile) than the whole image")
    assert not (tmp_path / "out" / "large.png").exists()


PEAK = """
import json, resource, sys, torch
from pathlib import Path
from tlw.networks.upscale import upscale_images
torch.set_num_threads(1)
image, weights, output = map(Path, sys.argv[1:4])
upscale_images([image], weights, output, tile=int(sys.argv[4]), overlap=4)
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
"""


@pytest.mark.slow
def test_tiles_bound_the_memory(tmp_path):
    """Whole, this network's maps at the sr's size would take 1 GB more for the larger image."""
    backbone = {"path": "edsr", "arguments": {"features": 32, "blocks": 1}}
    file = weights(tmp_path, backbone)
    peaks = {}
    for side in (256, 1000):
        image = np.tile(photograph(size=(500, 500)), (2, 2, 1))[:side, :side]
        write_image(tmp_path / f"{side}.png", np.ascontiguousarray(image))
        words = [tmp_path / f"{side}.png", file, tmp_path / "out", "256"]
        done = subprocess.run(
            [sys.executable, "-c", PEAK, *map(str, words)],
            **{"capture_output": True, "text": True, "env": environment()},
        )
        assert done.returncode == 0, done.stderr
        peaks[side] = json.loads(done.stdout)
        with Image.open(tmp_path / "out" / f"{side}.png") as made:
            assert made.size == (2 * side, 2 * side)
    assert peaks[1000] < 1.8 * peaks[256], peaks
