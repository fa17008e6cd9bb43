"""lr files, against MATLAB's own and against the pairs of `tlw pairs`."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from png_files import write_image
from toys import photograph, toy_pairs

from tlw.data.downscale import downscale_folder
from tlw.imaging.image_files import read_image
from tlw.imaging.pictures import Picture, write_picture


def pixels(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("benchmark", ["Set5", "Set14"])
def test_with_a_replicated_border_every_pixel_is_matlab_s(shared, benchmark, scale, tmp_path):
    folder = shared / "matlab_lr" / benchmark / f"x{scale}"
    (tmp_path / "hr").mkdir()
    for path in sorted(folder.glob("*_HR.png"))[:5]:
        (tmp_path / "hr" / path.name).symlink_to(path)
    downscale_folder(tmp_path / "hr", tmp_path / "lr", scale=scale, border="replicate")
    made = sorted((tmp_path / "lr").iterdir())
    assert len(made) == 5
    for path in made:
        matlab = folder / path.name.replace("_HR", "_LR")
        assert np.array_equal(read_image(path), read_image(matlab)), path.name


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_with_a_mirrored_border_lr_is_that_of_the_pairs(tmp_path, scale):
    images = [photograph(size=(61, 49)), photograph("coffee", size=(50, 83))]
    options = {"name": "mine", "use": "test", "protocol": "standard"}
    pairs = toy_pairs(tmp_path, images, scale=scale, **options)
    downscale_folder(tmp_path / "mine-images", tmp_path / "lr", scale=scale)
    with h5py.File(pairs) as file:
        for index in range(2):
            lr = file[f"lr/{index:04d}"][()]
            assert np.array_equal(pixels(tmp_path / "lr" / f"{index}.png"), lr)


def test_grey_stays_grey_and_alpha_is_left_out_with_a_word(tmp_path, caplog):
    image = photograph(size=(24, 20))
    (tmp_path / "hr").mkdir()
    Image.fromarray(image[..., 0]).save(tmp_path / "hr" / "grey.png")
    opaque = np.full((*image.shape[:2], 1), 99, np.uint8)
    Image.fromarray(np.concatenate([image, opaque], axis=2)).save(tmp_path / "hr" / "rgba.png")
    write_image(tmp_path / "hr" / "rgb.png", np.ascontiguousarray(image))
    downscale_folder(tmp_path / "hr", tmp_path / "lr", scale=4)
    grey, rgb, rgba = (pixels(tmp_path / "lr" / f"{name}.png") for name in ("grey", "rgb", "rgba"))
    assert grey.shape == (6, 5) and np.array_equal(grey, rgb[..., 0])
    assert np.array_equal(rgba, rgb)
    assert "rgba.png: its alpha is left out" in caplog.text


def refused(folder: Path, output: Path) -> str:
    with pytest.raises(ValueError) as told:
        downscale_folder(folder, output, scale=4)
    return str(told.value)


def test_what_cannot_be_shrunk_is_named(tmp_path):
    hr = tmp_path / "hr"
    hr.mkdir()
    assert f"{hr}: expected images (.png, " in refused(hr, tmp_path / "lr")
    assert "expected a folder" in refused(tmp_path / "none", tmp_path / "lr")
    write_image(hr / "a.png", np.ascontiguousarray(photograph(size=(3, 20))))
    assert refused(hr, tmp_path / "lr").startswith(f"{hr}/a.png: an image of 3 x 20 pixels")
    write_picture(hr / "a.png", Picture(np.zeros((8, 8, 3), np.uint16)))
    told = refused(hr, tmp_path / "lr")
    assert told.startswith(f"{hr}/a.png: expected 8 bits per channel, found 16")
    assert not list((tmp_path / "lr").glob("*"))


def test_no_image_is_written_over_another_one(tmp_path):
    image = np.ascontiguousarray(photograph(size=(8, 8)))
    write_image(tmp_path / "a.png", image)
    assert "the folder of hr" in refused(tmp_path, tmp_path)
    Image.fromarray(image).save(tmp_path / "a.bmp")
    told = refused(tmp_path, tmp_path / "lr")
    assert "a.bmp and " in told and f"would both be written to {tmp_path}/lr/a.png" in told
    assert not (tmp_path / "lr").exists()
