"""How errors are told: what was expected, what was found, under which key, and what is near."""

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


def one_of(found: Any, known: Iterable[str]) -> str:
    """What to say of a value that is none of the known ones, the nearest of them last."""
    known = list(known)
    return f"expected one of {', '.join(known)}, found {shown(found)}{near(found, known)}"


@contextmanager
def at(key: str) -> Iterator[None]:
    """Puts a key before each line of a ValueError raised inside."""
    try:
        yield
    except ValueError as error:
        lines = (f"{key}: {line}" for line in str(error).splitlines())
        raise ValueError("\n".join(lines)) from None


def near(name: Any, known: Iterable[str]) -> str:
    """The known name that is nearest, for the end of a message, or nothing."""
    by_lower = {word.lower(): word for word in known}
    found = difflib.get_close_matches(str(name).lower(), list(by_lower), n=1)
    return f"; did you mean {by_lower[found[0]]!r}?" if found else ""


def shown(value: Any) -> str:
    """A value as a message shows it, cut off where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def printable(text: str) -> str:
    """Text with its control characters escaped, but for ends of lines."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def without_secrets(text: str) -> str:
    """A message of another program's without users, passwords and queries of URLs in it."""
    text = re.sub(r"//[^/\s]*@", "//", text)
    return printable(re.sub(r"\?[^\s'\")]+", "?...", text))
