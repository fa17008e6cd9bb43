"""Paths of a config: expanded, in one form, and without signs that somebody else acts on."""

import os
import re

import pytest

from tlw.config.config import Config
from tlw.config.paths import expanded


@pytest.fixture(autouse=True)
def home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("SCRATCH", "/scratch/someone")
    monkeypatch.delenv("NOT_SET", raising=False)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("~/sr", "/home/someone/sr"),
        ("$HOME/sr", "/home/someone/sr"),
        ("${SCRATCH}/sr", "/scratch/someone/sr"),
        ("res/", "res"),
        ("./res", "res"),
        ("./a//b/./c/", "a/b/c"),
        ("a/../b", "b"),
        ("../elsewhere", "../elsewhere"),
        ("/data/x", "/data/x"),
        ("results/ü #1 100%", "results/ü #1 100%"),
    ],
)
def test_a_path_has_one_form(written, meant):
    assert expanded(written) == meant
    assert expanded(meant) == meant


@pytest.mark.parametrize(
    "path",
    [
        "r{a}", "r$(touch x)", "r`touch x`", "r\nx", "r'x", 'r"x', "a;b", "a|b", "a&b", "a>b", "a*",
        "a?", "[a]", "a\\b", "a\x1b[31m", "(a)", "!a", "a\u2028b",
    ],
)  # fmt: skip
def test_signs_that_snakemake_or_a_shell_acts_on_are_refused(path):
    with pytest.raises(ValueError, match="other signs that Snakemake or a shell acts on, found "):
        expanded(path)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("$NOT_SET/sr", "expected variables that are set, found '$NOT_SET/sr'"),
        ("${NOT_SET}/sr", "expected variables that are set"),
        ("~nobody-of-that-name/sr", "expected the home folder of a user of this machine"),
        ("-x", "begins with neither '-' nor a space"),
        (" x", "begins with neither '-' nor a space"),
    ],
)
def test_a_path_that_cannot_be_meant_is_refused(path, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        expanded(path)


def config(**changes):
    row = {"name": "a", "backbone": "vdsr", "scale": 2, "checkpoint": "~/x.pth"}
    grid = {
        **{"title": "T", "train": ["T91"], "recipe": "r", "backbones": ["vdsr"], "scales": [2]},
        **{"losses": ["l1"], "imported": [row | changes.pop("row", {})]},
    }
    content = {"results": "res", "test": ["Set5"], "grids": {"t": grid}}
    recipes = {"r": {"sampling": "whole", "epochs": 1}}
    return Config.parse(content | {"recipes": recipes} | changes, "config")


def test_a_configs_paths_are_expanded():
    found = config(results="~/sr/")
    assert found.results == "/home/someone/sr"
    assert found.grids["t"].imported[0].checkpoint == "/home/someone/x.pth"


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"results": "r$(touch x)"}, "config: results: expected a path without"),
        ({"results": "."}, "config: results: expected a folder of its own"),
        ({"results": "~"}, "config: results: expected a folder of its own"),
        ({"results": "/"}, "config: results: expected a folder of its own"),
        ({"results": os.getcwd()}, "config: results: expected a folder of its own"),
        ({"row": {"checkpoint": "{x}.pth"}}, "config: grids.t.imported: 0.checkpoint: expected a"),
    ],
)
def test_a_mistake_is_told_by_its_key(changes, key):
    with pytest.raises(ValueError, match=re.escape(key)):
        config(**changes)
