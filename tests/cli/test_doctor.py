"""`tlw doctor`: a line for each thing, what to do where one is not ok, and nothing private."""

import getpass
import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from png_files import write_image
from toys import photograph, run, tlw
from typer.testing import CliRunner

import tlw as package
from tlw.cli import app
from tlw.judge.weights import judge_weights


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty folder to be in, with an image set by hand that is not complete."""
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "resources" / "images" / "Manga109" / "a.png", photograph().copy())
    return tmp_path


def checks(*words: str | Path) -> tuple[int, dict[str, dict]]:
    """The exit code, and what is found, by name."""
    result = CliRunner().invoke(app, ["doctor", "--json", *map(str, words)])
    return result.exit_code, {check["name"]: check for check in json.loads(result.output)}


def test_what_is_there_and_what_is_not_is_told_with_what_to_do(folder):
    judge = judge_weights("vgg")
    (folder / "judge").mkdir()
    shutil.copy(judge, folder / "judge")
    code, found = checks("--judge-folder", folder / "judge")
    assert code == 1
    assert found["tlw"]["found"] == package.__version__
    assert found["torch"]["found"].split("+")[0] == torch.__version__.split("+")[0]
    assert found["weights of LPIPS vgg"]["ok"] and not found["weights of LPIPS alex"]["ok"]
    assert "`tlw fetch-weights alex`" in found["weights of LPIPS alex"]["advice"]
    assert found["image set Set5"]["found"] == "not fetched yet" and found["image set Set5"]["ok"]
    assert not found["image set Manga109"]["ok"]
    assert not list(folder.glob("judge/*alex*"))  # it looks, and fetches nothing


def test_damaged_weights_are_not_at_hand(folder):
    (folder / "lpips_vgg.safetensors").write_bytes(b"half a file")
    _, found = checks("--judge-folder", folder)
    assert not found["weights of LPIPS vgg"]["ok"]


def test_a_fetched_set_is_counted(folder):
    subprocess.run(tlw("fetch", "toy-test"), check=True, capture_output=True)
    _, found = checks()
    assert found["image set toy-test"]["found"] == "2 images"


def test_people_read_a_line_for_each_and_the_advice_of_what_is_not_ok(folder):
    done = run(tlw("doctor", "--judge-folder", folder), PATH="/nowhere")
    assert done.returncode == 1 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert {line[:6] for line in lines} == {"ok    ", "not ok"}
    [line] = [line for line in lines if "command tlw on PATH" in line]
    assert line.startswith("not ok") and line.endswith("activate the environment that tlw is in")


def test_nothing_that_names_a_folder_or_a_user_is_told(folder):
    output = CliRunner().invoke(app, ["doctor", "--json", "--judge-folder", str(folder)]).output
    for secret in (str(folder), str(Path.home()) + "/", f"/{getpass.getuser()}/"):
        assert secret not in output
