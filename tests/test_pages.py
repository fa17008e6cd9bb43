"""The examples of README, CONTRIBUTING and the other pages, run as they are printed."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import torch
import yaml
from PIL import Image
from plans import ENVIRONMENT, planned, planned_cells
from png_files import write_image
from scored_cells import scored
from skimage import data
from snakemake.utils import update_config
from toys import (
    SMALL_EDSR,
    authors_state_dict,
    environment,
    photograph,
    tlw,
    toy_cell,
    toy_cells,
    toy_pairs,
)
from typer.testing import CliRunner

from tlw.cli import app
from tlw.config.config import Config, read_cell
from tlw.config.settings import LossSettings
from tlw.data.pairs import write_pairs
from tlw.data.protocols import PROTOCOLS
from tlw.judge.weights import judge_weights
from tlw.networks.sr_net import build_network, load_network, save_network
from tlw.report.tables import read_scores
from tlw.scoring.evaluate import evaluate_bicubic

ROOT = Path(__file__).parents[1]


def blocks(page: str, language: str) -> list[tuple[str, str]]:
    """The code blocks of a page: what stands behind the language, and the code."""
    text = (ROOT / page).read_text()
    return re.findall(rf"^```{language} ?(.*)\n((?:.*\n)*?)```$", text, re.MULTILINE)


def in_shell(lines: str, folder: Path) -> subprocess.CompletedProcess:
    """Runs lines of a page in a folder, as they are printed."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-ec", lines],
        cwd=folder,
        env=environment(PATH=path),
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("page", ["README.md", "docs/loss.md"])
def test_the_loop_of_a_page_trains_a_stranger_s_network(page):
    [code] = [code for _, code in blocks(page, "python") if "TLWLoss(" in code]
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 12, 3, padding=1), torch.nn.PixelShuffle(2))
    before = net[0].weight.detach().clone()
    scope = {
        "net": net,
        "optimizer": torch.optim.Adam(net.parameters(), lr=1e-3),
        "batches": [(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 32, 32))] * 2,
        "epochs": 2,
    }
    exec(code, scope)
    assert scope["loss"].isfinite() and not torch.equal(net[0].weight, before)
    assert scope["loss_fn"].last["phi_loss"].isfinite()


def test_images_are_upscaled_as_its_page_says(tmp_path, monkeypatch):
    [shell] = [code for _, code in blocks("docs/upscaling.md", "sh") if "tlw upscale" in code]
    words = shlex.split(shell)
    weights = tmp_path / words[words.index("--weights") + 1]
    cell = toy_cell(backbone=SMALL_EDSR, scale=4)
    save_network(weights, build_network(cell.backbone, 4), cell)
    (tmp_path / "scans").mkdir()
    for name in ("photo.jpg", "scans/1.png", "scans/2.tif"):
        Image.fromarray(photograph(size=(9, 12))).save(tmp_path / name)
    done = subprocess.run(tlw(*words[1:]), cwd=tmp_path, env=environment(), capture_output=True)
    assert done.returncode == 0, done.stderr
    made = {path.name: Image.open(path).size for path in (tmp_path / "large").iterdir()}
    assert made == dict.fromkeys(["photo.png", "1.png", "2.png"], (48, 36))

    [python] = [
        code for _, code in blocks("docs/upscaling.md", "python") if "super_resolve" in code
    ]
    monkeypatch.chdir(weights.parent)
    scope = {"lr": torch.rand(3, 5, 6)}
    exec(python, scope)
    assert scope["sr"].shape == (3, 20, 24) and scope["cell"] == cell


# --- the grid, and what a config adds to it ---------------------------------------------------


def shell(line: str, folder: Path) -> str:
    """All that a line of shell printed."""
    done = in_shell(line, folder)
    return done.stdout + done.stderr


def test_one_cell_is_made_and_made_again_as_its_page_says(clone):
    [lines] = [code for _, code in blocks("docs/grid.md", "sh") if "--forcerun" in code]
    for line in lines.splitlines():
        assert planned(shell(f"{line} -n", clone), "train") == ["table1/edsr_x4_l1-tlw_seed0"]


