"""The workflow, run for real: what it plans, what it reruns, how it fails, how it resumes.

Tests marked `toy` look at the finished toy grid in results/toy, which `make toy` leaves.
"""

import csv
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from cluster import PATIENCE, Run
from toys import authors_state_dict, environment, photograph, tlw

from tlw.images import write_image
from tlw.weights import judge_weights

ROOT = Path(__file__).parents[1]
TOY = ROOT / "results" / "toy"

SNAKEMAKE = [sys.executable, "-m", "snakemake"]
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def snakemake(*words: str, folder: Path = ROOT, fails: bool = False) -> str:
    """Runs Snakemake in a folder; what it printed."""
    done = subprocess.run(
        [*SNAKEMAKE, *words],
        cwd=folder,
        env=ENVIRONMENT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=600,
    )
    assert (done.returncode != 0) == fails, done.stdout
    return done.stdout


def planned(output: str, rule: str) -> list[str]:
    """The jobs of a rule in a dry run: their wildcards, as grid/cell where it has both."""
    jobs = re.findall(rf"^(?:local)?rule {rule}:\n((?:    .*\n)*)", output, re.MULTILINE)
    wildcards = [re.search(r"wildcards: (.*)", job) for job in jobs]
    pairs = [re.findall(r"(\w+)=([^,\n]+)", found[1]) if found else [] for found in wildcards]
    return sorted("/".join(value for _, value in pair) for pair in pairs)


def planned_cells(output: str) -> dict[str, dict]:
    """The resolved configs of the cells of a dry run that prints its commands, by grid/cell."""
    commands = [shlex.split(line) for line in re.findall(r"\btlw cell (.*)", output)]
    folders = [Path(words[words.index("--output") + 1]).parent for words in commands]
    return {
        f"{folder.parent.name}/{folder.name}": json.loads(words[0])
        for folder, words in zip(folders, commands, strict=True)
    }


def changed(config: str, tmp_path: Path, change) -> str:
    """A copy of a config of ours with a change made to its content."""
    content = yaml.safe_load((ROOT / "config" / config).read_text())
    change(content)
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


# --- plans ------------------------------------------------------------------------------------


def test_the_papers_grid_is_36_cells_and_3(clone):
    output = snakemake("-n", "all", "--cores", "16", "--resources", "gpu=4", folder=clone)
    cells = planned(output, "train")
    assert "Left out of the tables: the image set Manga109" in output
    assert len([c for c in cells if c.startswith("table1/")]) == 36
    assert [c for c in cells if c.startswith("table2/")] == sorted(
        f"table2/hat_x4_{loss}_seed0" for loss in ("l1", "l1-tlw", "l1-udl")
    )


def test_a_cell_is_made_by_naming_its_scores(clone):
    output = snakemake("-n", "results/paper/table1/edsr_x4_l1-tlw_seed0/scores.csv", folder=clone)
    assert planned(output, "train") == ["table1/edsr_x4_l1-tlw_seed0"]
    assert planned(output, "pairs") == sorted(
        [f"train/{name}/4" for name in ("General100", "BSDS200", "T91")]
        + [f"test/{name}/4" for name in ("Set5", "Set14", "BSDS100", "Urban100")]
    )
    assert planned(output, "evaluate") == planned(output, "train") == planned(output, "cell")
    assert planned(output, "fetch_weights") == ["vgg"] and planned(output, "table") == []


def test_presets_are_chosen_by_grid_and_by_loss_and_seeds_multiply_cells(clone, tmp_path):
    def change(content):
        content["grids"]["table1"].update(preset="authors-code", backbones=["vdsr"], seeds=[0, 7])
        content["losses"] = {"mse-tlw": {"preset": "paper"}}

    config = changed("config.yaml", tmp_path, change)
    output = snakemake("-n", "--printshellcmds", "--configfile", config, folder=clone)
    cells = planned_cells(output)
    assert sorted(cells) == planned(output, "train") and len(cells) == 3 * 4 * 2 + 3
    for name, cell in cells.items():
        grid, loss = name.split("/")[0], cell["loss_name"]
        preset = "paper" if grid == "table2" or loss == "mse-tlw" else "authors-code"
        assert cell["preset"] == preset
        if loss.endswith("-tlw"):
            assert cell["loss"]["k_epochs"] == {"paper": 200, "authors-code": 100}[preset]
        # start weights are the grid's, so that all its losses begin alike
        assert cell["recipe"]["init"] == ("normal" if grid == "table2" else "authors-code")
        assert name.endswith(f"_seed{cell['seed']}")


