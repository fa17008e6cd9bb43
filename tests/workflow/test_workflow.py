"""The workflow, run for real: what it plans, what it reruns, how it fails, how it resumes."""

import csv
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from clones import make_clone
from cluster import PATIENCE, Run
from plans import ENVIRONMENT, SNAKEMAKE, changed, planned, planned_cells, snakemake
from png_files import write_image
from toys import authors_state_dict, environment, photograph, tlw

from tlw.config.config import read_cell
from tlw.judge.weights import judge_weights
from tlw.report.reproduction import BEGIN, END

MANUAL = [{"kind": "manual", "instructions": "It is there."}]

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
    assert planned(output, "evaluate") == planned(output, "train")
    assert planned(output, "fetch_weights") == ["lpips_vgg"] and planned(output, "table") == []


def test_metrics_of_a_config_are_scored_beside_the_protocols_with_their_weights(clone, tmp_path):
    config = changed("toy.yaml", tmp_path, lambda c: c.update(metrics=["dists", "lpips_alex"]))
    target = "results/toy/table1/edsr_x2_l1_seed0/scores.csv"
    output = snakemake(target, "-n", "--printshellcmds", "--configfile", config, folder=clone)
    assert planned(output, "fetch_weights") == ["dists", "lpips_alex", "lpips_vgg"]
    assert "--metric=dists --metric=lpips_alex" in output
    assert "tlw fetch-weights dists " in output and "tlw fetch-weights alex " in output


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
        (
            lambda c: c.update(test=["toy-tset"]),
            "test: expected one of toy-train, toy-test, toy-valid",
        ),
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


def test_what_a_cell_starts_from_and_is_watched_by_is_made_before(clone, tmp_path):
    """x3 from the weights of x2, which another grid trains; and from a file of the user's."""

    def add(content):
        grid = content["grids"]["table1"] | {"backbones": ["edsr"], "losses": ["l1"]}
        start = "results/toy/first/{backbone}_x2_{loss}_seed{seed}/weights.safetensors"
        watched = {"validation": {"image_set": "toy-valid", "every": 24}}
        content["grids"] = {
            "first": grid | {"scales": [2]},
            "then": grid | {"scales": [3], "start": start} | watched,
            "mine": grid | {"scales": [3], "start": "mine.safetensors"},
        }

    config = changed("toy.yaml", tmp_path, add)
    words = ("--configfile", config, "-n", "--printshellcmds")
    target = "results/toy/then/edsr_x3_l1_seed0/weights.safetensors"
    output = snakemake(target, *words, folder=clone)
    assert planned(output, "train") == ["first/edsr_x2_l1_seed0", "then/edsr_x3_l1_seed0"]
    assert "test/toy-valid/3" in planned(output, "pairs")
    first = "results/toy/first/edsr_x2_l1_seed0/weights.safetensors"
    options = f"--start={first} --validation=results/toy/pairs/test/toy-valid_x3.h5"
    assert output.count(options) == 1 and output.count("--start=") == 1

    mine = "results/toy/mine/edsr_x3_l1_seed0/weights.safetensors"
    output = snakemake(mine, *words, folder=clone, fails=True)
    assert "MissingInputException" in output and "mine.safetensors" in output
    (clone / "mine.safetensors").touch()
    assert planned(snakemake(mine, *words, folder=clone), "train") == ["mine/edsr_x3_l1_seed0"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seeds: [010, 011]", "seeds.0: '010' is an octal number in YAML 1.1"),
        ("title: a\n    title: b", "grids.table1.title: this key is given twice, first in line 4"),
    ],
)
def test_a_config_is_read_again_by_the_reader_that_refuses_two_readings(clone, text, words):
    (clone / "mine.yaml").write_text(f"# mine\ngrids:\n  table1:\n    {text}\n")
    files = ("--configfile", "config/toy.yaml", "mine.yaml")
    output = snakemake("-n", *files, folder=clone, fails=True)
    assert re.search(rf"mine\.yaml: line \d: .*{re.escape(words)}", output), output
    assert "Traceback" not in output


