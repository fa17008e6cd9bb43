"""The package as others install it: a wheel of the sdist, used in an empty folder."""

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import torch
from png_files import write_image
from toys import photograph

from tlw.cli import _VERBS
from tlw.judge.weights import judge_weights

ROOT = Path(__file__).parents[1]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
# What extras bring, by the names that it is imported by: the core has to do without.
EXTRAS = ("tensorboard", "snakemake", "spandrel", "onnx", "onnxscript", "onnxruntime", "lpips")
BUILD_SDIST = "from setuptools.build_meta import build_sdist; import sys; build_sdist(sys.argv[1])"


def run(words: list[str | Path], folder: Path, **changes: str) -> str:
    """Runs a command in a folder, with changes to its environment; its standard output."""
    found = os.environ | changes
    done = subprocess.run(words, cwd=folder, env=found, text=True, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the sdist, and the wheel that comes out of it."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "tlw", source / "tlw", ignore=shutil.ignore_patterns("__pycache__"))
    run([sys.executable, "-c", BUILD_SDIST, folder], source)
    [sdist] = folder.glob("*.tar.gz")
    run([*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, sdist], folder)
    return folder


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    """A folder with the wheel's content alone, to be put on PYTHONPATH."""
    folder = tmp_path_factory.mktemp("installed")
    [wheel] = built.glob("*.whl")
    run([*PIP, "install", "--no-deps", "--no-compile", "--target", folder, wheel], folder)
    return folder


def test_wheel_and_sdist_have_all_of_the_package_and_nothing_else(built):
    files = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "tlw").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    [wheel], [sdist] = built.glob("*.whl"), built.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == files
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    assert files <= names and {"LICENSE", "README.md", "pyproject.toml"} <= names


def program(*words: str | Path) -> list[str]:
    """The command `tlw` without anything that an extra brings."""
    hidden = f"import sys; sys.modules.update(dict.fromkeys({EXTRAS}));"
    return [sys.executable, "-c", f"{hidden} from tlw.cli import main; main()", *map(str, words)]


def test_every_verb_helps_without_the_extras(installed, tmp_path):
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({EXTRAS}))\n"
        "import tlw; from tlw.cli import app; from typer.testing import CliRunner\n"
        "print(tlw.__file__)\n"
        "for verb in sys.argv[1:]:\n"
        "    done = CliRunner().invoke(app, [verb, '--help'])\n"
        "    assert done.exit_code == 0 and 'Usage' in done.output, (verb, done.output)"
    )
    words = [sys.executable, "-c", code, *_VERBS]
    assert run(words, tmp_path, PYTHONPATH=str(installed)).startswith(str(installed))


def test_images_are_fetched_and_scored_in_an_empty_folder(installed, tmp_path):
    path = {"PYTHONPATH": str(installed)}
    run(program("fetch", "toy-test"), tmp_path, **path)
    images = tmp_path / "resources" / "images" / "toy-test"
    assert {"chelsea.png", "coins.png", "manifest.tsv"} == {p.name for p in images.iterdir()}
    for folder in ("sr", "hr"):
        write_image(tmp_path / folder / "a.png", photograph(size=(48, 48)).copy())
    weights = ("--judge-folder", judge_weights("vgg").parent, "--device", "cpu", "--threads", "1")
    told = run(program("score", "sr", "hr", "--scale", "2", *weights), tmp_path, **path)
    assert "inf" in told


def test_set5_is_fetched_from_a_folder_in_an_empty_one(installed, shared, tmp_path):
    words = program("fetch", "Set5", "--from", shared / "datasets" / "Set5")
    run(words, tmp_path, PYTHONPATH=str(installed))
    assert len(list((tmp_path / "resources" / "images" / "Set5").glob("*.*"))) == 5 + 1


def test_the_loss_works_in_five_lines(installed, tmp_path):
    judge_weights("vgg")  # in TLW_WEIGHTS, if it is set
    code = (
        "import torch; from tlw import TLWLoss\n"
        "loss_fn = TLWLoss('l1')\n"
        "sr = torch.rand(1, 3, 40, 40, requires_grad=True)\n"
        "loss_fn(sr, torch.rand(1, 3, 40, 40)).backward()\n"
        "print(sr.grad.isfinite().all().item() and sr.grad.abs().sum().item() > 0)"
    )
    words = [sys.executable, "-c", code]
    assert run(words, tmp_path, PYTHONPATH=str(installed)) == "True\n"


def test_the_core_needs_nothing_that_only_trainings_and_the_workflow_use():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    core = {name.split(">=")[0] for name in project["dependencies"]}
    assert not core & set(EXTRAS) and torch.__name__ in core
