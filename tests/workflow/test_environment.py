"""The two descriptions of the environment, for pip and for conda, say the same."""

import re
import tomllib
from itertools import chain
from pathlib import Path

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
CONDA_NAMES = {"torch": "pytorch"}


def split(requirement: str) -> tuple[str, str]:
    name, version = re.fullmatch(r"([A-Za-z0-9_-]+)(.*)", requirement).groups()
    return name, version


def needed(project: dict) -> list[str]:
    """All requirements of a project, the extras' among them."""
    return [*project["dependencies"], *chain(*project["optional-dependencies"].values())]


def test_conda_and_pip_are_given_the_same_packages_and_versions():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = needed(project)
    pip = {CONDA_NAMES.get(n, n): v for n, v in map(split, wanted)}
    pip["python"] = project["requires-python"]
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = [x for x in listed if isinstance(x, str)] + listed[-1]["pip"]
    assert {n: v for n, v in map(split, conda) if n != "pip"} == pip


def test_every_needed_package_is_pinned_to_a_version_that_fits():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = needed(project)
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line.split("==") for line in lines if not line.startswith("#")]
    pinned = {name.lower().replace("_", "-"): version for name, version in pins}
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(pinned[requirement.name.lower().replace("_", "-")]), (
            requirement
        )