def test_numbers_times_and_paths_of_a_config_are_what_its_user_means(clone):
    """Of several files and of `--config` the later one counts, key by key, as in Snakemake."""
    (clone / "mine.yaml").write_text(
        "results: ./res/\n"
        "recipes: {toy: {learning_rate: 1e-3}}\n"
        "resources: {edsr: {runtime: 1-12:00:00}}\n"
        "device: auto\n"
    )
    files = ("--configfile", "config/toy.yaml", "mine.yaml", "--config", "device=cpu", "threads=3")
    target = "res/table1/edsr_x2_l1_seed0/scores.csv"
    output = snakemake("-n", "--printshellcmds", "--cores", "4", target, *files, folder=clone)
    [cell] = planned_cells(output).values()
    assert cell["recipe"]["learning_rate"] == 0.001 and cell["recipe"]["epochs"] == 4
    assert "runtime=2160" in output and "./res" not in output and "res//" not in output
    assert "--device cpu --threads 3" in output


def test_a_command_that_is_not_there_is_told_when_the_config_is_read(clone):
    output = snakemake("-n", folder=clone, fails=True, PATH="/usr/bin:/bin")
    assert "the command tlw is not on PATH, which all rules call; activate" in output
    assert "Traceback" not in output


def test_another_tlw_on_the_path_is_told(clone, tmp_path):
    (tmp_path / "tlw").write_text("#!/bin/sh\n")
    (tmp_path / "tlw").chmod(0o755)
    target = "results/paper/table1/edsr_x4_l1_seed0/weights.safetensors"
    path = f"{tmp_path}:{ENVIRONMENT['PATH']}"
    output = snakemake("-n", target, folder=clone, PATH=path)
    assert f"Rules will call {tmp_path}/tlw, not " in output


def touch_outputs(output: str, folder: Path) -> None:
    """Empty files in place of all that a dry run would make."""
    for line in re.findall(r"^    output: (.*)$", output, re.MULTILINE):
        for name in line.split(", "):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


def test_a_benchmark_to_be_got_by_hand_joins_the_tables_when_its_images_are_there(clone, tmp_path):
    """Only what Snakemake plans: the files are empty, their ages alone count."""
    entry = {"use": "test", "images": 1, "terms": "Ours.", "sources": MANUAL}
    (clone / "sets.yaml").write_text(yaml.safe_dump({"by-hand": entry}))
    registry = {"registry": "sets.yaml"}
    config = changed(
        "toy.yaml", tmp_path, lambda c: c.update(test=["toy-test", "by-hand"], **registry)
    )
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
    subprocess.run(
        tlw("fetch", "by-hand", "--registry", "sets.yaml"),
        cwd=clone,
        check=True,
        capture_output=True,
    )
    output = snakemake(*words, folder=clone)
    assert "left" not in output.lower()
    assert planned(output, "pairs") == [f"test/by-hand/{scale}" for scale in (2, 3, 4)]
    assert len(planned(output, "evaluate")) == 3  # bicubic
    assert planned(output, "evaluate_together") == ["table1/2", "table1/3", "table2/4"]
    assert planned(output, "table") == ["table1", "table2"]
    for rule in ("train", "fetch_images", "fetch_weights"):
        assert planned(output, rule) == []


