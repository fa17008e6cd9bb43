"""Scores, against the paper's bicubic rows and against metrics and judge called directly."""

import csv
import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from toys import photograph, toy_cell, toy_pairs

from tlw.evaluate import Scorer, evaluate_bicubic, evaluate_cell, score_pairs
from tlw.images import round_to_8_bits
from tlw.judge import Judge
from tlw.metrics import psnr_y, ssim_y
from tlw.pairs import Pairs, write_pairs
from tlw.protocols import PROTOCOLS, protocol
from tlw.resize import imresize
from tlw.sr_net import SRNet, build_network, load_network, save_network
from tlw.tables import read_published, read_scores, scores_table

PUBLISHED = Path(__file__).parents[1] / "resources" / "published.csv"
HERE = {"device": "cpu", "judge_folder": None}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("evaluate")


@pytest.fixture(scope="module")
def pairs(folder) -> dict[str, Path]:
    """Two photographs as a benchmark, by protocol."""
    return {name: toy_pairs(folder, use="test", protocol=name) for name in PROTOCOLS}


@pytest.fixture(scope="module")
def trained(folder) -> dict[str, Path]:
    """A tiny VDSR with random weights, as a trained cell of each protocol."""
    files = {}
    for name in PROTOCOLS:
        cell = toy_cell("l1-tlw", protocol=name, seeds=[3])
        torch.manual_seed(0)
        files[name] = folder / f"{name}.safetensors"
        save_network(files[name], build_network(cell.backbone, cell.scale), cell)
    return files


# --- the paper's bicubic rows -----------------------------------------------------------------


def papers_bicubic_cells(images: Path, tmp_path: Path, scale: int) -> pd.DataFrame:
    """The whole way from a benchmark's images to the bicubic row of a table."""
    files = sorted(path for path in images.iterdir() if path.suffix in (".bmp", ".png"))
    target = tmp_path / f"{images.name}.h5"
    write_pairs(
        files, target, name=images.name, scale=scale, protocol=protocol("paper"), use="test"
    )
    evaluate_bicubic([target], tmp_path / "scores.csv", **HERE)
    return scores_table([tmp_path], read_published(PUBLISHED, 1))


@pytest.mark.parametrize(
    ("benchmark", "scale"),
    [("Set5", 2), ("Set5", 3), ("Set5", 4)]
    + [pytest.param("Set14", scale, marks=pytest.mark.slow) for scale in (2, 3, 4)],
)
def test_the_papers_bicubic_cells_come_out_to_their_last_decimal(
    shared, tmp_path, benchmark, scale
):
    table = papers_bicubic_cells(shared / "datasets" / benchmark, tmp_path, scale)
    assert list(table["metric"]) == ["psnr_y", "lpips_vgg"]
    with PUBLISHED.open(newline="") as file:
        (row,) = [
            row
            for row in csv.DictReader(file)
            if (row["backbone"], row["scale"], row["dataset"]) == ("bicubic", str(scale), benchmark)
        ]
    assert [f"{number:.4f}" for number in table["ours"]] == [row["psnr_y"], row["lpips"]]
    assert list(table["paper"]) == [float(row["psnr_y"]), float(row["lpips"])]


# --- what is scored ---------------------------------------------------------------------------


def test_a_trained_cells_scores_are_its_networks_metrics(trained, pairs, tmp_path):
    evaluate_cell(trained["paper"], [pairs["paper"]], tmp_path / "scores.csv", **HERE)
    scores = pd.read_csv(tmp_path / "scores.csv")
    assert list(scores.columns) == [
        *("backbone", "scale", "loss", "seed", "protocol", "benchmark", "image"),
        *("psnr_y", "lpips_vgg"),
    ]
    named = scores[["backbone", "scale", "loss", "seed", "protocol", "benchmark"]]
    assert set(named.itertuples(index=False, name=None)) == {
        ("toy", 2, "l1-tlw", 3, "paper", "toy")
    }
    assert list(scores["image"]) == ["0.png", "1.png"]
    net, _ = load_network(trained["paper"])
    judge = Judge("vgg", channels="bgr")
    for (lr, hr), (_, row) in zip(Pairs(pairs["paper"]), scores.iterrows(), strict=True):
        with torch.no_grad():
            sr = net(lr[None]).clamp(0, 1)
            assert row["lpips_vgg"] == judge(sr, hr[None]).item()
        assert row["psnr_y"] == psnr_y(sr, hr[None]).item()


