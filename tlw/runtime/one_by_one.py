"""Work on many images of which some may be bad: those are told, and the others are done."""

from collections.abc import Iterator
from contextlib import contextmanager


class OneByOne:
    """Collects what went wrong with single images, to tell it when the others are done.

    Args:
        done: what was to be done with them, as in "2 of 9 images could not be `done`".

    Example:
        >>> work = OneByOne("counted")
        >>> for name in ("1", "x"):
        ...     with work.trying():
        ...         _ = int(name)
        >>> work.end()
        Traceback (most recent call last):
        ValueError: invalid literal for int() with base 10: 'x'
        1 of 2 images could not be counted
    """

    def __init__(self, done: str) -> None:
        self.done = done
        self.count = 0
        self.problems: list[str] = []

    @contextmanager
    def trying(self) -> Iterator[None]:
        """Takes down a ValueError of one image. Any other error ends the work: it may be of all."""
        self.count += 1
        try:
            yield
        except ValueError as error:
            self.problems.append(str(error))

    def end(self, others: str = "") -> None:
        """Raises ValueError with what went wrong, if anything did; `others` says where the rest is.

        A single image has its own words only.
        """
        if not self.problems:
            return
        failed = len(self.problems)
        lines = list(self.problems)
        if self.count > 1:
            rest = f"; {others}" if others and failed < self.count else ""
            lines.append(f"{failed} of {self.count} images could not be {self.done}{rest}")
        raise ValueError("\n".join(lines))