def test_a_changed_entry_fetches_its_own_set_again_and_no_other(clone, tmp_path):
    """Only what Snakemake plans; the registry's age says nothing, what is in it does."""
    entry = {"use": "test", "images": 1, "terms": "Ours.", "sources": MANUAL}
    for name in ("one", "two"):
        write_image(clone / "resources" / "images" / name / "a.png", photograph())

    def plan(**images: int) -> list[str]:
        sets = {name: entry | {"images": count} for name, count in images.items()}
        (clone / "sets.yaml").write_text(yaml.safe_dump(sets))
        return snakemake(*words, folder=clone)

    config = changed(
        "toy.yaml", tmp_path, lambda c: c.update(test=["one", "two"], registry="sets.yaml")
    )
    words = ("--configfile", config, "--cores", "1", "resources/images/one/manifest.tsv",
             "resources/images/two/manifest.tsv")  # fmt: skip
    assert planned(plan(one=1, two=1), "fetch_images") == ["one", "two"]
    assert "Nothing to be done" in plan(one=1, two=1)
    write_image(clone / "resources" / "images" / "two" / "b.png", photograph())
    assert planned(plan(one=1, two=2), "fetch_images") == ["two"]


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

    graphs = ("--config", "cuda_graphs=false", "--printshellcmds")
    output = snakemake(*words, "--forcerun", "train", *graphs, folder=clone)
    assert len(planned(output, "train")) == 1 and "--no-cuda-graphs" in output
    assert "starts at step 0" in (clone / CELL / "logs" / "train.log").read_text()
    assert (clone / CELL / "weights.safetensors").read_bytes() == resumed
    otherwise = ("checkpoint_seconds=7", "threads=2", "device=auto", "cells_per_gpu=2")
    for how in ((), ("--config", *otherwise)):
        assert "Nothing to be done" in snakemake(*words, *how, folder=clone)