def test_the_standard_protocol_rounds_shaves_and_has_its_own_columns(trained, pairs, tmp_path):
    evaluate_cell(trained["standard"], [pairs["standard"]], tmp_path / "scores.csv", **HERE)
    scores = pd.read_csv(tmp_path / "scores.csv")
    metrics = ["psnr_y", "ssim_y", "lpips_alex", "lpips_vgg"]
    assert list(scores.columns[-4:]) == metrics and set(scores["protocol"]) == {"standard"}
    net, _ = load_network(trained["standard"])
    lr, hr = Pairs(pairs["standard"])[0]
    with torch.no_grad():
        sr, hr = round_to_8_bits(net(lr[None])), hr[None]
        expected = [
            psnr_y(sr[..., 2:-2, 2:-2], hr[..., 2:-2, 2:-2]),
            ssim_y(sr[..., 2:-2, 2:-2], hr[..., 2:-2, 2:-2]),
            Judge("alex")(sr, hr),
            Judge("vgg")(sr, hr),
        ]
    assert list(scores.iloc[0][metrics]) == pytest.approx([e.item() for e in expected], rel=1e-6)


def test_bicubic_under_the_standard_protocol_is_matlabs(pairs, tmp_path):
    evaluate_bicubic([pairs["standard"]], tmp_path / "scores.csv", **HERE)
    scores = read_scores(tmp_path / "scores.csv")
    assert set(scores[["backbone", "loss", "seed"]].itertuples(index=False, name=None)) == {
        ("bicubic", "", "")
    }
    lr, hr = Pairs(pairs["standard"])[0]
    up = imresize(lr.permute(1, 2, 0).double().numpy(), scale=2)
    sr = torch.from_numpy(np.round(np.clip(up, 0, 1) * 255) / 255).permute(2, 0, 1)[None]
    expected = psnr_y(sr[..., 2:-2, 2:-2], hr[None][..., 2:-2, 2:-2]).item()
    assert scores["psnr_y"][0] == pytest.approx(expected, abs=1e-6)


def test_several_benchmarks_stand_below_each_other(pairs, folder, tmp_path):
    other = toy_pairs(folder, [photograph("chelsea")], name="other", use="test")
    evaluate_bicubic([pairs["paper"], other], tmp_path / "scores.csv", **HERE)
    scores = read_scores(tmp_path / "scores.csv")
    assert list(scores["benchmark"]) == ["toy", "toy", "other"]


def test_a_perfect_image_is_infinitely_good(pairs):
    scorer = Scorer(protocol("standard"), 2)
    _, hr = Pairs(pairs["standard"])[0]
    assert scorer(hr, hr) == {
        "psnr_y": float("inf"), "ssim_y": 1.0, "lpips_alex": 0.0, "lpips_vgg": 0.0
    }  # fmt: skip


def test_what_overshoots_is_clamped_before_it_is_scored(pairs):
    scorer = Scorer(protocol("paper"), 2)
    _, hr = Pairs(pairs["paper"])[0]
    wild = hr + torch.linspace(-2, 2, hr.shape[2])
    assert scorer(wild, hr) == scorer(wild.clamp(0, 1), hr)


