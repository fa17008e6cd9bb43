"""Packages that only some verbs need: the extras of pyproject.toml, told by name where missing."""

from collections.abc import Iterable
from importlib.util import find_spec


def require(packages: Iterable[str], *, extra: str, does: str) -> None:
    """Raises ValueError, with what to do, unless all packages are installed. Imports none.

    Args:
        packages: by the names that they are imported by.
        extra: the optional dependencies that bring them, as pyproject.toml calls them.
        does: what needs them, the subject of "needs".
    """
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise ValueError(missing_message(missing, extra=extra, does=does))


def missing_message(missing: Iterable[str], *, extra: str, does: str) -> str:
    """Which packages are not installed, what needs them, and what brings them."""
    return (
        f"{' and '.join(missing)}: not installed, and {does} needs it; "
        f"pip install 'tlw[{extra}]', in a clone: pip install '.[{extra}]'"
    )
