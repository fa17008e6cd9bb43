"""The workflow from outside its repository: as a module, by -s, by --directory, and with conda."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml
from plans import ROOT, planned, snakemake

MODULE = """
configfile: "mine.yaml"

module sr:
    snakefile: "{snakefile}"
    config: config["sr"]
    prefix: "sr"

use rule * from sr as sr_*

rule mine:
    default_target: True
    input: "sr/results/toy/tables/table1.md"
    output: "mine.txt"
    shell: "cp {{input}} {{output}}"
"""


@pytest.fixture
def other(tmp_path) -> Path:
    """Another repository, whose Snakefile uses the workflow as a module on the toy grid."""
    folder = tmp_path / "other"
    folder.mkdir()
    toy = yaml.safe_load((ROOT / "config" / "toy.yaml").read_text())
    toy["grids"]["table1"] |= {"backbones": ["vdsr"], "scales": [2], "losses": ["l1"]}
    (folder / "mine.yaml").write_text(yaml.safe_dump({"sr": toy}))
    (folder / "Snakefile").write_text(MODULE.format(snakefile=ROOT / "workflow" / "Snakefile"))
    return folder


def test_as_a_module_it_has_its_own_config_names_and_prefix(other):
    output = snakemake("-n", "--printshellcmds", "--cores", "1", folder=other)
    assert planned(output, "sr_train") == ["table1/vdsr_x2_l1_seed0"]
    assert planned(output, "sr_fetch_images") == ["toy-test", "toy-train"]
    commands = output.split("tlw tables ")[1].splitlines()[0].split()
    folder = "sr/results/toy"
    assert commands[:2] == [f"{folder}/table1/vdsr_x2_l1_seed0", f"{folder}/bicubic_x2"]
    assert commands[commands.index("--output") + 1] == f"{folder}/tables/table1"
    assert f"--output {folder}/table1/vdsr_x2_l1_seed0/cell.json" in output
    assert "--folder sr/resources/images" in output
    assert "--judge-folder sr/resources/weights" in output


def test_a_module_makes_a_target_and_leaves_nothing_outside_its_prefix(other):
    target = "sr/results/toy/pairs/test/toy-test_x2.h5"
    snakemake(target, "--cores", "1", folder=other)
    assert (other / target).is_file()
    assert (other / "sr" / "resources" / "images" / "toy-test" / "manifest.tsv").is_file()
    made = {path.name for path in other.iterdir()} - {".snakemake", "Snakefile", "mine.yaml"}
    assert made == {"sr"}
    assert "Nothing to be done" in snakemake(target, "--cores", "1", folder=other)


def test_what_a_module_leaves_out_is_looked_for_under_its_prefix(other):
    config = yaml.safe_load((other / "mine.yaml").read_text())
    config["sr"]["test"].append("Manga109")
    (other / "mine.yaml").write_text(yaml.safe_dump(config))
    output = snakemake("-n", folder=other)
    assert "Put the 109 images into sr/resources/images/Manga109" in output


def test_it_runs_from_another_folder_with_the_papers_grid_or_that_folders(tmp_path):
    snakefile = ROOT / "workflow" / "Snakefile"
    output = snakemake("-n", "-s", snakefile, folder=tmp_path)
    assert len(planned(output, "train")) == 39
    (tmp_path / "config").mkdir()
    toy = (ROOT / "config" / "toy.yaml").read_text()
    (tmp_path / "config" / "config.yaml").write_text(toy)
    assert len(planned(snakemake("-n", "-s", snakefile, folder=tmp_path), "train")) == 27


def test_it_works_in_the_folder_that_directory_names(clone, tmp_path):
    words = ("--directory", tmp_path / "runs", "--configfile", clone / "config" / "toy.yaml")
    target = "resources/images/toy-test/manifest.tsv"
    snakemake(*words, "--cores", "1", target, folder=clone)
    assert (tmp_path / "runs" / target).is_file()
    assert not (clone / "resources" / "images").exists()
    assert "Nothing to be done" in snakemake(*words, "--cores", "1", target, folder=clone)


# --- conda, as far as that goes without it ----------------------------------------------------


def post_deploy(folder: Path, **changes: str) -> subprocess.CompletedProcess:
    """Runs the script in a folder, with a `python` that tells what it is asked to do."""
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / "python").write_text('#!/bin/sh\necho "python $*"\n')
    (folder / "bin" / "python").chmod(0o755)
    found = os.environ | {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"} | changes
    words = ["bash", ROOT / "environment.post-deploy.sh"]
    return subprocess.run(words, cwd=folder, env=found, capture_output=True, text=True)


def test_the_script_for_conda_installs_tlw_from_its_clone_or_from_where_it_is_told(tmp_path):
    done = post_deploy(tmp_path)
    assert done.returncode == 1 and "set TLW_SOURCE" in done.stderr and done.stdout == ""
    install = "python -m pip install --no-deps --no-build-isolation"
    assert post_deploy(tmp_path, TLW_SOURCE="/a clone").stdout == f"{install} /a clone\n"
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    assert post_deploy(tmp_path).stdout == f"{install} .\n"


def test_every_rule_with_a_command_has_the_environment_that_the_script_stands_beside():
    for path in (ROOT / "workflow" / "rules").glob("*.smk"):
        text = path.read_text()
        assert text.count("    conda:\n") == text.count("    shell:\n"), path
        assert text.count('"../../environment.yml"') == text.count("    conda:\n"), path
    assert (ROOT / "environment.yml").with_suffix(".post-deploy.sh").is_file()
