"""Figures: what is drawn is what was computed, and all of it by the command."""

import json
import subprocess

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from png_files import write_image
from scored_cells import scored
from test_claims import scores_with
from toys import photograph, tlw, toy_cell, write_cell

from tlw.data.pairs import Pairs, write_pairs
from tlw.data.protocols import PROTOCOLS
from tlw.losses.fixed_sum import fixed_sum
from tlw.losses.tlw import k_schedule
from tlw.losses.weight_net import WeightNet
from tlw.networks.sr_net import build_network, save_network, super_resolve
from tlw.report.claims import compared
from tlw.report.figures.audit import audit
from tlw.report.figures.cost import cost_bars
from tlw.report.figures.drawn import Source, draw
from tlw.report.figures.example import example
from tlw.report.figures.fixed_sum import moved
from tlw.report.figures.forest import forest
from tlw.report.figures.over_training import watched_images, weights_over_training
from tlw.report.figures.settings import SHARES, varied
from tlw.report.figures.style import styled
from tlw.report.figures.weights import STAGES, stages
from tlw.scoring.audit import Claim
from tlw.scoring.readings import usual
from tlw.scoring.shown import LEAST, MOST, choose, read_pictures, where_they_differ


@pytest.mark.parametrize(("share", "k"), [(0.1, 0.3), (0.7, 0.3), (0.3, 0.9), (0.5, 0.5)])
def test_curves_of_fixed_sum_are_equation_5(share, k):
    x, y = moved(share, k)
    n, s = 1000, share * 1000
    expected = x + (k * n - s) / (n - s) * (1 - x) if k * n > s else x - (s - k * n) / s * x
    torch.testing.assert_close(y, expected)


def test_an_audit_s_figure_has_each_choice_by_its_size_and_what_gives_the_claim_stands_out():
    as_usual = usual("psnr", 4)
    values = {
        as_usual: 30.0,
        as_usual._replace(border=0): 30.5,
        as_usual._replace(channel="RGB"): 28.5,
        as_usual._replace(crop=12): 30.0,  # moves nothing
        as_usual._replace(channel="RGB", border=0): 28.0,
    }
    [panel] = audit(values, [Claim("psnr", 28.5, 1)], 4).axes
    labels = [label.get_text() for label in panel.get_yticklabels()]
    assert labels == ["usual: Y, border 4, sr in 8 bits", "RGB", "border 0", "all 5 readings"]
    dots = [line for line in panel.lines if line.get_marker() == "o"]
    assert [float(dot.get_xdata()[0]) for dot in dots] == [28.5, 30.5]
    ticks = [line for line in panel.lines if list(line.get_ydata()) == [2.65, 3.35]]
    assert sorted(float(tick.get_xdata()[0]) for tick in ticks) == [28.0, 28.5, 30.0, 30.5]
    standing_out = {float(line.get_xdata()[-1]) for line in panel.lines
                    if line.get_color() == dots[0].get_color()}  # fmt: skip
    assert standing_out == {28.5} and dots[1].get_color() != dots[0].get_color()
    with pytest.raises(ValueError, match="images that are equal"):
        audit({as_usual: float("inf")}, [], 4)


def test_a_forest_plot_has_each_difference_with_better_to_the_right():
    scores = scores_with({"l1": 0, "l1-tlw": 0.05, "mse": 0, "mse-tlw": -0.05})
    pairs = [("l1-tlw", "l1"), ("mse-tlw", "mse")]
    table = compared(scores, pairs, ("psnr_y", "lpips_vgg"))
    with styled():
        psnr, lpips = forest(table).axes
        for panel, metric, sign in ((psnr, "psnr_y", 1), (lpips, "lpips_vgg", -1)):
            points = [line.get_xdata()[0] for line in panel.lines if line.get_marker() == "o"]
            expected = sign * table[table["metric"] == metric]["change"]
            np.testing.assert_allclose(sorted(points), sorted(expected))
        names = [label.get_text() for label in psnr.get_yticklabels()]
    assert len(names) == 8 and names[0] == "edsr ×4, Set5"


def test_images_are_chosen_where_losses_differ_most_and_least_and_where_they_are_named():
    scores = pd.DataFrame(
        [
            {"backbone": "edsr", "loss": loss, "seed": "0", "benchmark": "Set5", "image": image}
            | {"psnr_y": 30.0, "lpips_vgg": 0.2 + 0.1 * far * (loss == "l1")}
            for loss in ("l1", "mse")
            for far, image in enumerate(("a.png", "b.png", "c.png"))
        ]
    )
    assert [found[:3] for found in choose(scores)] == [
        ("Set5", "c.png", MOST),
        ("Set5", "a.png", LEAST),
    ]
    assert [found.image for found in choose(scores, ["Set5/b.png"])] == ["b.png", "c.png", "a.png"]
    assert choose(scores, ["Set5/b.png@60,40"])[0].corner == (60, 40)
    with pytest.raises(ValueError, match=r"b\.png@60: expected the part's top and left"):
        choose(scores, ["Set5/b.png@60"])
    with pytest.raises(ValueError, match=r"Set5/d\.png: expected an image that was scored"):
        choose(scores, ["Set5/d.png"])


