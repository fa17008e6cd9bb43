"""Pinned files of packages by pip, with the environment's pip or without one."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tlw.data.download import DownloadError
from tlw.data.packages import pip_download
from tlw.runtime.files import sha256_of

OTHER = "0" * 64


@pytest.fixture
def wheel(tmp_path, monkeypatch) -> Path:
    """The only package that pip can find."""
    folder = tmp_path / "index"
    folder.mkdir()
    wheel = folder / "tlw_pebble-1.0-py3-none-any.whl"
    info = "tlw_pebble-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tlw-pebble\nVersion: 1.0\n")
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return wheel


def test_pip_gets_a_pinned_file(wheel, tmp_path):
    file = pip_download("tlw-pebble==1.0", sha256_of(wheel), tmp_path / "out")
    assert file.read_bytes() == wheel.read_bytes()
    assert list((tmp_path / "out").iterdir()) == [file]


def test_pip_refuses_another_hash_and_its_words_are_passed_on(wheel, tmp_path):
    with pytest.raises(DownloadError, match="DO NOT MATCH THE HASHES") as error:
        pip_download("tlw-pebble==1.0", OTHER, tmp_path / "out")
    assert sha256_of(wheel) in str(error.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_package_that_pip_cannot_find_is_named(wheel, tmp_path):
    with pytest.raises(DownloadError, match=r"tlw-boulder==2\.0"):
        pip_download("tlw-boulder==2.0", OTHER, tmp_path / "out")


@pytest.fixture
def without_pip(tmp_path) -> dict[str, str]:
    """A Python of its own without pip, as `uv venv` makes it, that finds all else of this one."""
    packages = tmp_path / "packages"
    packages.mkdir()
    for path in Path(pytest.__file__).parents[1].iterdir():
        if not path.name.startswith("pip"):
            (packages / path.name).symlink_to(path)
    venv = [sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"]
    subprocess.run(venv, check=True)
    root = str(Path(__file__).parents[2])
    return {"PYTHONPATH": os.pathsep.join([root, str(packages)]), "PIP_CONFIG_FILE": os.devnull}


def _download(venv: Path, wheel: Path, **environment: str) -> subprocess.CompletedProcess:
    code = (
        "import sys; from pathlib import Path; from tlw.data.packages import pip_download\n"
        "pip_download('tlw-pebble==1.0', sys.argv[1], Path(sys.argv[2]))"
    )
    command = [venv / "bin" / "python", "-c", code, sha256_of(wheel), wheel.parents[1] / "out"]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)


def test_an_environment_without_pip_gets_a_pinned_file_too(without_pip, wheel, tmp_path):
    python = tmp_path / "venv" / "bin" / "python"
    asked = subprocess.run([python, "-m", "pip"], env=os.environ | without_pip, capture_output=True)
    assert b"No module named pip" in asked.stderr
    done = _download(tmp_path / "venv", wheel, **without_pip)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == [wheel.name]


def test_where_no_pip_can_be_made_either_it_is_said_what_to_install(without_pip, wheel, tmp_path):
    (tmp_path / "packages" / "sitecustomize.py").write_text(
        "import subprocess; asked = subprocess.check_output\n"
        "def no_ensurepip(command, **options):\n"
        "    return asked([command[0], '-c', 'raise SystemExit(1)'], **options)\n"
        "subprocess.check_output = no_ensurepip\n"
    )
    done = _download(tmp_path / "venv", wheel, **without_pip)
    assert "no pip, and none can be made" in done.stderr and "uv pip install pip" in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_what_pip_says_of_its_index_has_no_secret_in_it(wheel, tmp_path, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_INDEX_URL", "http://me:hunter2@127.0.0.1:9/simple")
    with pytest.raises(DownloadError) as error:
        pip_download("tlw-boulder==2.0", OTHER, tmp_path / "out")
    assert "127.0.0.1" in str(error.value) and "hunter2" not in str(error.value)
