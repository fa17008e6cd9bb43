"""Files of pinned Python packages, by pip, from whatever index it is configured for."""

import importlib.util
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from tlw.data.download import DownloadError, check_file
from tlw.runtime.errors import without_secrets

log = logging.getLogger(__name__)


def pip_download(requirement: str, sha256: str, folder: Path) -> Path:
    """One file of a pinned package (`name==version`), from whatever index pip is configured for.

    pip refuses any file that has not this SHA-256 before it looks into it. (Of a source archive
    it then asks the metadata, which runs the set-up script of that pinned archive.) Where this
    environment has no pip, one is made for the download.
    Returns the path of the file in `folder`.

    Raises:
        DownloadError: with pip's last lines.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        pinned = Path(scratch, "requirements.txt")
        pinned.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
        files = Path(scratch, "files")
        command = [*_pip(Path(scratch)), "download", "--no-input", "--no-deps"]
        command += ["--progress-bar=off", "--require-hashes", "--requirement", str(pinned)]
        done = subprocess.run(
            [*command, "--dest", str(files)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            told = without_secrets(done.stdout + done.stderr)
            lines = re.sub(r"\n\s*\n", "\n", told).strip().splitlines()[-8:]
            raise DownloadError(
                f"pip could not download {requirement} with SHA-256 {sha256}; its last lines:\n  "
                + "\n  ".join(lines)
                + f"\nSee that `pip download {requirement}` works"
            )
        (file,) = files.iterdir()
        check_file(file, sha256)
        return Path(shutil.move(file, folder / file.name))


def _pip(scratch: Path) -> list[str]:
    """The command of this environment's pip, or of one in a new environment in `scratch`."""
    python = sys.executable
    if importlib.util.find_spec("pip") is None:
        log.info("this environment has no pip: making one for this download")
        made = scratch / "pip"
        try:
            venv.create(made, with_pip=True, symlinks=os.name != "nt")
        except (OSError, subprocess.SubprocessError) as problem:
            raise DownloadError(
                f"this environment has no pip, and none can be made for a while ({problem}); "
                "install it: `uv pip install pip`, or python3-venv of your system"
            ) from problem
        python = str(made / ("Scripts" if os.name == "nt" else "bin") / "python")
    return [python, "-m", "pip"]
