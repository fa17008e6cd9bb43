"""How a number came about: versions, commit and device, for the record of each cell."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

import tlw


def versions() -> dict[str, str]:
    """Versions of Python, this package, and what computes."""
    names = ("torch", "numpy", "h5py", "scikit-image")
    return {"python": platform.python_version(), "tlw": tlw.__version__} | {
        name: version(name) for name in names
    }


def commit() -> str | None:
    """The commit of the source tree, with "+" for uncommitted changes; None outside a clone."""
    root = Path(tlw.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git(root, "status", "--porcelain", "--", "tlw") else "")
    except (OSError, subprocess.SubprocessError):
        return None  # no git, an unwilling one, or no commit yet: nothing to name


def device_name(device: torch.device | str) -> str:
    """What a person calls the device that torch calls `device`."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads, {_processor()}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=20
    )
    return done.stdout.strip()