@pytest.mark.slow
def test_a_run_that_is_interrupted_and_packed_ends_elsewhere_with_its_verdicts(
    clone, tmp_path, monkeypatch
):
    """As docs/reproduction.md says: here until the time is over, then on another machine."""
    grid = {**SMALL["grids"]["one"], "losses": ["l1", "l1-tlw"], "score_together": True}
    recipe = {**SMALL["recipes"]["quick"], "steps_per_epoch": 8}
    small = {**SMALL, "grids": {"one": grid}, "recipes": {"quick": recipe}}
    there = make_clone(tmp_path / "there")
    for folder in (clone, there):
        (folder / "small.yaml").write_text(yaml.safe_dump({**small, "checkpoint_seconds": 0}))
        (folder / "resources" / "weights").mkdir()
        shutil.copy(judge_weights("vgg"), folder / "resources" / "weights")
    cell = Path("results/small/one/vdsr_x2_l1-tlw_seed0")
    words = ["--cores", "1", "--configfile", "small.yaml"]
    run = subprocess.Popen(
        [*SNAKEMAKE, str(cell / "weights.safetensors"), *words], cwd=clone, env=ENVIRONMENT,
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    patience = time.monotonic() + 180
    while not list((clone / cell / "checkpoints").glob("step-0000000[3-9]*.pt")):
        assert run.poll() is None and time.monotonic() < patience
        time.sleep(0.02)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    for path in (clone / cell).glob(".lock*"):
        path.unlink()  # of a process that is dead; `tlw pack` would wait a minute

    snakemake("--until", "pairs", *words, folder=there)
    for line in (
        tlw("pack", clone / "results/small", "-o", tmp_path / "run.tar"),
        tlw("unpack", tmp_path / "run.tar", there / "results/small"),
    ):
        subprocess.run(line, cwd=there, env=ENVIRONMENT, check=True)
    snakemake(*words, folder=there)
    log = (there / cell / "logs" / "train.log").read_text()
    assert re.search(r"goes on at step [3-9]", log), log

    page = there / "page.md"
    page.write_text(f"{BEGIN}\n{END}\n")
    reproduce = ["reproduce", "--add", "results/small", "--scores", "scores.csv", "--page", page]
    subprocess.run(tlw(*reproduce), cwd=there, env=ENVIRONMENT, check=True)
    assert "C1, TLW has a lower LPIPS than its unweighted loss: undecided**" in page.read_text()


# --- rows that were not trained here ----------------------------------------------------------


@pytest.fixture
def imported(clone) -> list[str]:
    """A clone with a benchmark of one image and a grid with an imported EDSR; options to run it."""
    image = Path("resources", "images", "one", "0.png")
    write_image(clone / image, np.ascontiguousarray(photograph(size=(48, 48))))
    entry = {"use": "test", "images": 1, "terms": "CC0.", "sources": MANUAL}
    (clone / "sets.yaml").write_text(yaml.safe_dump({"one": entry}))
    weights = clone / "resources" / "weights"
    weights.mkdir()
    shutil.copy(judge_weights("vgg"), weights)
    row = {"name": "edsr-authors", "backbone": "edsr", "scale": 4, "loss": "l1-tlw"}
    grid = SMALL["grids"]["one"] | {"imported": [row | {"checkpoint": "authors/edsr 4.pth"}]}
    config = SMALL | {"registry": "sets.yaml", "test": ["one"], "grids": {"one": grid}}
    (clone / "imported.yaml").write_text(yaml.safe_dump(config))
    return ["--cores", "1", "--configfile", "imported.yaml"]


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

    config = yaml.safe_load((clone / "imported.yaml").read_text())
    config["grids"]["one"]["ensembles"] = True
    (clone / "imported.yaml").write_text(yaml.safe_dump(config))
    plan = snakemake("-n", *imported, folder=clone)
    trained = ["one/vdsr_x2_l1_seed0", "one/vdsr_x2_l1_seed0+"]
    bicubic = ["bicubic_x2", "bicubic_x4"]
    ensemble = "one/edsr-authors_x4_l1-tlw_imported+"
    assert planned(plan, "evaluate") == sorted([*trained, *bicubic, ensemble])
    snakemake(f"{FOREIGN}+/scores.csv", *imported, folder=clone)
    with (clone / f"{FOREIGN}+" / "scores.csv").open(newline="") as file:
        [its] = csv.DictReader(file)
    assert its["backbone"] == "edsr-authors+" and its["psnr_y"] != score["psnr_y"]


@pytest.mark.slow
def test_networks_are_scored_together_and_one_is_still_made_by_naming_it(clone, imported):
    """What was trained once is trained again for its own settings' sake alone."""
    grid = SMALL["grids"]["one"] | {
        "losses": ["l1", "mse"],
        "score_together": True,
        "ensembles": True,
        "note": "Tiny.",
    }
    recipe = SMALL["recipes"]["quick"] | {"epochs": 1, "steps_per_epoch": 2}
    recipes = {"quick": recipe}
    config = SMALL | {
        "registry": "sets.yaml",
        "test": ["one"],
        "grids": {"one": grid},
        "recipes": recipes,
    }
    (clone / "small.yaml").write_text(yaml.safe_dump(config))
    words = ("--cores", "2", "--configfile", "small.yaml")
    output = snakemake(*words, folder=clone)
    assert planned(output, "evaluate_together") == ["one/2"]
    ensembles = [f"one/vdsr_x2_{loss}_seed0+" for loss in ("l1", "mse")]
    assert planned(output, "evaluate") == ["bicubic_x2", *ensembles]
    for loss in ("l1", "mse"):
        folder = clone / "results" / "small" / "one" / f"vdsr_x2_{loss}_seed0"
        assert read_cell(folder / "cell.json").loss_name == loss
        with (folder / "scores.csv").open(newline="") as file:
            assert [row["loss"] for row in csv.DictReader(file)] == [loss]
    table = (clone / "results" / "small" / "tables" / "one.md").read_text()
    assert table.rstrip().endswith("Tiny.") and table.count("vdsr+") >= 2

    scores = f"{CELL}/scores.csv"
    assert "Nothing to be done" in snakemake("-n", scores, *words, folder=clone)
    config["losses"] = {"mse": {"base": "l1"}}
    (clone / "small.yaml").write_text(yaml.safe_dump(config))
    output = snakemake("-n", *words, folder=clone)
    assert planned(output, "train") == ["one/vdsr_x2_mse_seed0"]
    assert planned(output, "evaluate_together") == ["one/2"]
    shutil.rmtree(clone / CELL)
    output = snakemake("-n", scores, *words, folder=clone)
    assert planned(output, "train") == planned(output, "evaluate") == ["one/vdsr_x2_l1_seed0"]
    assert planned(output, "evaluate_together") == []


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
    assert (jobs["train"], jobs["evaluate"]) == ("1008", "1011")
