"""The base of whatever a user writes as YAML or JSON: strict about keys, and able to explain.

No torch in here, so that a mistake is told within a second.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from tlw.runtime.errors import at, near, shown

_NAME = r"^[A-Za-z0-9][A-Za-z0-9.-]*$"
Name = Annotated[str, Field(pattern=_NAME)]


def _in_one_order(arguments: dict[str, Any]) -> dict[str, Any]:
    for key, value in arguments.items():
        if isinstance(value, str) and re.fullmatch(r"[-+]?\d+[eE][-+]?\d+", value):
            raise ValueError(f"{key}: YAML reads {value} as text, write it with a point")
    return dict(sorted(arguments.items()))  # their order is to change no cell's digest


Arguments = Annotated[dict[str, Any], AfterValidator(_in_one_order)]


class Model(BaseModel):
    """Frozen, and strict about keys: a misspelt one is an error, not a default."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, content: Any, source: str) -> Self:
        """From plain data; ValueError with a line for each fault, naming `source` and the key."""
        if not isinstance(content, dict):
            raise ValueError(f"{source}: expected keys and values, found {shown(content)}")
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            with at(source):
                raise ValueError("\n".join(_lines(error))) from None

    @model_validator(mode="before")
    @classmethod
    def _keys_are_known(cls, content: Any) -> Any:
        # pydantic would forbid them, too, but would not tell which keys belong in this place
        known = list(cls.model_fields)
        unknown = [k for k in content if k not in known] if isinstance(content, dict) else []
        if unknown:
            raise PydanticCustomError("unknown_keys", "keys", {"unknown": unknown, "known": known})
        return content


def _lines(error: ValidationError) -> Iterator[str]:
    """One line for each fault: where, what was expected, what was found, a near name."""
    for fault in error.errors():
        place = [str(part) for part in fault["loc"] if part != "[key]"]
        if fault["type"] == "too_short" and fault["input"]:
            continue  # what is missing there was refused, and is told on its own
        if fault["type"] == "unknown_keys":
            known = fault["ctx"]["known"]
            for key in fault["ctx"]["unknown"]:
                hint = near(key, known) or f"; known are {', '.join(known)}"
                yield f"{'.'.join([*place, str(key)])}: unknown key{hint}"
        else:
            for line in _explained(fault).splitlines():
                yield f"{'.'.join(place)}: {line}" if place else line


def _explained(fault: dict[str, Any]) -> str:
    context, found = fault.get("ctx", {}), f"found {shown(fault['input'])}"
    match fault["type"]:
        case "value_error":
            return str(context["error"])
        case "missing":
            return "missing; it has no default"
        case "too_short":
            return f"expected {context['min_length']} or more, {found}"
        case "model_type" | "dict_type" | "model_attributes_type":
            return f"expected keys and values, {found}"
        case "union_tag_not_found":
            return f"missing: the key {context['discriminator']} has no default"
        case "union_tag_invalid":
            expected = context["expected_tags"]
            hint = near(context["tag"], re.findall(r"'([^']+)'", expected))
            return (
                f"{context['discriminator']}: expected {expected}, found {context['tag']!r}{hint}"
            )
        case "literal_error":
            expected = context["expected"]
            hint = near(fault["input"], re.findall(r"'([^']+)'", expected))
            return f"expected {expected}, {found}{hint}"
        case "string_pattern_mismatch" if context["pattern"] == _NAME:
            return (
                f"expected a name of letters, digits, '.' and '-', {found}: names become parts "
                "of folder names, which join them with '_'"
            )
    return f"{fault['msg'].replace('Input should be', 'expected')}, {found}"
