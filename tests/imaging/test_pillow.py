"""What is asked of Pillow, and what it would do unasked: formats, frames, sizes, metadata."""

import io
import os
import random
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toys import environment

from tlw.imaging import png
from tlw.imaging.pillow import FORMATS, opened

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of odd tags
RGB = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)


def stored(form: str, image: np.ndarray = RGB, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, form, **options)
    return file.getvalue()


def pixels(content: bytes, **options) -> np.ndarray:
    file = opened("image", content, **options)
    return file.upright(np.array(file.image.convert("RGB")))


# --- metadata ---------------------------------------------------------------------------------

SHORT, ORIENTATION = 3, 0x0112
ODD_TAGS = {  # tag, type, count, four bytes of value or place
    "rational of a negative number": (0x011A, 10, 1, struct.pack("<i", 60)),
    "rational under a text tag": (0x010F, 5, 1, struct.pack("<i", 60)),
    "more than there is": (0x9286, 7, 2**31, bytes(4)),
    "a place outside": (0x8769, 4, 1, b"\xff\xff\xff\x7f"),
    "a folder that leads to itself": (0x8769, 4, 1, struct.pack("<I", 8)),
    "no type of EXIF's": (0x0100, 999, 1, bytes(4)),
}


def exif(*odd: tuple[int, int, int, bytes], orientation: int = 6, order: str = "<") -> bytes:
    """EXIF data with odd tags before and behind the orientation."""
    entries = [struct.pack(f"{order}HHI", *tag[:3]) + tag[3] for tag in odd]
    turned = struct.pack(f"{order}HHIHH", ORIENTATION, SHORT, 1, orientation, 0)
    entries.insert(len(entries) // 2 + 1, turned)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    end = bytes(4) + struct.pack("<ii", -1, 0) * 8
    return b"Exif\0\0" + head + struct.pack(f"{order}H", len(entries)) + b"".join(entries) + end


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("tag", ODD_TAGS.values(), ids=ODD_TAGS)
def test_an_image_is_turned_whatever_stands_beside_its_orientation(form, tag):
    plain = pixels(stored(form))
    for data in (exif(tag), exif(tag, tag), exif(tag, order=">"), b"Exif\0\0" + exif(tag)):
        np.testing.assert_array_equal(pixels(stored(form, exif=data)), np.rot90(plain, -1))


def test_three_thousand_random_tags_neither_stop_nor_turn_an_image_otherwise():
    rng, plain = random.Random(0), pixels(stored("JPEG"))
    known = [0x8769, 0x8825, 0xA005, 0x0100, 0x010F, 0x011A, 0x013B, 0x9286]
    for _ in range(3000):
        kind, count = rng.choice([*range(15), 2**15]), rng.choice([0, 1, 2, 5, 2**31, 2**32 - 1])
        number = rng.choice([rng.choice(known), rng.randrange(2**16)])
        tag = (number if number != ORIENTATION else 0, kind, count, rng.randbytes(4))
        read = pixels(stored("JPEG", exif=exif(tag)))
        np.testing.assert_array_equal(read, np.rot90(plain, -1))


@pytest.mark.parametrize("data", [b"", b"Exif\0\0", b"II*\0", b"MM\0*\xff\xff\xff\xff", bytes(40)])
@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_cannot_be_parsed_or_is_none_leaves_the_image_as_it_is(
    data, orientation
):
    plain = pixels(stored("PNG"))
    for odd in (data, exif(orientation=orientation)):
        np.testing.assert_array_equal(pixels(stored("PNG", exif=odd)), plain)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_is_turned_once(orientation):
    content = stored("TIFF", tiffinfo={ORIENTATION: orientation})
    as_jpeg = opened("image", stored("JPEG", exif=exif(orientation=orientation)))
    np.testing.assert_array_equal(pixels(content), as_jpeg.upright(RGB))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize(
    "long",
    [
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(3_000_000))),
        chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(3_000_000))),
        chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(3_000_000))),
        chunk(b"tEXt", b"Comment\0" + bytes(200_000)) * 400,
        chunk(b"tEXt", b"cut off")[:-4] + bytes(4),
    ],
    ids=["packed text", "international text", "profile", "80 MB of text", "wrong check sum"],
)
def test_a_png_with_any_amount_of_text_or_profile_is_read(long):
    content = png.with_chunks(stored("PNG"), long)
    np.testing.assert_array_equal(pixels(content), RGB)


# --- formats ----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [name for name in FORMATS if name not in ("JPEG", "GIF")])
def test_the_listed_formats_are_read(form):
    options = {"lossless": True} if form == "WEBP" else {}
    np.testing.assert_array_equal(pixels(stored(form, **options)), RGB)


@pytest.mark.parametrize("form", ["EPS", "SGI", "ICO", "TGA", "PCX", "DDS", "JPEG2000", "PDF"])
def test_other_formats_are_refused_by_name_whatever_the_suffix(form):
    content = stored(form)
    with pytest.raises(ValueError, match=r"^a\.png: expected an image file of PNG, ") as caught:
        opened("a.png", content)
    assert repr(content[:24]) in str(caught.value) and "BytesIO" not in str(caught.value)