def test_a_change_is_laid_over_the_papers_grid_as_its_page_says(clone):
    configs = dict(blocks("docs/grid.md", "yaml"))
    for name, text in configs.items():
        (clone / name).write_text(text)
    [line] = [code.strip() for _, code in blocks("docs/grid.md", "sh") if "mine.yaml" in code]
    cells = planned_cells(shell(f"{line} --printshellcmds", clone))
    assert len(cells) == 36 + 3
    samples = {name: cell["loss"].get("samples") for name, cell in cells.items()}
    assert {n for n, t in samples.items() if t == 5} == {n for n in cells if "_l1-tlw_" in n}

    line = line.replace("mine.yaml", "grid.yaml")
    output = shell(f"PYTHONPATH=examples {line}", clone)
    added = [cell for cell in planned(output, "train") if cell.startswith("mine/")]
    assert len(added) == 2 * 4 * 3 and len(planned(output, "train")) == 39 + 24


def test_the_entries_that_the_key_by_key_page_shows_are_right(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    for _, text in blocks("config/README.md", "yaml"):
        content = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
        update_config(content, yaml.safe_load(text))
        Config.parse(content, "config/README.md")


def test_the_grids_of_the_page_on_recipes_are_right():
    """The first is a config, which each of the others adds to."""
    content = {}
    for _, text in blocks("docs/recipes.md", "yaml"):
        update_config(content, yaml.safe_load(text))
        config = Config.parse(content, "docs/recipes.md")
    cells = config.cells("edsr")
    assert [(cell.scale, cell.recipe.size) for cell in cells[::2]] == [(2, 96), (3, 144), (4, 192)]
    assert {cell.validation.keep for cell in cells} == {"best"}
    starts = [cell.start for cell in config.cells("x4")]
    assert starts == [f"results/field/x2/{c.name}/weights.safetensors" for c in config.cells("x2")]


def test_an_image_set_of_ones_own_trains_the_example_as_contributing_says(clone, monkeypatch):
    for name, text in blocks("CONTRIBUTING.md", "yaml"):
        (clone / name).write_text(text)
    for name in ("astronaut", "coffee"):
        write_image(clone / "photos" / f"{name}.png", getattr(data, name)())
    shell("tlw fetch my-photos --registry my-sets.yaml --from photos", clone)
    [printed] = re.findall(
        r"`(snakemake -n .*photos\.yaml)`", (ROOT / "CONTRIBUTING.md").read_text()
    )
    here = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["examples", here]))
    pairs = planned(shell(printed, clone), "pairs")
    assert [job for job in pairs if "train" in job] == ["train/my-photos/2", "train/toy-train/3"]

    target = "results/examples/own/shuffle_x2_charbonnier_seed0/weights.safetensors"
    shell(printed.replace("-n", f"{target} --cores 1 --show-failed-logs"), clone)
    monkeypatch.syspath_prepend(clone / "examples")
    net, cell = load_network(clone / target, networks=["my_networks:Shuffle"])
    assert cell.train == ("my-photos",) and cell.backbone.path == "my_networks:Shuffle"
    assert cell.loss.path == "my_losses:Charbonnier" and cell.loss.arguments == {"eps": 0.002}
    assert net(torch.rand(1, 3, 8, 8)).shape == (1, 3, 16, 16)


