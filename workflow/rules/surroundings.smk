"""Whether the rules find the command `tlw`, and this package the right one."""

import shutil
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.settings.types import DeploymentMethod


def paper_config():
    """The config of a run that names none: the one of the folder it runs in, else ours."""
    own = Path("config/config.yaml")
    return str(own if own.exists() else Path(workflow.basedir).parent / own)


# With conda, jobs have an environment of their own.
if DeploymentMethod.CONDA not in workflow.deployment_settings.deployment_method:
    command = shutil.which("tlw")
    beside = Path(sys.executable).with_name("tlw")
    if command is None:
        raise WorkflowError(
            "the command tlw is not on PATH, which all rules call; activate the environment "
            f"first: source {beside.with_name('activate')}"
        )
    if beside.exists() and not beside.samefile(command) and workflow.is_main_process:
        logger.warning(
            f"Rules will call {command}, not {beside}, beside this Python: PATH says so"
        )
