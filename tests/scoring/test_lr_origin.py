"""Which bicubic made lr: MATLAB's own images, and lr made here by each library itself."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from png_files import write_image
from toys import photograph

from tlw.imaging.resize import imresize
from tlw.scoring.lr_origin import ORIGINS, makers, origins_of

SIZES = {"a": (97, 74), "b": (72, 85)}


def pillow(hr: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.array(Image.fromarray(hr).resize(size[::-1], Image.Resampling.BICUBIC))


def by_torch(hr: np.ndarray, size: tuple[int, int], *, antialias: bool = False) -> np.ndarray:
    images = torch.from_numpy(hr.astype(np.float32)).permute(2, 0, 1)[None]
    made = F.interpolate(images, size=size, mode="bicubic", antialias=antialias)
    return made[0].clamp(0, 255).round().byte().permute(1, 2, 0).numpy()


def matlab_new(hr: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return imresize(hr, size=size, mode="uint8")


def made_by(how, folder: Path, *, scale: int = 3, multiple: int | None = None) -> tuple[Path, Path]:
    """lr, made by a function of hr and size, and hr as it was before it was cropped."""
    for name, size in SIZES.items():
        hr = photograph("coffee", size=size)
        write_image(folder / "hr" / f"{name}.png", np.ascontiguousarray(hr))
        height, width = (side - side % (multiple or scale) for side in size)
        cropped = np.ascontiguousarray(hr[:height, :width])
        write_image(folder / "lr" / f"{name}.png", how(cropped, (height // scale, width // scale)))
    return folder / "lr", folder / "hr"


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_matlab_s_own_images_are_matlab_s_with_a_replicated_border(shared, scale):
    folder = shared / "matlab_lr" / "Set5" / f"x{scale}"  # lr and hr side by side
    found = origins_of(folder, folder, suffix="_LR", hr_suffix="_HR")
    assert [one.origin for one in makers(found.likenesses)] == ["matlab-old"]
    first, second = found.likenesses[:2]
    assert (first.equal, first.largest, first.images, found.images) == (1, 0, 5, 5)
    assert second.origin == "matlab-new" and 0.98 < second.equal < 0.995
    assert found.scale == scale


@pytest.mark.parametrize(
    ("how", "names"),
    [
        (pillow, {"pillow"}),
        (matlab_new, {"matlab-new"}),
        (lambda hr, size: by_torch(hr, size, antialias=True), {"torch-antialias"}),
        (by_torch, {"torch", "opencv"}),
    ],
    ids=["pillow", "matlab-new", "torch-antialias", "torch"],
)
def test_lr_made_by_a_library_is_told_to_be_its(how, names, tmp_path):
    found = origins_of(*made_by(how, tmp_path, scale=4))
    assert {one.origin for one in makers(found.likenesses)} <= names
    assert makers(found.likenesses)
    assert found.likenesses[0].origin in names and found.likenesses[0].equal > 0.99


def test_pictures_shrunk_by_others_means_have_no_maker(tmp_path):
    def lanczos(hr: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        return np.array(Image.fromarray(hr).resize(size[::-1], Image.Resampling.LANCZOS))

    found = origins_of(*made_by(lanczos, tmp_path))
    assert makers(found.likenesses) == [] and len(found.likenesses) == len(ORIGINS)
    shares = [one.equal for one in found.likenesses]
    assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize("multiple", [3, 12])
def test_hr_may_be_larger_than_what_was_shrunk(tmp_path, multiple):
    found = origins_of(*made_by(matlab_new, tmp_path, multiple=multiple), scale=3)
    assert makers(found.likenesses)[0].origin == "matlab-new" and found.scale == 3


# Pixels of OpenCV 5.0.0's resize(..., INTER_CUBIC) of a 12 x 12 ramp by 1/4, computed by it on
# float32 and rounded half up; `hr[y, x, c] = (37 y + 101 x + 53 c) mod 256`.
OPENCV = [
    [[155, 132, 107], [71, 181, 155], [105, 96, 69]],
    [[71, 181, 155], [105, 96, 69], [153, 142, 103]],
    [[105, 96, 69], [153, 142, 103], [173, 44, 151]],
]


def test_opencv_s_convention_gives_the_pixels_that_opencv_gave():
    y, x, c = np.mgrid[:12, :12, :3]
    hr = ((37 * y + 101 * x + 53 * c) % 256).astype(np.uint8)
    found = ORIGINS["opencv"].shrink(hr, (3, 3))
    assert found.tolist() == OPENCV


# --- refusals ---------------------------------------------------------------------------------


def test_sizes_that_do_not_fit_are_named(tmp_path):
    lr, hr = made_by(matlab_new, tmp_path)
    write_image(lr / "b.png", photograph(size=(20, 28)))
    with pytest.raises(ValueError) as told:
        origins_of(lr, hr)
    assert str(told.value).startswith(f"{lr}/b.png and {hr}/b.png: expected lr of which 3 times")
    assert "found lr 20 x 28 and hr 72 x 85" in str(told.value)
    with pytest.raises(ValueError, match="expected lr smaller than hr by 2 or more"):
        origins_of(hr, hr)


def test_images_without_a_counterpart_are_named(tmp_path):
    lr, hr = made_by(matlab_new, tmp_path)
    (lr / "a.png").unlink()
    with pytest.raises(ValueError, match="has no image a"):
        origins_of(lr, hr)