@pytest.mark.slow
def test_the_examples_run_as_their_page_says(clone, monkeypatch):
    (clone / "resources" / "weights").mkdir()
    shutil.copy(judge_weights("vgg"), clone / "resources" / "weights")
    [(_, line)] = blocks("examples/README.md", "sh")
    shell(line, clone)
    assert "Nothing to be done" in shell(line, clone)
    monkeypatch.syspath_prepend(clone / "examples")
    results = clone / "results" / "examples"
    cells = {path.parent.name: read_cell(path) for path in results.glob("*/*/cell.json")}
    assert sorted(cells) == sorted(
        [f"shuffle_x2_{loss}_seed{n}" for loss in ("l1-tlw", "charbonnier") for n in (0, 1, 2)]
        + ["vdsr-small_x3_l1-tlw_seed0", "vdsr-small_x3_l1-tlw-code_seed0"]
    )
    readings = [cells[f"vdsr-small_x3_{loss}_seed0"] for loss in ("l1-tlw", "l1-tlw-code")]
    assert [cell.preset for cell in readings] == ["paper", "authors-code"]
    assert [cell.loss.samples for cell in readings] == [5, 3]
    table = (results / "tables" / "own.md").read_text()
    assert "over 3 seeds" in table and "| shuffle | charbonnier |" in " ".join(table.split())
    assert "| l1-tlw-code |" in (results / "tables" / "readings.md").read_text()


# --- networks, images and comparisons ---------------------------------------------------------


def test_the_commands_for_networks_and_images_from_elsewhere_run_as_printed(tmp_path, monkeypatch):
    benchmark, rows = tmp_path / "resources" / "images" / "Set5", tmp_path / "results" / "paper"
    for folder in (benchmark, tmp_path / "my-images"):
        write_image(folder / "a.png", data.astronaut()[:48, :48])
    path = rows / "pairs" / "test" / "Set5_x4.h5"
    rules = PROTOCOLS["paper"]
    write_pairs([benchmark / "a.png"], path, name="Set5", scale=4, protocol=rules, use="test")
    evaluate_bicubic([path], rows / "bicubic_x4" / "scores.csv", device="cpu", judge_folder=None)
    torch.save(authors_state_dict("edsr", 4), tmp_path / "edsr_x4.pth")
    monkeypatch.chdir(tmp_path)
    page = blocks("docs/scoring.md", "sh")
    shell = "".join(code for _, code in page if "results/paper/table1" not in code)
    chosen = [shlex.split(line) for line in shell.splitlines()]
    assert [words[1] for words in chosen] == ["import", "evaluate", "score", "tables"]
    for words in chosen:
        done = CliRunner().invoke(app, words[1:])
        assert done.exit_code == 0, done.exception
    assert "Not trained here: edsr-authors, mine." in done.output
    assert "| edsr-authors | l1-tlw | " in done.output and "| edsr_x4.pth " in done.output


def test_the_cells_of_a_scale_are_scored_anew_at_once_as_its_page_says(tmp_path):
    rows = tmp_path / "results" / "paper"
    images = [photograph(size=(48, 48))]
    for name in ("Set5", "Set14", "BSDS100", "Urban100"):
        made = toy_pairs(tmp_path, images, name=name, scale=4, use="test")
        (rows / "pairs" / "test").mkdir(parents=True, exist_ok=True)
        made.rename(rows / "pairs" / "test" / f"{name}_x4.h5")
    for scale, losses in {4: ("l1", "mse"), 2: ("l1",)}.items():
        for cell in toy_cells(losses, scale=scale):
            path = rows / "table1" / cell.name / "weights.safetensors"
            save_network(path, build_network(cell.backbone, scale), cell)
    line, ensembles = (
        code for _, code in blocks("docs/scoring.md", "sh") if "evaluate results" in code
    )
    in_shell(line, tmp_path)
    scores = [read_scores(path) for path in sorted(rows.rglob("scores.csv"))]
    assert [list(found["loss"].unique()) for found in scores] == [["l1"], ["mse"]]
    for found in scores:
        assert list(found["benchmark"]) == ["Set5", "Set14", "BSDS100", "Urban100"]

    in_shell(ensembles.replace("edsr_", "toy_"), tmp_path)
    table = (tmp_path / "edsr-with-ensembles.md").read_text()
    assert re.search(r"\| toy +\| l1 ", table) and re.search(r"\| toy\+ +\| mse ", table)