def test_no_foreign_program_is_started_for_an_image(tmp_path):
    """Pillow alone would give PostScript to Ghostscript, here a script that leaves a file."""
    ghostscript, seen = tmp_path / "gs", tmp_path / "started"
    ghostscript.write_text(f"#!/bin/sh\necho 10 > {seen}\n")
    ghostscript.chmod(0o755)
    (tmp_path / "picture.png").write_bytes(stored("EPS"))
    read = {
        "PIL": "from PIL import Image; Image.open(sys.argv[1]).load()",
        "tlw": "from tlw.imaging.image_files import read_image; read_image(sys.argv[1])",
    }
    for name, program in read.items():
        seen.unlink(missing_ok=True)
        subprocess.run(
            [sys.executable, "-c", f"import sys; {program}", tmp_path / "picture.png"],
            env=environment(PATH=f"{tmp_path}:{os.environ['PATH']}"),
            stderr=subprocess.DEVNULL,
        )
        assert seen.exists() == (name == "PIL")


@pytest.mark.parametrize("form", FORMATS)
def test_a_damaged_file_is_read_or_told_by_name_and_nothing_else(form):
    rng, content = random.Random(0), stored(form, np.tile(RGB, (4, 4, 1)))
    told = 0
    for _ in range(200):
        damaged = bytearray(content)
        for _ in range(rng.randrange(1, 20)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        try:
            opened("damaged.image", bytes(damaged[: rng.randrange(len(damaged) + 1)]))
        except ValueError as error:
            assert str(error).startswith("damaged.image: expected ")
            assert "BytesIO" not in str(error)
            told += 1
    assert told > 20


@pytest.mark.parametrize(
    ("head", "sample", "eight_bits"),
    [
        (b"P6 2 2 255\n", b"\x01", True),
        (b"P6 2 2 15\n", b"\x01", True),
        (b"P6 2 2 256\n", b"\x00\x01", False),
        (b"P6 2 2 65535\n", b"\x00\x01", False),
        (b"P3 2 2 255\n", b"1 ", True),
        (b"P3 2 2 65535\n", b"1 ", False),
        (b"P5 2 2 65535\n", b"\x00\x01" * 3, False),
    ],
)
def test_a_ppm_of_more_than_8_bits_is_refused(head, sample, eight_bits):
    if eight_bits:
        assert opened("image.ppm", head + 12 * sample).image.size == (2, 2)
    else:
        with pytest.raises(ValueError, match=r"^image\.ppm: expected an image of 8 bits per chan"):
            opened("image.ppm", head + 12 * sample)


# --- frames and sizes -------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_pages_and_frames_are_counted_and_refused(form):
    others = [Image.fromarray(255 - RGB), Image.fromarray(RGB // 2)]
    content = stored(form, save_all=True, append_images=others)
    with pytest.raises(ValueError, match=r"^a\.x: expected one image, found 3 pages or frames"):
        opened("a.x", content)
    assert pixels(stored(form, save_all=True)).shape == RGB.shape  # one frame is an image


def test_of_a_jpeg_with_a_second_view_the_first_is_read():
    content = stored("MPO", save_all=True, append_images=[Image.fromarray(255 - RGB)])
    np.testing.assert_array_equal(pixels(content), pixels(stored("JPEG")))


def test_an_image_of_too_many_pixels_is_refused_with_the_way_to_have_it():
    packed = zlib.compressobj()
    lines = b"".join(packed.compress(bytes(2501)) for _ in range(9500)) + packed.flush()
    header = struct.pack(">IIBBBBB", 20_000, 9500, 1, 0, 0, 0, 0)
    kinds = chunk(b"IHDR", header) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")
    content = b"\x89PNG\r\n\x1a\n" + kinds
    assert len(content) < 40_000
    with pytest.raises(ValueError, match=r"^scan\.png: expected no more than 100,000,000") as found:
        opened("scan.png", content)
    assert "found 190,000,000 (9500 x 20000)" in str(found.value)
    assert str(found.value).endswith("--max-pixels 190000000")


@pytest.mark.filterwarnings("error")
def test_pillow_s_own_limit_neither_warns_nor_refuses_and_is_there_again_afterwards(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    contents = [stored(form) for form in FORMATS] * 20
    with ThreadPoolExecutor(4) as pool:
        assert all(image.shape == RGB.shape for image in pool.map(pixels, contents))
    with pytest.raises(ValueError, match="no more than 23 pixels, found 24"):
        opened("image", contents[0], max_pixels=23)
    assert Image.MAX_IMAGE_PIXELS == 10


def test_the_inputs_of_known_reports_are_read_or_told(shared):
    folder = shared / "bugs" / "reads"
    refused = {
        *("animated.gif", "animated.png", "animated.webp", "pages.tif"),
        *("cmyk.jpg", "lab.tif", "float_nan.tif", "grey16.pgm", "grey16.tif", "rgb16.ppm"),
        *("heif_named.jpg", "lfs.png", "grey16.jp2", "rgb16.sgi", "scan_190_megapixels.png"),
    }
    for path in sorted(Path(folder).iterdir()):
        if path.name in refused:
            with pytest.raises(ValueError, match=rf"^{path}: expected "):
                opened(path, path.read_bytes())
        elif path.name != "scan_99_megapixels.png":
            assert opened(path, path.read_bytes()).image.size
