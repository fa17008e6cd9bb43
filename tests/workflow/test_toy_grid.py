"""The finished toy grid in results/toy, as `make toy` leaves it: its tables, and what reruns it."""

import csv

import pytest
import torch
import yaml
from browser import BROWSER, visited
from plans import ROOT, changed, planned, snakemake

from tlw.backbones.init import init_weights
from tlw.config.config import read_cell
from tlw.data.pairs import Pairs
from tlw.imaging.ranges import to_unit
from tlw.losses.pixel import PixelLoss
from tlw.networks.sr_net import build_network, load_network
from tlw.training.sampling import Batches

TOY = ROOT / "results" / "toy"

pytestmark = pytest.mark.toy


@pytest.fixture
def toy():
    if not (TOY / "tables" / "table1.csv").exists():
        pytest.skip("results/toy is not there: run `make toy` first")
    return yaml.safe_load((ROOT / "config" / "toy.yaml").read_text())


def dry_run(*words: str, config: str = "config/toy.yaml") -> str:
    return snakemake("-n", *words, "--configfile", config)


def test_nothing_is_left_to_be_done(toy):
    assert "Nothing to be done" in dry_run()


def test_changing_a_loss_reruns_its_cells_and_no_others(toy, tmp_path):
    config = changed("toy.yaml", tmp_path, lambda c: c["losses"].update({"l1-tlw": {"samples": 2}}))
    cells = planned(dry_run(config=config), "train")
    assert cells == sorted(
        [f"table1/{b}_x{s}_l1-tlw_seed0" for b in ("rcan", "vdsr", "edsr") for s in (2, 3)]
        + ["table2/hat_x4_l1-tlw_seed0"]
    )


def test_changing_what_no_cell_reads_reruns_no_training(toy, tmp_path):
    def change(content):
        content["grids"]["table1"]["title"] = "Another caption"
        content["losses"]["l1-udl-long"] = {"kind": "udl", "esu_epochs": 3}

    output = dry_run(config=changed("toy.yaml", tmp_path, change))
    assert planned(output, "train") == [] and planned(output, "table") == ["table1"]


def test_a_new_backbone_trains_its_own_cells_alone(toy, tmp_path):
    def change(content):
        content["backbones"]["vdsr-wide"] = {"path": "vdsr", "arguments": {"features": 48}}
        content["grids"]["table1"]["backbones"].append("vdsr-wide")

    cells = planned(dry_run(config=changed("toy.yaml", tmp_path, change)), "train")
    assert cells == sorted(
        f"table1/vdsr-wide_x{s}_{loss}_seed0"
        for s in (2, 3)
        for loss in ("l1", "mse", "l1-tlw", "mse-tlw")
    )


def test_one_cell_is_rerun_by_naming_it(toy):
    cell = "results/toy/table1/edsr_x3_l1-tlw_seed0"
    output = dry_run(f"{cell}/scores.csv", "--forcerun", "train")
    assert planned(output, "train") == ["table1/edsr_x3_l1-tlw_seed0"]
    assert planned(output, "evaluate") == ["table1/edsr_x3_l1-tlw_seed0"]


def test_the_tables_are_complete(toy):
    for name, grid in toy["grids"].items():
        with (TOY / "tables" / f"{name}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        expected = {
            (str(s), b, loss) for s in grid["scales"] for b in grid["backbones"]
            for loss in grid["losses"]
        } | {(str(s), "bicubic", "") for s in grid["scales"]}  # fmt: skip
        for metric in ("psnr_y", "lpips_vgg"):
            chosen = [row for row in rows if row["metric"] == metric]
            assert {(r["scale"], r["backbone"], r["loss"]) for r in chosen} == expected
            assert len(chosen) == len(expected)
            assert all(0 < float(row["ours"]) < 60 for row in chosen)
        assert (TOY / "tables" / f"{name}.md").read_text().count("**") > 0
        assert r"\bottomrule" in (TOY / "tables" / f"{name}.tex").read_text()