def test_it_has_no_lint(clone):
    output = snakemake("--lint", "--configfile", "config/toy.yaml", folder=clone)
    assert "Congratulations" in output


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(protocl="paper"), "protocl: unknown key; did you mean 'protocol'?"),
        (lambda c: c["grids"]["table1"].update(scales=[5]), "grids.table1.scales.0"),
        (lambda c: c["grids"]["table1"]["backbones"].append("edrs"), "did you mean 'edsr'?"),
        (lambda c: c["losses"].update({"l1-tlw": {"sampels": 2}}), "did you mean 'samples'?"),
        (lambda c: c.update(test=["toy-tset"]), "test: expected one of toy-train, toy-test, T91"),
        (lambda c: c.update(test=["Manga109"]), "test: the image set Manga109 has to be got by"),
        (
            lambda c: c["grids"]["table2"].update(train=["Manga109"]),
            "grids.table2.train: the image set Manga109 has to be got by hand (Academic use",
        ),
        (lambda c: c["backbones"]["vdsr"]["arguments"].update(depth=3), "no argument 'depth'"),
    ],
)
def test_a_wrong_config_is_told_by_its_key(clone, tmp_path, change, words):
    output = snakemake(
        "-n", "--configfile", changed("toy.yaml", tmp_path, change), folder=clone, fails=True
    )
    assert words in output and "Traceback" not in output


def touch_outputs(output: str, folder: Path) -> None:
    """Empty files in place of all that a dry run would make."""
    for line in re.findall(r"^    output: (.*)$", output, re.MULTILINE):
        for name in line.split(", "):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


def test_a_benchmark_to_be_got_by_hand_joins_the_tables_when_its_images_are_there(clone, tmp_path):
    """Only what Snakemake plans: the files are empty, their ages alone count."""
    with (clone / "resources" / "datasets.yaml").open("a") as file:
        file.write(yaml.safe_dump({"by-hand": {
            "use": "test", "images": 1, "terms": "Ours.",
            "sources": [{"kind": "manual", "instructions": "Take a photograph."}],
        }}))  # fmt: skip
    config = changed("toy.yaml", tmp_path, lambda c: c["test"].append("by-hand"))
    words = ("-n", "--printshellcmds", "--configfile", config)
    output = snakemake(*words, folder=clone)
    assert "Left out of the tables: the image set by-hand has to be got by hand" in output
    assert "Put the 1 images into resources/images/by-hand" in output
    assert len(planned(output, "train")) == 27
    assert output.count("--left-out=by-hand") == 2  # tables
    assert not [job for job in planned(output, "pairs") if "by-hand" in job]
    touch_outputs(output, clone)
    assert "Nothing to be done" in snakemake(*words, folder=clone)

    write_image(clone / "resources" / "images" / "by-hand" / "mine.png", photograph())
    subprocess.run(tlw("fetch", "by-hand"), cwd=clone, check=True, capture_output=True)
    output = snakemake(*words, folder=clone)
    assert "left" not in output.lower()
    assert planned(output, "pairs") == [f"test/by-hand/{scale}" for scale in (2, 3, 4)]
    assert len(planned(output, "evaluate")) == 27 + 3
    assert planned(output, "table") == ["table1", "table2"]
    for rule in ("train", "cell", "fetch_images", "fetch_weights"):
        assert planned(output, rule) == []


# --- a real run, killed -----------------------------------------------------------------------

SMALL = {
    "results": "results/small",
    "test": ["toy-test"],
    "device": "cpu",
    "threads": 1,
    "checkpoint_seconds": 0.05,
    "grids": {
        "one": {
            "title": "One cell",
            "train": ["toy-train"],
            "recipe": "quick",
            "backbones": ["vdsr"],
            "scales": [2],
            "losses": ["l1"],
        }
    },
    "recipes": {
        "quick": {"sampling": "crops", "size": 48, "batch": 2, "epochs": 2, "steps_per_epoch": 80}
    },
    "backbones": {"vdsr": {"path": "vdsr", "arguments": {"features": 16, "layers": 2}}},
}
CELL = Path("results/small/one/vdsr_x2_l1_seed0")


