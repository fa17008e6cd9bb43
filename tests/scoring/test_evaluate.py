"""Scores, against the paper's bicubic rows and against metrics and judge called directly."""

import csv
import gc
import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from toys import SMALL_EDSR, photograph, toy_cell, toy_pairs

from tlw.config.config import Imported
from tlw.data.pairs import Pairs, write_pairs
from tlw.data.protocols import PROTOCOLS, protocol
from tlw.imaging.ranges import round_to_8_bits
from tlw.imaging.resize import imresize
from tlw.judge.lpips import Judge
from tlw.networks.sr_net import (
    SRNet,
    build_network,
    load_network,
    save_network,
    self_ensemble,
    super_resolve,
)
from tlw.report.tables import PUBLISHED, read_published, read_scores, scores_table
from tlw.scoring.evaluate import (
    evaluate_bicubic,
    evaluate_cells,
    score_pairs,
    scores_beside,
)
from tlw.scoring.metrics import psnr_y, ssim_y
from tlw.scoring.scorer import Scorer

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


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_papers_bicubic_cells_come_out_to_their_last_decimal(shared, tmp_path, scale):
    """Those of Set5; tests/test_whole_sets.py has Set14's."""
    table = papers_bicubic_cells(shared / "datasets" / "Set5", tmp_path, scale)
    assert list(table["metric"]) == ["psnr_y", "lpips_vgg"]
    with PUBLISHED.open(newline="") as file:
        (row,) = [
            row
            for row in csv.DictReader(file)
            if (row["backbone"], row["scale"], row["dataset"]) == ("bicubic", str(scale), "Set5")
        ]
    assert [f"{number:.4f}" for number in table["ours"]] == [row["psnr_y"], row["lpips"]]
    assert list(table["paper"]) == [float(row["psnr_y"]), float(row["lpips"])]


# --- what is scored ---------------------------------------------------------------------------


def test_a_trained_cells_scores_are_its_networks_metrics(trained, pairs, tmp_path):
    evaluate_cells({trained["paper"]: tmp_path / "scores.csv"}, [pairs["paper"]], **HERE)
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
    evaluate_cells({trained["standard"]: tmp_path / "scores.csv"}, [pairs["standard"]], **HERE)
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


def test_an_ensemble_is_the_mean_over_eight_turns_and_turns_with_its_image(pairs, trained):
    net, _ = load_network(trained["paper"])
    lr, _ = Pairs(pairs["paper"])[0]
    found = self_ensemble(net, lr)
    expected = torch.zeros_like(found)
    for turns in range(4):
        for axes in ((), (1,)):  # flipped upside down here, sideways there: the same eight
            turned = torch.rot90(lr.flip(axes), turns, (1, 2))
            expected += torch.rot90(super_resolve(net, turned), -turns, (1, 2)).flip(axes) / 8
    torch.testing.assert_close(found, expected)
    assert (found - super_resolve(net, lr)).abs().max() > 1e-4
    torch.testing.assert_close(self_ensemble(net, lr.flip(2)), found.flip(2))
    torch.testing.assert_close(self_ensemble(net, lr.transpose(1, 2)), found.transpose(1, 2))


def test_an_ensemble_is_a_row_of_its_own_beside_the_networks(several, pairs):
    outputs = next(iter(several.values()))
    weights = list(outputs)
    beside = scores_beside(weights, ensemble=True)
    assert all(out.parent.name == path.parent.name + "+" for path, out in beside.items())
    evaluate_cells(scores_beside(weights), [pairs["paper"]], **HERE)
    evaluate_cells(beside, [pairs["paper"]], ensemble=True, **HERE)
    rows = [read_scores(out) for out in (scores_beside(weights)[weights[0]], beside[weights[0]])]
    assert list(rows[1]["backbone"].unique()) == [rows[0]["backbone"].iloc[0] + "+"]
    assert list(rows[1]["seed"]) == list(rows[0]["seed"])
    assert (rows[1]["psnr_y"] != rows[0]["psnr_y"]).all()
    table = scores_table([weights[0].parent, beside[weights[0]].parent])
    assert len(table["backbone"].unique()) == 2


