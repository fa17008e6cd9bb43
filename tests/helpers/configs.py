"""Config files as `Config`s, which the workflow has from Snakemake."""

from pathlib import Path

from tlw.config.config import Config
from tlw.config.yaml_file import read_yaml


def read_config(path: Path) -> Config:
    """A config file as a `Config`."""
    return Config.parse(read_yaml(path), str(path))