def test_the_comparisons_of_the_page_compare_scored_cells(tmp_path):
    values = {("Set", f"{i}"): (30 + i, 0.2) for i in range(5)}
    for loss in ("l1", "l1-tlw", "mse"):
        kind = "tlw" if loss == "l1-tlw" else "pixel"
        settings = {"kind": kind, "base": loss.removesuffix("-tlw")}
        scored(tmp_path / "results/paper/table1", values, row=("vdsr", 2, loss), settings=settings)
    bicubic = scored(tmp_path / "results/paper", values, row=("bicubic", 2, ""), seed="")
    bicubic.rename(bicubic.with_name("bicubic_x2"))
    [lines] = [code for _, code in blocks("docs/statistics.md", "sh") if "tlw compare" in code]
    done = in_shell(lines, tmp_path)
    assert done.stderr == ""
    assert done.stdout.count("# Differences") == 3 and "| bicubic_x2 |" in done.stdout
    assert (tmp_path / "differences.csv").exists()


def test_the_profile_takes_what_its_readme_says(clone):
    """The entries of slurm/README.md and docs/scaling.md, in a plan by the profile."""
    requests, gres = (yaml.safe_load(text) for _, text in blocks("slurm/README.md", "yaml"))
    [(_, grouped)] = blocks("docs/scaling.md", "yaml")
    profile = yaml.safe_load((clone / "slurm" / "profile.yaml").read_text())
    profile["default-resources"] |= {"slurm_partition": "'all'", "slurm_account": "my-project"}
    content = yaml.safe_load((clone / "config" / "config.yaml").read_text())
    content["resources"] = {k: v for k, v in requests["resources"].items() if k != "mine"}
    (clone / "my.yaml").write_text(yaml.safe_dump(content))
    target = "results/paper/table1/rcan_x2_l1_seed0/scores.csv"

    def planned(changes: dict) -> list[str]:
        (clone / "slurm" / "profile.yaml").write_text(yaml.safe_dump(profile | changes))
        words = ["-n", "--profile", "slurm", target, "--configfile", "my.yaml"]
        command = [sys.executable, "-m", "snakemake", *words]
        both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        done = subprocess.run(command, cwd=clone, text=True, env=ENVIRONMENT, **both)
        assert done.returncode == 0, done.stdout
        rules = r"^ *rule (?:train|evaluate):\n(?:.*\n)*?.* resources: (.*)"
        return re.findall(rules, done.stdout, re.MULTILINE)

    train, evaluate = planned(gres)
    for words in ("runtime=1200", "mem_mb=32000", "gpu=0", "gres=gpu:a100:1", "--signal=TERM@120"):
        assert words in train
    assert "slurm_partition=all, " in train + "," and "slurm_account=my-project" in train
    assert "gres=gpu:a100:1" in evaluate and "gpu=0" in evaluate
    train, evaluate = planned(yaml.safe_load(grouped))
    assert "turn=1" in train and "gpu=1" in train and "turn=1" in evaluate


def test_the_picture_of_the_workflow_shows_every_rule():
    rules = [
        name
        for path in (ROOT / "workflow").rglob("*.smk")
        for name in re.findall(r"^rule (\w+):", path.read_text(), re.MULTILINE)
    ]
    picture = (ROOT / "docs" / "dag.svg").read_text()
    shown = set(re.findall(r">([a-z ]+)</text>", picture)) - {"all tables"}
    assert shown == {name.replace("_", " ") for name in rules}


def test_every_key_of_the_config_is_explained():
    page = (ROOT / "config" / "README.md").read_text()
    schema = Config.model_json_schema()
    keys = {k for part in [schema, *schema["$defs"].values()] for k in part["properties"]}
    for kind in get_args(LossSettings):
        keys |= set(kind.model_fields)
    assert [key for key in sorted(keys) if f"`{key}`" not in page] == []


def test_the_pages_link_to_files_that_are_there():
    pages = [
        *ROOT.glob("*.md"),
        *(p for d in ("docs", "config", "slurm") for p in (ROOT / d).glob("*.md")),
    ]
    for page in pages:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if found := re.match(r"\.\./\.\./actions/workflows/([^/]+)", link):
                link = f".github/workflows/{found[1]}"  # its badge, of whichever fork is looked at
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name}: {link}"