def test_metrics_beside_the_protocols_are_taken_as_it_has_them_and_none_twice(pairs, trained):
    net, _ = load_network(trained["paper"])
    found = {}
    for name in ("paper", "standard"):
        asked = {"extra": ("lpips_alex", "ssim_y"), **HERE}
        upscale = {"net": lambda lr: super_resolve(net, lr)}
        found[name] = score_pairs([Pairs(pairs[name])], upscale, **asked)["net"]
    columns = ["protocol", "benchmark", "image"]
    assert list(found["paper"]) == [*columns, "psnr_y", "lpips_vgg", "lpips_alex", "ssim_y"]
    assert list(found["standard"]) == [*columns, "psnr_y", "ssim_y", "lpips_alex", "lpips_vgg"]
    lr, hr = Pairs(pairs["paper"])[0]
    sr = protocol("paper").finish(super_resolve(net, lr))[None]
    expected = Judge("alex", channels="bgr")(sr, hr[None]).item()
    assert found["paper"]["lpips_alex"][0] == pytest.approx(expected, rel=1e-5)
    assert found["paper"]["ssim_y"][0] == pytest.approx(ssim_y(sr, hr[None]).item(), rel=1e-9)


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
        evaluate_cells({trained["paper"]: tmp_path / f"{name}.csv"}, [mixed], **HERE, **options)
        scores[name] = read_scores(tmp_path / f"{name}.csv")
    pd.testing.assert_frame_equal(scores["default"], scores["whole"])
    assert "tiled" not in scores["whole"] and list(scores["tiled"]["tiled"]) == [0, 74]
    same = scores["tiled"].drop(columns="tiled")  # VDSR's radius is less than the overlap
    pd.testing.assert_frame_equal(same, scores["whole"], rtol=1e-5)
    with pytest.raises(ValueError, match="tiles of 73 lr pixels or more"):
        evaluate_cells({trained["paper"]: tmp_path / "no.csv"}, [mixed], tile=72, **HERE)


def test_no_graph_is_kept(trained, pairs):
    net, _ = load_network(trained["paper"])
    net.requires_grad_(True)
    sets = [Pairs(pairs["paper"])]
    scores = score_pairs(sets, {"net": lambda lr: net(lr[None])[0]}, **HERE)["net"]
    assert scores["psnr_y"].dtype == scores["lpips_vgg"].dtype == np.float64


# --- several together -------------------------------------------------------------------------


@pytest.fixture
def several(tmp_path) -> dict[str, dict[Path, Path]]:
    """Three networks of each protocol, one of them imported: weights files and where scores go."""
    found = {}
    for name in PROTOCOLS:
        cells = [toy_cell(loss, protocol=name, backbone=SMALL_EDSR) for loss in ("l1", "l1-tlw")]
        named = {"backbone_name": "edsr-authors", "loss_name": "l1", "sha256": 64 * "0"}
        network = {"scale": 2, "backbone": cells[0].backbone, "source": "edsr.pth"}
        cells.append(Imported.parse({**named, **network}, "imported"))
        files = []
        for seed, cell in enumerate(cells):
            torch.manual_seed(seed)
            files.append(tmp_path / name / f"{seed}" / "weights.safetensors")
            save_network(files[-1], build_network(cell.backbone, 2), cell)
        found[name] = scores_beside(files)
    return found


@pytest.mark.parametrize("name", PROTOCOLS)
def test_cells_scored_together_have_the_very_files_of_cells_scored_one_by_one(
    several, pairs, tmp_path, name
):
    outputs = several[name]
    evaluate_cells(outputs, [pairs[name]], **HERE)
    for weights, output in outputs.items():
        assert output == weights.with_name("scores.csv")
        evaluate_cells({weights: tmp_path / "alone.csv"}, [pairs[name]], **HERE)
        assert output.read_bytes() == (tmp_path / "alone.csv").read_bytes()
    assert len({output.read_bytes() for output in outputs.values()}) == 3


def test_the_features_of_hr_are_computed_once_for_all_cells(folder):
    small = photograph(size=(28, 28))  # no layer's kernels are transformed, which would count once
    one = toy_pairs(folder, [small], name="one", use="test")
    sets, upscale = [Pairs(one)], protocol("paper").upsample_bicubic
    flops = []
    for cells in (1, 2, 5):
        upscales = {str(cell): lambda lr: upscale(lr[None], 2)[0] for cell in range(cells)}
        with FlopCounterMode(display=False) as counter:
            score_pairs(sets, upscales, **HERE)
        flops.append(counter.get_total_flops())
    once = flops[1] - flops[0]
    assert once > 0 and flops == [2 * once, 3 * once, 6 * once]