def test_the_part_shown_is_where_images_differ():
    one = torch.zeros(3, 60, 80)
    other = one.clone()
    other[:, 40:50, 60:70] = 1
    top, left, side = where_they_differ([one, other], 2, side=20)
    assert side == 20 and 30 <= top <= 40 and 50 <= left <= 60
    assert where_they_differ([one, one], 4, side=200) == (0, 0, 60)


def test_the_weights_drawn_are_those_of_the_trained_network(tmp_path):
    cell = toy_cell("l1-tlw")
    net = WeightNet(features=cell.loss.features, over=cell.loss.fixed_sum_over)
    net.save(tmp_path / "weight_net.safetensors")
    hr, sr = torch.rand(2, 1, 3, 32, 32)
    found, k = stages(cell, tmp_path, hr, sr)
    assert list(found) == list(STAGES)
    mean = net.train()(2 * hr - 1, 2 * sr - 1, k).detach()
    torch.testing.assert_close(found["after FixedSum"], mean)
    assert mean.mean().item() == pytest.approx(k) and k > 0.3
    with pytest.raises(ValueError, match="expected a cell of a weighted loss, found l1"):
        stages(toy_cell("l1"), tmp_path, hr, sr)


def test_the_example_goes_from_lr_to_hr_and_shows_the_weights(tmp_path):
    cell = toy_cell("l1-tlw")
    net = WeightNet(features=cell.loss.features, over=cell.loss.fixed_sum_over)
    net.save(tmp_path / "weight_net.safetensors")
    names = ("lr", "bicubic", "hr", "toy/l1", "toy/l1-tlw")
    files = {name: tmp_path / f"{i}.png" for i, name in enumerate(names)}
    for path in files.values():
        write_image(path, photograph(size=(32, 32)))
    with styled():
        panels = example(cell, tmp_path, files).axes
        titles = [panel.get_title() for panel in panels]
        drawn = torch.from_numpy(panels[5].images[0].get_array().data)
    assert titles == ["lr", "bicubic", "l1", "l1-tlw", "hr", "weights, k = 0.30"]
    k = k_schedule(cell.recipe.epochs - 1)
    assert drawn.mean().item() == pytest.approx(k, rel=1e-4)
    with pytest.raises(ValueError, match="an example needs pictures of toy/l1, found none"):
        example(cell, tmp_path, {k: v for k, v in files.items() if k != "toy/l1"})


def test_each_setting_does_to_the_weights_what_the_page_says(tmp_path):
    cell = toy_cell("l1-tlw", preset="paper")
    raw = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    by_k, by_temperature, by_samples = varied(raw, cell.loss).values()
    for share, w in zip(SHARES, by_k, strict=True):
        assert w.mean().item() == pytest.approx(share, abs=1e-5)
    middling = [((w > 0.1) & (w < 0.9)).float().mean().item() for w in by_temperature]
    assert middling == sorted(middling) and middling[0] < 0.05 and middling[-1] > 0.5
    mean = fixed_sum(raw, cell.loss.k_start, over="image")
    off = [(w - mean).abs().mean().item() for w in by_samples]
    assert off == sorted(off, reverse=True) and off[-1] < 0.05


