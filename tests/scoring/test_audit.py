"""Claims, and the readings that give them; what is refused."""

import math
import random

import numpy as np
import pytest
import torch
from PIL import Image
from png_files import write_image
from toys import photograph

from tlw.data.protocols import protocol
from tlw.scoring.audit import Claim, Values, audit_folders, matches, parse_claim
from tlw.scoring.readings import usual
from tlw.scoring.score import score_images


@pytest.fixture(scope="module")
def set5(set5_readings) -> Values:
    return set5_readings


def folder_of(folder, images) -> object:
    for name, image in images.items():
        write_image(folder / name, np.ascontiguousarray(image))
    return folder


def blurred(image: np.ndarray) -> np.ndarray:
    return (image // 2 + np.roll(image, 1, axis=1) // 2).astype(np.uint8)


def test_twenty_claims_out_of_the_readings_are_found_each_by_its_own_reading(set5):
    drawn = random.Random(0).sample(sorted(set5), 20)
    assert {reading.metric for reading in drawn} == {"psnr", "ssim"}
    for reading in drawn:
        for decimals in (2, 4):
            claim = parse_claim(f"{reading.metric}={set5[reading]:.{decimals}f}")
            fitting = [match for match in matches(claim, set5, 4) if match.fits]
            assert reading in [match.reading for match in fitting]
            for match in fitting:
                assert f"{match.value:.{decimals}f}" == str(claim)


# The same folder, as recorded from the tools themselves (see test_known_calls.py).
@pytest.mark.parametrize(
    ("claim", "first"),
    [
        ("psnr=28.81", {}),
        ("psnr=28.814", {"border": 0}),
        ("psnr=27.0702", {"border": 0, "channel": "RGB"}),
        ("psnr=26.991", {"border": 0, "channel": "RGB", "mean": "of pixels"}),
        ("ssim=0.8182", {}),
        ("ssim=0.7985", {"border": 0, "channel": "RGB", "window": "uniform"}),
        ("ssim=0.7804", {"border": 0, "channel": "RGB", "window": "mirrored"}),
        ("ssim=0.7979", {"border": 0, "channel": "RGB", "pooled": "yes"}),
    ],
)
def test_the_first_reading_of_a_tool_s_number_is_that_tool_s(set5, claim, first):
    claim = parse_claim(claim)
    found = matches(claim, set5, 4)[0]
    assert found.fits and found.reading == usual(claim.metric, 4)._replace(**first)


def test_a_number_that_no_reading_gives_has_the_nearest_first(set5):
    found = matches(parse_claim("psnr=31.00"), set5, 4)
    assert not any(match.fits for match in found)
    highest = max(value for reading, value in set5.items() if reading.metric == "psnr")
    assert found[0].value == highest
    away = [abs(match.value - 31) for match in found]
    assert away == sorted(away) and len(found) == sum(r.metric == "psnr" for r in set5)


def test_the_usual_readings_are_the_scores_of_protocol_standard(tmp_path):
    images = {"a.png": photograph(size=(61, 49)), "b.png": photograph("coffee", size=(48, 66))}
    hr = folder_of(tmp_path / "hr", images)
    sr = folder_of(tmp_path / "sr", {name: blurred(image) for name, image in images.items()})
    values = audit_folders(sr, hr, scale=3, metrics=["psnr", "ssim", "lpips"])
    scores = score_images(sr, hr, scale=3, protocol=protocol("standard"))
    found = [values[usual("psnr", 3)], values[usual("ssim", 3)]]
    found += [values[usual("lpips", 3, net)] for net in ("alex", "vgg")]
    expected = scores[["psnr_y", "ssim_y", "lpips_alex", "lpips_vgg"]].mean()
    # scores are taken of float32 images
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_equal_images_have_infinite_psnr(tmp_path):
    hr = folder_of(tmp_path / "hr", {"a.png": photograph(size=(48, 48))})
    values = audit_folders(hr, hr, scale=2)
    assert values[usual("psnr", 2)] == math.inf and values[usual("ssim", 2)] == 1
    assert not any(match.fits for match in matches(parse_claim("psnr=40"), values, 2))


def test_grey_files_have_two_readings_of_y_and_colour_files_one(tmp_path):
    grey = photograph(size=(40, 40))[..., 0]
    for name, image in (("hr", grey), ("sr", blurred(grey))):
        (tmp_path / name).mkdir()
        Image.fromarray(image).save(tmp_path / name / "a.png")
    values = audit_folders(tmp_path / "sr", tmp_path / "hr", scale=2, metrics=["psnr"])
    as_rgb = usual("psnr", 2)
    apart = values[as_rgb] - values[as_rgb._replace(grey="as stored")]
    assert apart == pytest.approx(20 * math.log10(255 / 219), abs=1e-9)  # Y of grey is narrower
    colour = folder_of(tmp_path / "colour", {"a.png": np.stack([grey] * 3, axis=-1)})
    found = audit_folders(tmp_path / "sr", colour, scale=2, metrics=["psnr"])
    assert {reading.grey for reading in found} == {"as RGB"}
    assert found[as_rgb] == values[as_rgb]


def test_alpha_is_left_out_with_one_word_about_it(tmp_path, caplog):
    image = photograph(size=(40, 40))
    hr = folder_of(tmp_path / "hr", {"a.png": image})
    (tmp_path / "sr").mkdir()
    alpha = np.full((40, 40, 1), 7, np.uint8)
    Image.fromarray(np.concatenate([image, alpha], axis=2)).save(tmp_path / "sr" / "a.png")
    values = audit_folders(tmp_path / "sr", hr, scale=2)
    assert values[usual("psnr", 2)] == math.inf
    assert caplog.text.count("sr/a.png: its alpha is dropped") == 1


# --- claims -----------------------------------------------------------------------------------


def test_a_claim_has_as_many_decimals_as_it_is_printed_with():
    assert parse_claim("psnr=27.40") == Claim("psnr", 27.4, 2)
    assert parse_claim(" LPIPS = 0.2855 ") == Claim("lpips", 0.2855, 4)
    assert str(parse_claim("psnr=27.40")) == "27.40" and parse_claim("psnr=27").decimals == 0


@pytest.mark.parametrize(
    "words", ["psnr", "psnr=", "psnr=high", "psnr=27,40", "27.40", "mse=1.0", "psnr=nan", "psnr=-1"]
)
def test_a_claim_that_is_no_number_of_a_metric_is_told(words):
    with pytest.raises(ValueError, match=r"expected psnr, ssim or lpips, = and the number") as told:
        parse_claim(words)
    assert repr(words) in str(told.value)


# --- refusals ---------------------------------------------------------------------------------


def test_sr_of_a_size_that_no_crop_gives_is_named_with_those_that_would_do(tmp_path):
    hr = folder_of(tmp_path / "hr", {"a.png": photograph(size=(61, 49))})
    sr = folder_of(tmp_path / "sr", {"a.png": photograph(size=(57, 45))})
    with pytest.raises(ValueError) as told:
        audit_folders(sr, hr, scale=4)
    assert str(told.value).startswith(f"{sr}/a.png and {hr}/a.png: expected sr of hr's size")
    assert "(61 x 49, 60 x 48, 56 x 28), found 57 x 45" in str(told.value)


def test_images_without_a_counterpart_are_named(tmp_path):
    image = photograph(size=(32, 32))
    hr = folder_of(tmp_path / "hr", {"a.png": image, "b.png": image})
    sr = folder_of(tmp_path / "sr", {"a.png": image})
    with pytest.raises(ValueError, match="has no image b"):
        audit_folders(sr, hr, scale=2)


def test_images_too_small_for_a_metric_are_told(tmp_path):
    hr = folder_of(tmp_path / "hr", {"a.png": photograph(size=(14, 40))})
    with pytest.raises(ValueError, match=r"expected images of which 11 x 11 pixels .* side of 14"):
        audit_folders(hr, hr, scale=2)
    values = audit_folders(hr, hr, scale=2, metrics=["psnr"])
    assert {reading.crop for reading in values} == {1, 2, 12} - {1}


def test_no_random_numbers_are_drawn(tmp_path):
    hr = folder_of(tmp_path / "hr", {"a.png": photograph(size=(40, 40))})
    before = torch.get_rng_state()
    audit_folders(hr, hr, scale=2)
    assert torch.equal(torch.get_rng_state(), before)