@pytest.mark.parametrize("loss", ["l1", "l1-tlw"])
def test_vdsr_beats_bicubic_on_photographs_that_it_has_not_seen(toy, loss):
    with (TOY / "tables" / "table1.csv").open(newline="") as file:
        psnr = {
            (row["scale"], row["backbone"], row["loss"]): float(row["ours"])
            for row in csv.DictReader(file)
            if row["metric"] == "psnr_y"
        }
    for scale in "23":
        assert psnr[scale, "vdsr", loss] > psnr[scale, "bicubic", ""]


def test_every_trained_cell_has_learned(toy):
    """The pixel-wise error on the training crops of its first epoch, before and after training.

    The weighted losses cannot be compared themselves: their weights change, too.
    """
    paths = sorted(TOY.glob("table*/*/cell.json"))
    assert len(paths) == 27
    for path in paths:
        cell = read_cell(path)
        pairs = Pairs(TOY / "pairs" / "train" / f"toy-train_x{cell.scale}.h5")
        batches = Batches([pairs], cell.recipe, cell.seed)
        images = [tuple(map(to_unit, batches[step])) for step in range(12)]
        torch.manual_seed(cell.seed)
        start = build_network(cell.backbone, cell.scale)
        init_weights(start, cell.recipe.init)
        trained, _ = load_network(path.with_name("weights.safetensors"))
        error = PixelLoss("mse" if cell.loss_name.startswith("mse") else "l1")
        with torch.no_grad():
            before, after = (
                sum(error(net(lr), hr).item() for lr, hr in images)
                for net in (start.eval(), trained)
            )
        assert after < before, cell.name


# --- its pages --------------------------------------------------------------------------------

THROUGH = """
  told.numbers = []; told.images = [];
  for (const number of document.querySelectorAll("td .number[data-row]")) {
    told.numbers.push(number.querySelector(".ours").innerText.trim());
    number.click(); await wait(20);
    if ($("images").open) told.images.push($("images-body").rows.length);
    $("images").close();
  }
  for (let place = 0; place < document.querySelectorAll(".numbers thead button").length; place++)
    click(".numbers thead button", place);
  told.pictures = 0;
  for (const picture of document.querySelectorAll(".gallery button")) {
    picture.click(); await wait(200);
    if ($("viewer").open && $("viewer-left").width > 0) told.pictures++;
    $("viewer").close();
  }
  told.figures = [...document.querySelectorAll("figure img")].map((image) => image.alt);
  told.drawn = [...document.querySelectorAll("figure img")].every((image) => image.complete);
  told.text = document.body.innerText;
"""


@pytest.mark.skipif(not BROWSER, reason="no Chromium is installed")
@pytest.mark.parametrize("grid", ["table1", "table2"])
def test_its_page_has_the_tables_numbers_and_opens_all_of_them_in_a_browser(toy, tmp_path, grid):
    page = f"results/toy/report/{grid}.html"
    snakemake(page, "--cores", "2", "--configfile", "config/toy.yaml")
    (tmp_path / "page.html").write_bytes((ROOT / page).read_bytes())
    with (TOY / "tables" / f"{grid}.csv").open(newline="") as file:
        ours = [row["ours"] for row in csv.DictReader(file)]
    for width in (1200, 400):
        told = visited(tmp_path / "page.html", THROUGH, width=width)
        assert told["errors"] == [] and set(told["loaded"]) <= {"data:"} and told["wide"]
        shown = sorted(float(number.split()[0]) for number in told["numbers"])
        assert shown == pytest.approx(sorted(map(float, ours)), abs=6e-4)
        assert set(told["images"]) == {2} and len(told["images"]) == len(ours)
        assert told["pictures"] >= 2 and told["drawn"]
    watched = {name.rpartition("_seed")[0] for name in told["figures"] if "over_training" in name}
    expected = {"table1": set(), "table2": {"weights_over_training_hat_x4_l1-tlw"}}
    assert watched == expected[grid]
    assert "toy-train" in told["text"] and "No image is there twice" in told["text"]
