"""The base of whatever a user writes as YAML or JSON: strict about keys, and able to explain.

No torch in here, so that a mistake is told within a second.
"""

import math
import re
from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from tlw.runtime.errors import at, near, shown

_NAME = r"^[A-Za-z0-9][A-Za-z0-9.-]*$"
Name = Annotated[str, Field(pattern=_NAME, max_length=80)]  # three of them make a folder's name


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"expected a number, found {value}")
    return value


def _no_number(value: Any) -> Any:
    if not isinstance(value, bool | str):
        raise ValueError(f"expected true or false, found {shown(value)}")
    return value


# pydantic would take true for 1, and 1 for true.
IsNumber = BeforeValidator(_no_truth_value)
Whole = Annotated[int, IsNumber]
Number = Annotated[float, IsNumber]
Flag = Annotated[bool, BeforeValidator(_no_number)]


def _in_one_order(arguments: dict[str, Any]) -> dict[str, Any]:
    for key, value in arguments.items():
        _require_finite(key, value)
    return dict(sorted(arguments.items()))  # their order is to change no cell's digest


def _require_finite(key: str, value: Any) -> None:
    """JSON has no infinity: a cell's file would say null."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{key}: expected a finite number, found {value}")
    if isinstance(value, dict):
        for inner, part in value.items():
            _require_finite(f"{key}.{inner}", part)
    elif isinstance(value, list | tuple):
        for place, part in enumerate(value):
            _require_finite(f"{key}.{place}", part)


Arguments = Annotated[dict[str, Any], AfterValidator(_in_one_order)]


def may_import(info: ValidationInfo) -> bool:
    """Whether a check may look for a class of the user's, see `Model.parse`."""
    return (info.context or {}).get("imports", True)


class Model(BaseModel):
    """Frozen, and strict about keys: a misspelt one is an error, not a default."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, content: Any, source: str, *, imports: bool = True) -> Self:
        """From plain data; ValueError with a line for each fault, naming `source` and the key.

        Without `imports` a class that is not of this package is neither looked for nor imported:
        what came with somebody's weights is data, and runs nothing.
        """
        if not isinstance(content, dict):
            raise ValueError(f"{source}: expected keys and values, found {shown(content)}")
        try:
            return cls.model_validate(content, context={"imports": imports})
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


def _explained(fault: ErrorDetails) -> str:
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
