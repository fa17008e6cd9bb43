"""Scores of images from a folder, against those of the same images made by `tlw evaluate`."""

import logging
import os
import re
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from png_files import write_image
from toys import photograph, toy_pairs
from typer.testing import CliRunner

from tlw.cli import app
from tlw.data.pairs import Pairs, write_pairs
from tlw.data.protocols import protocol
from tlw.imaging.ranges import to_uint8
from tlw.judge.dists import DISTS
from tlw.report.tables import read_scores, scores_table
from tlw.scoring.evaluate import evaluate_bicubic
from tlw.scoring.metrics import psnr_y
from tlw.scoring.score import score_images

METRICS = ["psnr_y", "ssim_y", "lpips_alex", "lpips_vgg"]
SIZES = [(85, 57), (56, 84)]  # the first is cropped


def folder_of(folder: Path, images: dict[str, np.ndarray]) -> Path:
    for name, image in images.items():
        write_image(folder / name, np.ascontiguousarray(image))
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Two hr images, bicubic sr of their pairs as PNG, and the scores that evaluation gives."""
    folder = tmp_path_factory.mktemp("score")
    images = [photograph("coffee", size=size) for size in SIZES]
    path = toy_pairs(folder, images, name="hr", use="test", protocol="standard")
    (folder / "hr-images").rename(folder / "hr")
    pairs = Pairs(path)
    up = {
        name: to_uint8(pairs.protocol.upsample_bicubic(lr[None], 2)[0])
        for name, (lr, _) in zip(pairs.names, pairs, strict=True)
    }
    folder_of(folder / "bicubic", up)
    evaluate_bicubic([path], folder / "evaluated.csv", device="cpu", judge_folder=None)
    return folder


def score(*words: str | Path) -> str:
    result = CliRunner().invoke(app, ["score", *map(str, words), "--scale", "2", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    return result.output


# --- what is scored ---------------------------------------------------------------------------


def test_images_from_a_folder_have_the_scores_of_the_network_that_made_them(made, tmp_path):
    printed = score(made / "bicubic", made / "hr", "-o", tmp_path / "scores.csv", "--name", "mine")
    scores, expected = read_scores(tmp_path / "scores.csv"), read_scores(made / "evaluated.csv")
    assert list(scores.columns) == list(expected.columns)
    assert set(scores["backbone"]) == {"mine"} and set(scores["loss"] + scores["seed"]) == {""}
    pd.testing.assert_frame_equal(
        scores.drop(columns="backbone"), expected.drop(columns="backbone")
    )
    assert printed.startswith("# Scores of mine\n") and "Protocol standard." in printed
    for metric in METRICS:
        assert re.search(rf"\| mine +\| – +\| {scores[metric].mean():.4f} +\|", printed)


def test_the_row_stands_beside_others_in_a_table(made, tmp_path):
    score(made / "bicubic", made / "hr", "-o", tmp_path / "mine" / "scores.csv", "--name", "mine")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "scores.csv").write_bytes((made / "evaluated.csv").read_bytes())
    table = scores_table([tmp_path / "mine", tmp_path / "other"])
    assert set(table["benchmark"]) == {"hr"} and not table["best"].any()
    mine, other = (table[table["backbone"] == name] for name in ("mine", "bicubic"))
    assert list(mine["metric"]) == list(other["metric"]) == METRICS
    assert list(mine["ours"]) == list(other["ours"])


def test_without_a_name_and_an_output_the_folder_s_name_is_printed_and_nothing_written(
    made, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    assert "# Scores of bicubic\n" in score(made / "bicubic", made / "hr")
    assert not list(tmp_path.iterdir())


def test_the_protocol_s_metrics_and_border_are_taken(made):
    scores = score_images(made / "bicubic", made / "hr", scale=2, protocol=protocol("standard"))
    _, hr = Pairs(made / "hr_standard_x2_test.h5")[1]
    with Image.open(made / "bicubic" / "1.png") as image:
        sr = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255
    assert scores["psnr_y"][1] == psnr_y(sr, hr[None], border=2).item()
    assert list(scores.columns) == ["protocol", "benchmark", "image", *METRICS]


@pytest.mark.parametrize(("name", "multiple"), [("paper", 12), ("standard", 2)])
def test_sr_of_the_size_of_uncropped_hr_is_cropped_like_it_and_this_is_said(
    tmp_path, caplog, name, multiple
):
    hr, sr = photograph(size=(61, 49)), photograph("coffee", size=(61, 49))
    references = folder_of(tmp_path / "hr", {"a.png": hr})
    whole = folder_of(tmp_path / "whole", {"a.png": sr})
    height, width = (side - side % multiple for side in hr.shape[:2])
    cropped = folder_of(tmp_path / "cropped", {"a.png": sr[:height, :width]})
    options = {"scale": 2, "protocol": protocol(name)}
    with caplog.at_level(logging.INFO):
        of_cropped = score_images(cropped, references, **options)
        assert not caplog.records
        pd.testing.assert_frame_equal(score_images(whole, references, **options), of_cropped)
    assert f"whole: 1 of 1 images are cropped to a multiple of {multiple} pixels" in caplog.text


def test_images_are_paired_by_name_whatever_their_format_and_suffix(made, tmp_path):
    for name in ("0", "1"):
        with Image.open(made / "bicubic" / f"{name}.png") as image:
            tmp_path.joinpath("sr").mkdir(exist_ok=True)
            image.save(tmp_path / "sr" / f"{name}_x2.bmp")
    (tmp_path / "sr" / "notes.txt").write_text("no image")
    options = {"scale": 2, "protocol": protocol("standard")}
    found = score_images(tmp_path / "sr", made / "hr", suffix="_x2", **options)
    pd.testing.assert_frame_equal(found, score_images(made / "bicubic", made / "hr", **options))
    assert list(found["image"]) == ["0.png", "1.png"]


def test_hr_may_have_a_suffix_too_and_other_images_of_the_folder_are_counted(
    made, tmp_path, caplog
):
    """As public sets come: img_001_SRF_2_HR.png beside img_001_SRF_2_LR.png."""
    both = tmp_path / "both"
    for name in ("0", "1"):
        for folder, suffix in {"bicubic": "_LR", "hr": "_HR"}.items():
            both.mkdir(exist_ok=True)
            (both / f"{name}{suffix}.png").write_bytes((made / folder / f"{name}.png").read_bytes())
    options = {"scale": 2, "protocol": protocol("standard")}
    found = score_images(both, both, suffix="_LR", hr_suffix="_HR", **options)
    assert "both: 2 of 4 images are left out, whose names do not end in _HR" in caplog.text
    expected = score_images(made / "bicubic", made / "hr", **options)
    pd.testing.assert_frame_equal(found.assign(benchmark="hr"), expected)


def test_an_accent_may_stand_apart_from_its_letter(made, tmp_path):
    for folder, form in {"sr": "NFD", "hr": "NFC"}.items():
        name = unicodedata.normalize(form, "café.png")
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes((made / "hr" / "1.png").read_bytes())
    found = score_images(tmp_path / "sr", tmp_path / "hr", scale=2, protocol=protocol("standard"))
    assert list(found["image"]) == ["café.png"]


def test_hidden_files_and_folders_are_no_images(made, tmp_path):
    for name in ("bicubic", "hr"):
        folder = tmp_path / name
        shutil.copytree(made / name, folder)
        for left in ("._0.png", ".DS_Store", "Thumbs.db"):
            (folder / left).write_bytes(b"\0\5\x16\7")
        (folder / "thumbs.png").mkdir()
    found = score_images(
        tmp_path / "bicubic", tmp_path / "hr", scale=2, protocol=protocol("standard")
    )
    assert list(found["image"]) == ["0.png", "1.png"]


def test_a_relative_folder_has_its_own_name(made, tmp_path, monkeypatch):
    inner = tmp_path / "reference" / "mine"
    for folder in (inner, inner.parent):
        folder.mkdir(exist_ok=True, parents=True)
        (folder / "1.png").write_bytes((made / "hr" / "1.png").read_bytes())
    monkeypatch.chdir(inner)
    printed = score(".", "..", "-o", "scores.csv")
    assert "# Scores of mine\n" in printed
    assert set(read_scores(inner / "scores.csv")["benchmark"]) == {"reference"}


def test_alpha_and_an_infinite_score_are_said(made, tmp_path, caplog):
    (tmp_path / "sr").mkdir()
    for name in ("0", "1"):
        with Image.open(made / "hr" / f"{name}.png") as image:
            image.putalpha(128)
            image.save(tmp_path / "sr" / f"{name}.png")
    score_images(tmp_path / "sr", made / "hr", scale=2, protocol=protocol("standard"))
    assert f"{tmp_path}/sr/1.png: its alpha is dropped" in caplog.text
    assert (
        "psnr_y is infinite, and left out of its mean, where sr and hr are equal: 0.png, 1.png"
        in (caplog.text)
    )


def test_a_grey_file_is_measured_by_its_levels_alike_in_both_ways(tmp_path):
    """Its errors count by 255/219 of what they do as RGB, whose luma has a smaller range."""
    grey = photograph("camera", size=(48, 64))
    (tmp_path / "hr-images").mkdir()
    path = toy_pairs(tmp_path, [np.stack(3 * [grey], axis=-1)], name="hr", use="test",
                     protocol="standard")  # fmt: skip
    Image.fromarray(grey).save(tmp_path / "hr-images" / "0.png")
    psnr = {}
    for name in ("standard", "standard-grey-as-rgb"):
        rules = protocol(name)
        write_pairs([tmp_path / "hr-images" / "0.png"], path, name="hr-images", scale=2,
                    protocol=rules, use="test", workers=1)  # fmt: skip
        evaluate_bicubic([path], tmp_path / "scores.csv", device="cpu", judge_folder=None)
        sr = to_uint8(rules.upsample_bicubic(Pairs(path)[0][0][None], 2)[0])
        folder_of(tmp_path / "sr", {"0.png": sr})
        scores = score_images(tmp_path / "sr", tmp_path / "hr-images", scale=2, protocol=rules)
        evaluated = pd.read_csv(tmp_path / "scores.csv")
        for metric in rules.metrics:
            assert scores[metric][0] == pytest.approx(evaluated[metric][0], abs=1e-6)
        psnr[name] = scores["psnr_y"][0]
    less = 20 * np.log10(255 / 219)
    assert psnr["standard-grey-as-rgb"] - psnr["standard"] == pytest.approx(less, abs=1e-3)


# --- refusals ---------------------------------------------------------------------------------


def refused(sr: Path, hr: Path, name: str = "standard", **options: str | int) -> str:
    with pytest.raises(ValueError) as caught:
        score_images(sr, hr, scale=2, protocol=protocol(name), **options)
    return str(caught.value)


def test_images_without_a_counterpart_are_named(tmp_path):
    image = photograph(size=(32, 32))
    names = [f"{i}.png" for i in range(8)]
    hr = folder_of(tmp_path / "hr", dict.fromkeys([*names, "a.png"], image))
    sr = folder_of(tmp_path / "sr", dict.fromkeys(["a.png", "b.png"], image))
    told = refused(sr, hr)
    assert f"{sr} has no image 0, 1, 2, 3, 4 and 3 others; {hr} has no image b;" in told
    assert "--suffix" in told
    folder_of(sr, {"a_x2.png": image})
    assert f"{sr} has no image 0_x2, 1_x2" in refused(sr, hr, suffix="_x2")
    folder_of(hr, {"c_HR.png": image})
    assert f"{hr} has no image a_HR, a_x2_HR, b_HR;" in refused(sr, hr, hr_suffix="_HR")
    assert "found a.png, a_x2.png, b.png" in refused(sr, hr, suffix="_x3")


def test_two_images_of_one_name_are_refused(tmp_path):
    image = photograph(size=(32, 32))
    hr = folder_of(tmp_path / "hr", {"a.png": image})
    sr = folder_of(tmp_path / "sr", {"a_x2.png": image})
    Image.fromarray(image).save(sr / "a_x2.bmp")
    assert "a_x2.bmp and a_x2.png are both a" in refused(sr, hr, suffix="_x2")


def test_sr_of_another_size_is_named_with_the_sizes_that_would_do(tmp_path):
    hr = folder_of(tmp_path / "hr", {"a.png": photograph(size=(61, 49))})
    sr = folder_of(tmp_path / "sr", {"a.png": photograph(size=(48, 60))})
    told = refused(sr, hr, "paper")
    assert told.startswith(f"{sr}/a.png and {hr}/a.png: expected sr of 60 x 48 pixels")
    assert "multiple of 12, or of hr's own 61 x 49, found 48 x 60" in told


@pytest.mark.parametrize("which", ["sr", "hr"])
def test_an_empty_folder_is_named(tmp_path, which):
    for name in ("sr", "hr"):
        folder_of(tmp_path / name, {"a.png": photograph(size=(32, 32))})
    (tmp_path / which / "a.png").rename(tmp_path / which / "a.txt")
    told = refused(tmp_path / "sr", tmp_path / "hr")
    assert told.startswith(f"{tmp_path / which}: expected images (.png, ") and "found none" in told


def test_bad_images_are_named_at_the_end_and_all_others_scored(made, tmp_path):
    sr = tmp_path / "sr"
    shutil.copytree(made / "bicubic", sr)
    (sr / "0.png").write_bytes((sr / "0.png").read_bytes()[:100])
    words = ["score", sr, made / "hr", "--scale", "2", "--device", "cpu", "-o", tmp_path / "s.csv"]
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == 1 and "| sr" in result.output
    first, last = str(result.exception).splitlines()
    assert first.startswith(f"{sr}/0.png: expected an image file") and "cannot be read" in first
    assert last == "1 of 2 images could not be scored; the mean is of the other 1"
    expected = read_scores(made / "evaluated.csv")
    found = read_scores(tmp_path / "s.csv")
    assert list(found["image"]) == ["1.png"]
    assert found["lpips_vgg"][0] == expected["lpips_vgg"][1]


def test_where_no_image_can_be_scored_nothing_is_written(tmp_path):
    hr = folder_of(tmp_path / "hr", {"a.png": photograph(size=(32, 32))})
    (tmp_path / "sr").mkdir()
    (tmp_path / "sr" / "a.png").write_bytes(b"not a PNG")
    words = ["score", str(tmp_path / "sr"), str(hr), "--scale", "2", "-o", str(tmp_path / "s.csv")]
    result = CliRunner().invoke(app, words)
    assert "a.png: expected an image file" in str(result.exception)
    tiny = folder_of(tmp_path / "tiny", {"a.png": photograph(size=(11, 40))})
    assert f"{tiny}/a.png: an image of 11 x 40" in refused(tiny, tiny, "paper")
    assert not (tmp_path / "s.csv").exists()


def test_names_that_are_no_utf_8_are_told_before_any_image_is_read(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    for folder in ("sr", "hr"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(b"no image")
    assert "expected names in UTF-8, found 1 in" in refused(tmp_path / "sr", tmp_path / "hr")


def test_an_image_of_too_many_pixels_is_told_with_the_option(tmp_path):
    hr = folder_of(tmp_path / "hr", {"a.png": photograph(size=(32, 32))})
    assert "--max-pixels 1024" in refused(hr, hr, max_pixels=1023)


# --- a metric that no protocol has ------------------------------------------------------------


def test_dists_is_a_column_behind_the_protocol_s_where_it_is_asked_for(made):
    options = {"scale": 2, "protocol": protocol("standard")}
    without = score_images(made / "bicubic", made / "hr", **options)
    scores = score_images(made / "bicubic", made / "hr", **options, extra=["dists"])
    assert list(scores.columns) == [*without.columns, "dists"]
    pd.testing.assert_frame_equal(scores.drop(columns="dists"), without)
    images = []
    for folder in ("bicubic", "hr"):
        with Image.open(made / folder / "1.png") as image:
            pixels = np.array(image)
        height, width = (side - side % 2 for side in pixels.shape[:2])
        images.append(torch.from_numpy(pixels[:height, :width]).permute(2, 0, 1)[None] / 255)
    assert scores["dists"][1] == pytest.approx(DISTS()(*images).item(), abs=1e-6)


def test_dists_stands_in_the_table_of_score_and_of_evaluate(made, tmp_path):
    printed = score(made / "bicubic", made / "hr", "--metric", "dists", "-o", tmp_path / "a.csv")
    assert "DISTS" in printed
    words = ["evaluate", "bicubic", "--pairs", str(made / "hr_standard_x2_test.h5"), "-o"]
    words += [str(tmp_path / "b.csv"), "--metric", "dists", "--device", "cpu"]
    assert CliRunner().invoke(app, words).exit_code == 0
    a, b = (read_scores(tmp_path / name)["dists"] for name in ("a.csv", "b.csv"))
    pd.testing.assert_series_equal(a, b)


def test_a_metric_that_is_not_known_is_told_before_any_work(made):
    words = ["score", str(made / "bicubic"), str(made / "hr"), "--scale", "2", "--metric", "dist"]
    told = str(CliRunner().invoke(app, words).exception)
    assert told.startswith(
        "--metric: expected one of dists, lpips_alex, lpips_squeeze, ssim_y, found 'dist'"
    )