def test_no_features_are_held_while_a_network_runs(trained, folder):
    path = toy_pairs(folder, [photograph(size=(72, 72))] * 2, name="two", use="test")

    def watched(lr: torch.Tensor) -> torch.Tensor:
        tensors = [x for x in gc.get_objects() if type(x) is torch.Tensor]
        seen.append(sum(x.shape in [(1, 64, 72, 72), (1, 72 * 72, 64)] for x in tensors))
        return bicubic(lr[None], 2)[0]

    seen, bicubic = [], protocol("paper").upsample_bicubic
    score_pairs([Pairs(path)], {"one": watched, "other": watched}, **HERE)
    assert seen == [0] * 4


def test_networks_of_other_scales_or_protocols_are_refused_by_name(several, pairs, tmp_path):
    paper, standard = several["paper"], several["standard"]
    cell = toy_cell(scale=4)
    other = tmp_path / "x4.safetensors"
    save_network(other, build_network(cell.backbone, 4), cell)
    first = next(iter(paper))
    for extra, words in [
        (other, f"{other}: expected scale 2, as {first} has, found scale 4"),
        (next(iter(standard)), f"expected protocol paper, as {first} has, found protocol standard"),
    ]:
        with pytest.raises(ValueError, match=words):
            evaluate_cells({**paper, extra: tmp_path / "x.csv"}, [pairs["paper"]], **HERE)
    with pytest.raises(ValueError, match="under protocol standard, found protocol paper"):
        evaluate_cells(standard, [pairs["paper"]], **HERE)
    assert not list(tmp_path.rglob("*.csv"))


def test_where_one_cannot_be_scored_it_is_named_and_none_is_written(several, pairs, tmp_path):
    outputs = several["paper"]
    first, _, last = outputs
    net, imported = load_network(last)
    with torch.no_grad():
        next(net.parameters()).fill_(float("nan"))
    save_network(last, net, imported)
    outputs[first].write_text("old")
    with pytest.raises(ValueError, match=rf"^{last}: {pairs['paper']}: 0\.png: expected sr in"):
        evaluate_cells(outputs, [pairs["paper"]], **HERE)
    assert list(tmp_path.rglob("*.csv")) == [outputs[first]]
    assert outputs[first].read_text() == "old"


def test_two_cells_of_a_folder_are_not_scored_into_one_file():
    beside = [Path("a/x.safetensors"), Path("b/x.safetensors"), Path("b/../a/y.safetensors")]
    assert scores_beside(beside[:2]) == {path: path.parent / "scores.csv" for path in beside[:2]}
    for weights in (beside, [beside[0], beside[0]]):
        with pytest.raises(ValueError, match=rf"^a/x.safetensors and {weights[-1]} would both"):
            scores_beside(weights)


# --- refusals ---------------------------------------------------------------------------------


def test_wrong_pairs_are_refused_with_what_was_expected(trained, pairs, folder, tmp_path):
    wrong = [
        (toy_pairs(folder, name="three", scale=3, use="test"), "scale 2, found scale 3"),
        (toy_pairs(folder, use="train"), "for testing under protocol paper, found .* in train"),
        (pairs["standard"], "under protocol paper, found protocol standard"),
    ]
    for path, words in wrong:
        with pytest.raises(ValueError, match=rf"{path.name}: .*{words}"):
            evaluate_cells({trained["paper"]: tmp_path / "scores.csv"}, [path], **HERE)
        with pytest.raises(ValueError, match=rf"{path.name}: .*{words}"):
            evaluate_bicubic([pairs["paper"], path], tmp_path / "scores.csv", **HERE)
    assert not list(tmp_path.iterdir())


def test_a_benchmark_given_twice_is_refused(trained, pairs, tmp_path):
    twice = [pairs["paper"], pairs["paper"]]
    with pytest.raises(ValueError, match="benchmark toy is given twice"):
        evaluate_cells({trained["paper"]: tmp_path / "scores.csv"}, twice, **HERE)


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
        outputs = {tmp_path / "broken.safetensors": tmp_path / "scores.csv"}
        evaluate_cells(outputs, [pairs["paper"]], **HERE)
    assert not (tmp_path / "scores.csv").exists()
