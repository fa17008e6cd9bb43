"""Where a number came from, as the record of each cell tells it."""

import platform
import re
import subprocess

import numpy
import torch

import tlw
from tlw.runtime import provenance


def test_versions_are_those_that_compute():
    versions = provenance.versions()
    assert versions["python"] == platform.python_version()
    assert versions["tlw"] == tlw.__version__
    assert versions["torch"] == torch.__version__
    assert versions["numpy"] == numpy.__version__
    assert {"h5py", "scikit-image"} <= versions.keys()


def clone(folder, monkeypatch):
    """A repository with a package `tlw` of one file, taken for this package's source tree."""

    def git(*words):
        options = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        return subprocess.run(
            ["git", "-C", folder, *options, *words], check=True, capture_output=True, text=True
        ).stdout.strip()

    (folder / "tlw").mkdir()
    (folder / "tlw" / "__init__.py").write_text("")
    monkeypatch.setattr(tlw, "__file__", str(folder / "tlw" / "__init__.py"))
    return git


def test_the_commit_is_named_with_a_plus_for_changes_of_the_package(tmp_path, monkeypatch):
    git = clone(tmp_path, monkeypatch)
    assert provenance.commit() is None  # no repository
    git("init")
    assert provenance.commit() is None  # no commit
    git("add", ".")
    git("commit", "-m", "first")
    head = git("rev-parse", "HEAD")
    assert provenance.commit() == head[:12]
    (tmp_path / "notes.txt").write_text("of no effect on any number")
    assert provenance.commit() == head[:12]
    (tmp_path / "tlw" / "new.py").write_text("x = 1\n")
    assert provenance.commit() == head[:12] + "+"


def test_without_git_there_is_no_commit_to_name(tmp_path, monkeypatch):
    git = clone(tmp_path, monkeypatch)
    git("init")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.commit() is None


def test_a_cpu_is_named_with_its_threads():
    name = provenance.device_name("cpu")
    assert re.fullmatch(rf"CPU, {torch.get_num_threads()} threads, \S.*", name)
    assert provenance.device_name(torch.device("cpu")) == name
