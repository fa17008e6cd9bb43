"""A folder with what the workflow needs, as a fresh clone has it."""

import shutil
from pathlib import Path


def make_clone(folder: Path) -> Path:
    root = Path(__file__).parents[2]
    for name in ("workflow", "config", "slurm", "examples"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(root / name, folder / name, ignore=ignored)
    shutil.copy(root / "environment.yml", folder)
    (folder / "resources").mkdir()
    return folder