def test_a_killed_workflow_goes_on_and_ends_with_the_same_weights(clone):
    (clone / "small.yaml").write_text(yaml.safe_dump(SMALL))
    words = [str(CELL / "weights.safetensors"), "--cores", "1", "--configfile", "small.yaml"]
    run = subprocess.Popen(
        [*SNAKEMAKE, *words],
        cwd=clone,
        env=ENVIRONMENT,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    patience = time.monotonic() + 120
    while not list((clone / CELL / "checkpoints").glob("step-*.pt")):
        assert run.poll() is None and time.monotonic() < patience
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert not (clone / CELL / "weights.safetensors").exists()

    snakemake(*words, "--unlock", folder=clone)
    snakemake(*words, "--rerun-incomplete", folder=clone)
    log = (clone / CELL / "logs" / "train.log").read_text()
    assert re.search(r"goes on at step [1-9]", log), log
    resumed = (clone / CELL / "weights.safetensors").read_bytes()

    graphs = ("--config", "cuda_graphs=true", "--printshellcmds")
    output = snakemake(*words, "--forcerun", "train", *graphs, folder=clone)
    assert len(planned(output, "train")) == 1 and "--cuda-graphs" in output
    assert "starts at step 0" in (clone / CELL / "logs" / "train.log").read_text()
    assert (clone / CELL / "weights.safetensors").read_bytes() == resumed
    otherwise = ("checkpoint_seconds=7", "threads=2", "device=auto", "cells_per_gpu=2")
    for how in ((), ("--config", *otherwise)):
        assert "Nothing to be done" in snakemake(*words, *how, folder=clone)


# --- rows that were not trained here ----------------------------------------------------------


@pytest.fixture
def imported(clone) -> list[str]:
    """A clone with a benchmark of one image and a grid with an imported EDSR; options to run it."""
    image = Path("resources", "images", "one", "0.png")
    write_image(clone / image, np.ascontiguousarray(photograph(size=(48, 48))))
    with (clone / "resources" / "datasets.yaml").open("a") as registry:
        entry = {"use": "test", "images": 1, "terms": "CC0.", "sources": MANUAL}
        registry.write("\n" + yaml.safe_dump({"one": entry}))
    weights = clone / "resources" / "weights"
    weights.mkdir()
    shutil.copy(judge_weights("vgg"), weights)
    row = {"name": "edsr-authors", "backbone": "edsr", "scale": 4, "loss": "l1-tlw"}
    grid = SMALL["grids"]["one"] | {"imported": [row | {"checkpoint": "authors/edsr 4.pth"}]}
    config = SMALL | {"test": ["one"], "grids": {"one": grid}}
    (clone / "imported.yaml").write_text(yaml.safe_dump(config))
    return ["--cores", "1", "--configfile", "imported.yaml"]


MANUAL = [{"kind": "manual", "instructions": "It is there."}]
FOREIGN = "results/small/one/edsr-authors_x4_l1-tlw_imported"


def test_a_checkpoint_that_is_not_there_is_told_when_planned(clone, imported):
    output = snakemake("-n", *imported, folder=clone, fails=True)
    assert "Missing input files for rule import_weights" in output
    assert "authors/edsr 4.pth" in output and "Traceback" not in output


def test_an_imported_checkpoint_is_scored_like_a_cell_and_stands_in_its_grid(clone, imported):
    (clone / "authors").mkdir()
    torch.save(authors_state_dict("edsr", 4), clone / "authors" / "edsr 4.pth")
    plan = snakemake("-n", *imported, folder=clone)
    assert planned(plan, "import_weights") == ["one/edsr-authors_x4_l1-tlw_imported"]
    assert planned(plan, "train") == ["one/vdsr_x2_l1_seed0"]
    assert planned(plan, "evaluate") == sorted(
        ["one/edsr-authors_x4_l1-tlw_imported", "one/vdsr_x2_l1_seed0", "bicubic_x2", "bicubic_x4"]
    )
    assert re.search(rf"{CELL}/scores.csv, .*{FOREIGN}/scores.csv, .*bicubic_x4/scores.csv", plan)

    snakemake(f"{FOREIGN}/scores.csv", *imported, folder=clone)
    assert not (clone / CELL).exists()
    with (clone / FOREIGN / "scores.csv").open(newline="") as file:
        [score] = csv.DictReader(file)
    row = ["edsr-authors", "4", "l1-tlw", "", "paper", "one", "0.png"]
    assert list(score.values())[:7] == row and 0 < float(score["psnr_y"]) < 60


# --- two at once, and many --------------------------------------------------------------------


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def test_a_second_snakemake_is_refused_and_the_first_ends_as_if_alone(clone, tmp_path):
    """Nor does a run write anywhere in its folder but where the README says."""
    arguments = {"gate": "one", "features": 4, "layers": 1}
    network = {"path": "gated:GatedVDSR", "arguments": arguments}
    (clone / "small.yaml").write_text(yaml.safe_dump(SMALL | {"backbones": {"vdsr": network}}))
    before = files(clone)
    words = [str(CELL / "weights.safetensors"), "--cores", "1", "--configfile", "small.yaml"]
    gates = environment(PATH=ENVIRONMENT["PATH"], GATES=str(tmp_path))
    first = Run([*SNAKEMAKE, *words], clone, gates, log=tmp_path / "first.txt")
    try:
        first.until((tmp_path / "one.pid").exists)
        second = Run([*SNAKEMAKE, *words], clone, gates, log=tmp_path / "second.txt")
        assert second.process.wait(PATIENCE) != 0
        assert "Directory cannot be locked" in second.output
        (tmp_path / "one.open").touch()
        first.wait()
    finally:
        first.kill()
    again = Run([*SNAKEMAKE, *words], clone, gates, log=tmp_path / "again.txt")
    assert "Nothing to be done" in again.wait()
    made = {path.parts[0] for path in files(clone) - before}
    assert made == {"results", "resources", ".snakemake"}


@pytest.mark.slow
def test_a_thousand_cells_are_planned(clone, tmp_path):
    def change(content):
        content["grids"] = {"table1": content["grids"]["table1"] | {"seeds": list(range(28))}}

    output = snakemake(
        "-n", "--quiet", "rules", "--profile", "slurm",
        "--configfile", changed("config.yaml", tmp_path, change), folder=clone,
    )  # fmt: skip
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", output, re.MULTILINE))
    assert (jobs["cell"], jobs["train"], jobs["evaluate"]) == ("1008", "1008", "1011")


# --- the finished toy grid --------------------------------------------------------------------


@pytest.fixture
def toy():
    if not (TOY / "tables" / "table1.csv").exists():
        pytest.skip("results/toy is not there: run `make toy` first")
    return yaml.safe_load((ROOT / "config" / "toy.yaml").read_text())


def dry_run(*words: str, config: str = "config/toy.yaml") -> str:
    return snakemake("-n", *words, "--configfile", config)


@pytest.mark.toy
def test_nothing_is_left_to_be_done(toy):
    assert "Nothing to be done" in dry_run()


@pytest.mark.toy
def test_changing_a_loss_reruns_its_cells_and_no_others(toy, tmp_path):
    config = changed("toy.yaml", tmp_path, lambda c: c["losses"].update({"l1-tlw": {"samples": 2}}))
    cells = planned(dry_run(config=config), "train")
    assert cells == sorted(
        [f"table1/{b}_x{s}_l1-tlw_seed0" for b in ("rcan", "vdsr", "edsr") for s in (2, 3)]
        + ["table2/hat_x4_l1-tlw_seed0"]
    )


@pytest.mark.toy
def test_changing_what_no_cell_reads_reruns_no_training(toy, tmp_path):
    def change(content):
        content["grids"]["table1"]["title"] = "Another caption"
        content["losses"]["l1-udl-long"] = {"kind": "udl", "esu_epochs": 3}

    output = dry_run(config=changed("toy.yaml", tmp_path, change))
    assert planned(output, "train") == [] and planned(output, "table") == ["table1"]


@pytest.mark.toy
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


@pytest.mark.toy
def test_one_cell_is_rerun_by_naming_it(toy):
    cell = "results/toy/table1/edsr_x3_l1-tlw_seed0"
    output = dry_run(f"{cell}/scores.csv", "--forcerun", "train")
    assert planned(output, "train") == ["table1/edsr_x3_l1-tlw_seed0"]
    assert planned(output, "evaluate") == ["table1/edsr_x3_l1-tlw_seed0"]


@pytest.mark.toy
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


@pytest.mark.toy
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


@pytest.mark.toy
def test_every_trained_cell_has_learned(toy):
    """The pixel-wise error on the training crops of its first epoch, before and after training.

    The weighted losses cannot be compared themselves: their weights change, too.
    """
    import torch

    from tlw.config import read_cell
    from tlw.images import to_unit
    from tlw.losses import PixelLoss
    from tlw.pairs import Pairs
    from tlw.sampling import Batches
    from tlw.sr_net import build_network, load_network
    from tlw.trainer import init_weights

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
