"""The one reader of YAML, and so of JSON: configs, cells, the registry of image sets.

PyYAML reads YAML 1.1, which turns 24:00:00 into 86400, 010 into 8, yes into true, and leaves 1e-3
as text. Here numbers are those of YAML 1.2's core schema. What the two versions of YAML read as two
things is refused, and so is what nobody means: a key given twice, a tag, aliases that multiply.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import yaml
from yaml import MappingNode, Node, ScalarNode, SequenceNode

from tlw.runtime.errors import shown

BYTES = 2_000_000  # of a file; ours have 5,000 at most
DEPTH = 30  # of lists and keys inside each other; ours go down to 5
VALUES = 50_000  # with aliases written out
DIGITS = 1000  # of a whole number

TIMES = ("runtime",)  # keys under which 24:00:00 is a time as SLURM writes it

_WORDS = {"": None, "~": None} | {
    form: value
    for word, value in {"null": None, "true": True, "false": False}.items()
    for form in (word, word.capitalize(), word.upper())
}
_INTEGER = re.compile(r"[-+]?[0-9]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

# What YAML 1.1 and YAML 1.2 read as two things: how YAML 1.1 reads it, and what to write for it.
_AMBIGUOUS = {
    re.compile(pattern): told
    for pattern, told in {
        r"(?i:yes|no|on|off)": ("true or false", "true or false"),
        r"[-+]?0[0-9_]+": ("an octal number", "it without leading zeros"),
        r"[-+]?0[ob][0-9_]+": ("a number, or not,", "it in decimal"),
        r"[-+]?(?=[0-9.]*_)[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?": ("a number", "no _"),
        r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?": ("a number to the base 60", "the number"),
    }.items()
}


def read_yaml(path: Path) -> Any:
    """The content of a YAML or JSON file, as plain dicts, lists, text, numbers and truth values.

    Raises:
        ValueError: for what is no such file, or is read in two ways, or is beyond any use; it names
            the file, the line, and the key where there is one.
        OSError: for a file that cannot be opened.
    """
    with open(path, "rb") as file:
        content = file.read(BYTES + 1)
    if len(content) > BYTES:
        raise ValueError(f"{path}: expected {BYTES:,} bytes or fewer, found more")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: cannot be read as YAML or JSON: {error}") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, source: str) -> Any:
    """The same of text; `source` is what errors call it."""
    try:
        loader = _Composer(text)
        node = loader.get_single_node()
        return None if node is None else _Builder().value(node, ())
    except yaml.YAMLError as error:
        raise ValueError(f"{source}: cannot be read as YAML or JSON: {_told(error)}") from None
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


class _Composer(yaml.SafeLoader):
    """The tree of a text, bounded, every scalar as it is written."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # PyYAML's own way to say so

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event = self.peek_event()
        line = event.start_mark.line
        if getattr(event, "tag", None) is not None:
            raise ValueError(f"{_line(line)}: tags such as {event.tag!r} have no meaning here")
        if self.depth > DEPTH:
            raise ValueError(f"{_line(line)}: expected {DEPTH} levels or fewer, found more")
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


class _Builder:
    """Plain data of a tree. A place is the way of keys that leads to a value."""

    def __init__(self) -> None:
        self.values = 0

    def value(self, node: Node, place: tuple, *, above: tuple[Node, ...] = ()) -> Any:
        self.values += 1
        if node in above:
            raise ValueError(f"{_where(node, place)}: this alias stands for what it stands in")
        if len(above) > DEPTH:
            raise ValueError(f"{_where(node, place)}: aliases make more than {DEPTH} levels")
        if self.values > VALUES:
            raise ValueError(
                f"{_where(node, place)}: expected {VALUES:,} values or fewer with all aliases "
                "written out, found more"
            )
        above = (*above, node)
        if isinstance(node, ScalarNode):
            return _scalar(node, place)
        if isinstance(node, SequenceNode):
            return [
                self.value(item, (*place, index), above=above)
                for index, item in enumerate(node.value)
            ]
        return self._mapping(node, place, above)

    def _mapping(self, node: MappingNode, place: tuple, above: tuple[Node, ...]) -> dict:
        merged: dict[Any, Any] = {}
        own: dict[Any, Any] = {}
        lines: dict[Any, int] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                raise ValueError(
                    f"{_where(key_node, place)}: expected text as a key, found a list or keys; "
                    "text with braces or brackets needs quotes"
                )
            if key_node.value == "<<" and key_node.style is None:
                for part in self._merged(value_node, (*place, "<<"), above):
                    merged = part | merged  # of several the first counts
                continue
            key = _scalar(key_node, place)
            line = key_node.start_mark.line
            if key in own:
                raise ValueError(
                    f"{_where(key_node, (*place, key))}: this key is given twice, first in line "
                    f"{lines[key] + 1}"
                )
            lines[key] = line
            own[key] = self.value(value_node, (*place, key), above=above)
        return merged | own

    def _merged(self, node: Node, place: tuple, above: tuple[Node, ...]) -> Iterator[dict]:
        """The mappings that a merge key, <<, names."""
        for part in node.value if isinstance(node, SequenceNode) else [node]:
            found = self.value(part, place, above=above)
            if not isinstance(found, dict):
                raise ValueError(f"{_where(part, place)}: expected keys and values to merge")
            yield found


def _scalar(node: ScalarNode, place: tuple) -> Any:
    """A scalar; plain ones by YAML 1.2's core schema."""
    text: str = node.value
    if node.style is not None:  # quoted, or a block
        return text
    if text in _WORDS:
        return _WORDS[text]
    if place[-1:] and place[-1] in TIMES:
        return int(text) if re.fullmatch("[1-9][0-9]{,9}", text) else text
    for pattern, (in_yaml_1_1, better) in _AMBIGUOUS.items():
        if pattern.fullmatch(text):
            raise ValueError(
                f"{_where(node, place)}: {shown(text)} is {in_yaml_1_1} in YAML 1.1 and something "
                f"else in YAML 1.2; write {better}, or put text in quotes"
            )
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", "", 1))
    if _INTEGER.fullmatch(text) and len(text) < DIGITS:
        return int(text, 0)
    if not _FLOAT.fullmatch(text) and not _INTEGER.fullmatch(text):
        return text
    if _INTEGER.fullmatch(text) or not math.isfinite(float(text)):
        raise ValueError(f"{_where(node, place)}: {shown(text)} is beyond what a number can be")
    return float(text)


def _line(line: int) -> str:
    return f"line {line + 1}"


def _where(node: Node, place: tuple) -> str:
    key = ".".join(map(str, place))
    return ": ".join(filter(None, [_line(node.start_mark.line), key]))


def _told(error: yaml.YAMLError) -> str:
    """One line of an error of PyYAML's."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    problem = ": ".join(filter(None, [error.context, error.problem]))
    return f"{_line(mark.line)}, column {mark.column + 1}: {problem}"