def test_weights_over_a_training_go_from_the_first_look_to_the_last(tmp_path):
    cell = toy_cell("l1-tlw")
    write_cell(cell, tmp_path)
    (tmp_path / "looks").mkdir()
    for step in range(25, 325, 25):
        for kind in ("hr", "sr", "weights"):
            levels = np.full((16, 16, 3), step * 255 // 300, np.uint8)
            write_image(tmp_path / "looks" / f"step-{step:08d}_cat_{kind}.png", levels)
    assert watched_images(tmp_path) == {"cat": list(range(25, 325, 25))}
    with styled():
        figure = weights_over_training(tmp_path, "cat")
        titles = [panel.get_title() for panel in figure.axes]
        steps = [int(title.split()[1]) for title in titles if title.startswith("step")]
        assert len(steps) == 6 and steps[0] == 25 and steps[-1] == 300 and steps == sorted(steps)
        below = [panel for panel in figure.axes[7:14] if panel.images]
        for panel, step in zip(below, steps, strict=True):
            found = np.asarray(panel.images[0].get_array())
            assert found == pytest.approx(step * 255 // 300 / 255)
    drawn = draw(Source([tmp_path], (), None), tmp_path / "figures", ["weights_over_training"])
    assert list(drawn) == [f"weights_over_training_{cell.name}_cat"]


def test_bars_of_costs_are_what_was_measured_a_network_each(tmp_path):
    for number, (name, seconds) in enumerate({"edsr": 0.5, "rcan": 4.0}.items(), 1):
        measured = {"output": [720, 1280], "seconds": seconds, "peak_bytes": None}
        content = {"network": name, "scale": 4, "parameters": number * 10**6}
        content |= {"multiply_adds": number * 10**11, "devices": {"Abacus": measured}}
        for seed in range(2):
            folder = tmp_path / f"{name}{seed}"
            folder.mkdir()
            (folder / "cost.json").write_text(json.dumps(content))
    with styled():
        figure = cost_bars(sorted(tmp_path.iterdir()))
        found = [[bar.get_width() for bar in panel.patches][::-1] for panel in figure.axes]
        assert found[:3] == [[1, 2], [100, 200], [0.5, 4]]
        assert not any(width == width for width in found[3])  # not told
        names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        assert names == ["rcan ×4", "edsr ×4"]
        with pytest.raises(ValueError, match="need what `tlw cost` measures"):
            cost_bars([tmp_path / "none"])


@pytest.fixture
def run(tmp_path):
    """Two networks as training and scoring leave them, and the pairs that they were scored on."""
    photographs = [tmp_path / "images" / f"{name}.png" for name in "ab"]
    for path, name in zip(photographs, ("astronaut", "coffee"), strict=True):
        write_image(path, photograph(name))
    options = {"name": "toy", "scale": 2, "protocol": PROTOCOLS["paper"], "use": "test"}
    write_pairs(photographs, tmp_path / "toy.h5", **options)
    for i, loss in enumerate(("l1", "mse")):
        cell = toy_cell(loss)
        images = {("toy", "a.png"): (30 + i, 0.2), ("toy", "b.png"): (31, 0.3 + i / 10)}
        row = (cell.backbone_name, cell.scale, loss)
        folder = scored(tmp_path / "grid", images, row=row, record={"digest": cell.digest})
        (folder / "cell.json").write_text(cell.model_dump_json())
        (folder / "training.csv").write_text("step,epoch,loss\n1,0,0.5\n2,0,0.25\n")
        torch.manual_seed(i)
        net = build_network(cell.backbone, cell.scale)
        save_network(folder / "weights.safetensors", net, cell)
    return tmp_path


def done(*words) -> subprocess.CompletedProcess:
    return subprocess.run(tlw(*words), capture_output=True, text=True)


def test_the_commands_make_pictures_and_figures_from_a_runs_folders(run):
    cells = sorted((run / "grid").iterdir())
    weights = [folder / "weights.safetensors" for folder in cells]
    made = done("pictures", *weights, "--pairs", run / "toy.h5", "-o", run / "pictures",
                "--image", "toy/a.png@3,9999")  # fmt: skip
    assert made.returncode == 0, made.stderr
    content = read_pictures(run / "pictures" / "index.json")
    named, first = content["pictures"][:2]
    side = len(np.asarray(Image.open(named["files"]["hr"])))
    width = Pairs(run / "toy.h5").sizes[Pairs(run / "toy.h5").names.index("a.png")][1]
    assert (named["image"], named["top"], named["left"]) == ("a.png", 2, (width - side) // 2 * 2)
    assert (first["image"], first["why"]) == ("b.png", MOST) and "LPIPS vgg" in content["rule"]

    from tlw.networks.sr_net import load_network

    pairs = Pairs(run / "toy.h5")
    net, _ = load_network(weights[0])
    sr = super_resolve(net, pairs[pairs.names.index("b.png")][0]).clamp(0, 1)
    shown = np.asarray(Image.open(first["files"]["toy/l1"]))
    side = len(shown)
    part = sr[:, first["top"] : first["top"] + side, first["left"] : first["left"] + side]
    expected = (part * 255 + 0.5).floor().permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(shown, expected)

    index = run / "pictures" / "index.json"
    drawn = done("figures", *cells, "--pictures", index, "-o", run / "figures")
    assert drawn.returncode == 0, drawn.stderr
    captions = json.loads((run / "figures" / "captions.json").read_text())
    assert set(captions) == {"fixed_sum", "comparison_toy_x2", "curves", "tradeoff", "time"}
    for name in captions:
        assert (run / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert Image.open(run / "figures" / f"{name}.png").width in (1050, 2160)
        assert Image.open(run / "figures" / f"{name}.webp").width in (700, 1440)
    assert "forest: not drawn: a forest plot needs differences with intervals" in drawn.stderr


def test_a_figure_that_is_asked_for_and_cannot_be_drawn_is_an_error(run):
    cells = sorted((run / "grid").iterdir())
    failed = done("figures", *cells, "--figure", "forest", "-o", run / "figures")
    assert failed.returncode == 1 and "found none: score five images or more" in failed.stderr
    unknown = done("figures", *cells, "--figure", "forrest", "-o", run / "figures")
    assert unknown.returncode == 1 and "did you mean" in unknown.stderr