def test_scores_of_images_in_tiles_say_so(trained, folder, tmp_path):
    images = [photograph(), photograph(size=(168, 144))]
    mixed = toy_pairs(folder, images, name="mixed", use="test")
    scores = {}
    for name, options in {"default": {}, "whole": {"tile": 0}, "tiled": {"tile": 74}}.items():
        evaluate_cell(trained["paper"], [mixed], tmp_path / f"{name}.csv", **HERE, **options)
        scores[name] = read_scores(tmp_path / f"{name}.csv")
    pd.testing.assert_frame_equal(scores["default"], scores["whole"])
    assert "tiled" not in scores["whole"] and list(scores["tiled"]["tiled"]) == [0, 74]
    same = scores["tiled"].drop(columns="tiled")  # VDSR's radius is less than the overlap
    pd.testing.assert_frame_equal(same, scores["whole"], rtol=1e-5)
    with pytest.raises(ValueError, match="tiles of 73 lr pixels or more"):
        evaluate_cell(trained["paper"], [mixed], tmp_path / "no.csv", tile=72, **HERE)


def test_no_graph_is_kept(trained, pairs):
    net, _ = load_network(trained["paper"])
    net.requires_grad_(True)
    sets = [Pairs(pairs["paper"])]
    scores = score_pairs(sets, lambda lr: net(lr[None])[0], **HERE)
    assert scores["psnr_y"].dtype == scores["lpips_vgg"].dtype == np.float64


# --- refusals ---------------------------------------------------------------------------------


def test_wrong_pairs_are_refused_with_what_was_expected(trained, pairs, folder, tmp_path):
    wrong = [
        (toy_pairs(folder, name="three", scale=3, use="test"), "scale 2, found scale 3"),
        (toy_pairs(folder, use="train"), "for testing under protocol paper, found .* in train"),
        (pairs["standard"], "under protocol paper, found protocol standard"),
    ]
    for path, words in wrong:
        with pytest.raises(ValueError, match=rf"{path.name}: .*{words}"):
            evaluate_cell(trained["paper"], [path], tmp_path / "scores.csv", **HERE)
        with pytest.raises(ValueError, match=rf"{path.name}: .*{words}"):
            evaluate_bicubic([pairs["paper"], path], tmp_path / "scores.csv", **HERE)
    assert not list(tmp_path.iterdir())


def test_a_benchmark_given_twice_is_refused(trained, pairs, tmp_path):
    twice = [pairs["paper"], pairs["paper"]]
    with pytest.raises(ValueError, match="benchmark toy is given twice"):
        evaluate_cell(trained["paper"], twice, tmp_path / "scores.csv", **HERE)


def test_pairs_made_under_older_rules_of_a_protocol_are_refused(pairs, tmp_path):
    path = tmp_path / "old.h5"
    path.write_bytes(pairs["paper"].read_bytes())
    with h5py.File(path, "r+") as file:
        fields = json.loads(file.attrs["protocol_fields"])
        file.attrs["protocol_fields"] = json.dumps({**fields, "lr_border": "replicate"})
    with pytest.raises(ValueError, match=r"old\.h5: made when protocol paper had other rules"):
        evaluate_bicubic([path], tmp_path / "scores.csv", **HERE)


def test_an_image_that_cannot_be_scored_is_named_and_nothing_is_written(folder, tmp_path):
    tiny = toy_pairs(folder, [photograph(size=(12, 24))], name="tiny", use="test")
    with pytest.raises(ValueError, match=r"tiny_paper_x2_test\.h5: 0\.png: .*16 pixels"):
        evaluate_bicubic([tiny], tmp_path / "scores.csv", **HERE)
    assert not list(tmp_path.iterdir())


def test_a_network_that_gives_no_numbers_is_refused(trained, pairs, tmp_path):
    net, cell = load_network(trained["paper"])
    broken = SRNet(net.net)
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    save_network(tmp_path / "broken.safetensors", broken, cell)
    with pytest.raises(ValueError, match=r"0\.png: expected sr in \[0, 1\], found nan"):
        evaluate_cell(
            tmp_path / "broken.safetensors", [pairs["paper"]], tmp_path / "scores.csv", **HERE
        )
    assert not (tmp_path / "scores.csv").exists()
