"""Paths that a user writes into a config: expanded, normalised, and safe to hand on.

They become names of Snakemake's outputs and words of command lines, on this machine and on others.
"""

import os
import re
from typing import Annotated

from pydantic import AfterValidator

# Snakemake fills in braces, a shell acts on the others, and nothing shows a line break.
_REFUSED = re.compile(r"[{}$`\"'\\;|&<>()*?\[\]!\x00-\x1f\x7f-\x9f\u2028\u2029]")


def expanded(path: str) -> str:
    """A path with `~` and variables filled in, without `./`, `//` and a slash at its end.

    Raises:
        ValueError: for a variable that is not set, and for signs that Snakemake or a shell acts on.
    """
    found = os.path.expanduser(os.path.expandvars(path))
    if re.search(r"\$(\w|\{\w+\})", found):
        raise ValueError(f"expected variables that are set, found {path!r}")
    if path.startswith("~") and found.startswith("~"):
        raise ValueError(f"expected the home folder of a user of this machine, found {path!r}")
    sign = _REFUSED.search(found)
    if sign:
        raise ValueError(
            f"expected a path without quotes, brackets and other signs that Snakemake or a shell "
            f"acts on, found {sign[0]!r} in {found!r}"
        )
    if found.startswith("-") or found != found.strip():
        raise ValueError(
            f"expected a path that begins with neither '-' nor a space and ends without one, "
            f"found {found!r}"
        )
    return os.path.normpath(found) if found else found


def _of_its_own(path: str) -> str:
    found = expanded(path)
    if os.path.abspath(found) in (os.getcwd(), os.sep, os.path.expanduser("~")) or found == "..":
        raise ValueError(f"expected a folder of its own, such as results/mine, found {path!r}")
    return found


FilePath = Annotated[str, AfterValidator(expanded)]
FolderPath = Annotated[str, AfterValidator(_of_its_own)]
