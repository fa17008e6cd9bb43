"""Snakemake in a process of its own, and what it plans."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
SNAKEMAKE = [sys.executable, "-m", "snakemake"]
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def snakemake(*words: str, folder: Path = ROOT, fails: bool = False, **changes: str) -> str:
    """Runs Snakemake in a folder, with changes to its environment; what it printed."""
    done = subprocess.run(
        [*SNAKEMAKE, *words],
        cwd=folder,
        env=ENVIRONMENT | changes,
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
