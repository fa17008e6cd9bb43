"""The super-resolution networks: a table of names, and how one is looked up, checked and built.

Any `nn.Module` class can be a backbone: one of `BACKBONES`, or one from elsewhere named by its
import path, `"package.module:Class"`. It has this shape:

- `Class(*, scale, **arguments)`: every argument by keyword; `scale` is 2, 3 or 4.
- `forward(lr) -> sr`: from (N, 3, h, w) to (N, 3, scale h, scale w), of any h and w. The network
  does not care about the range: sr comes in the (linear) range of lr, and whoever calls converts.

The networks here offer two halves of `forward` besides, `sr = reconstruct(features(lr), lr)`,
because the uncertainty loss puts its variance head on the features:

- `features(lr)`: the last feature maps before the image is made,
  (N, `num_features`, `features_scale` h, `features_scale` w);
- `reconstruct(features, lr)`: the image from them;
- `features_scale` is 1 for networks that upsample at the end, and `scale` for VDSR, which
  upsamples first.

This module leaves importing torch to those of the networks, so that looking at the table is quick.
"""

from __future__ import annotations

import ast
import difflib
import inspect
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

BACKBONES: dict[str, str] = {
    "vdsr": "tlw.backbones.vdsr:VDSR",
    "edsr": "tlw.backbones.edsr:EDSR",
    "rcan": "tlw.backbones.rcan:RCAN",
    "hat": "tlw.backbones.hat:HAT",
}
SCALES = (2, 3, 4)


def build(path_or_name: str, *, scale: int, **arguments: Any) -> nn.Module:
    """The network `path_or_name` for `scale`, with PyTorch's (or its own) initial weights.

    Raises ValueError for whatever `check` refuses and for values that the network refuses.
    """
    check(path_or_name, arguments)
    return _locate(path_or_name)(scale=scale, **arguments)


def check(path_or_name: str, arguments: Mapping[str, Any]) -> None:
    """Refuses, by ValueError, a backbone that cannot be found or that has no such arguments.

    `arguments` are those besides `scale`. Only names are checked here, and they are read from the
    source, so that neither torch nor a foreign module is imported to tell a slip of the pen;
    values are checked by the network's constructor.
    """
    where = f"backbone '{path_or_name}'"
    signature = _written_signature(path_or_name) or inspect.signature(_locate(path_or_name))
    parameters = signature.parameters.values()
    accepted = [p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters)
    if "scale" in arguments:
        raise ValueError(f"{where}: 'scale' is not among its arguments, it comes with the cell")
    if "scale" not in accepted and not anything:
        raise ValueError(f"{where}: its constructor must accept the keyword 'scale', {signature}")
    for key in arguments:
        if key not in accepted and not anything:
            known = ", ".join(name for name in accepted if name != "scale") or "none"
            raise ValueError(
                f"{where} has no argument '{key}'{_suggest(key, accepted)}; it accepts: {known}"
            )
    try:
        signature.bind(scale=SCALES[0], **arguments)
    except TypeError as error:
        raise ValueError(f"{where}: {error}, in {signature}") from error


def count_parameters(network: nn.Module) -> int:
    """How many numbers training changes."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def require_scale(network: str, scale: int) -> None:
    """Raises ValueError, in the name of the class `network`, unless `scale` is 2, 3 or 4."""
    if type(scale) is not int or scale not in SCALES:
        raise ValueError(f"{network}: scale must be 2, 3 or 4, not {scale!r}")


def require_counts(network: str, **values: int) -> None:
    """Raises ValueError, in the name of the class `network`, for what is no integer above 0."""
    for key, value in values.items():
        if type(value) is not int or value < 1:
            raise ValueError(f"{network}: {key} must be an integer of at least 1, not {value!r}")


def _split(path_or_name: str) -> tuple[str, str]:
    """Module and class of a known name or an import path."""
    path = BACKBONES.get(path_or_name, path_or_name)
    if ":" not in path:
        raise ValueError(
            f"unknown backbone '{path_or_name}'{_suggest(path_or_name, BACKBONES)}; known are "
            f"{', '.join(BACKBONES)}, or give an import path, 'package.module:Class'"
        )
    module_name, _, class_name = path.partition(":")
    return module_name, class_name


def _written_signature(path_or_name: str) -> inspect.Signature | None:
    """What the class's own `__init__` accepts, as written; None where only an import tells."""
    module_name, class_name = _split(path_or_name)
    try:
        spec = find_spec(module_name)
    except (ImportError, ValueError):
        return None
    source = getattr(spec and spec.loader, "get_source", lambda _: None)(module_name)
    try:
        classes = [n for n in ast.parse(source or "").body if isinstance(n, ast.ClassDef)]
    except SyntaxError:
        return None
    bodies = [n.body for n in classes if n.name == class_name]
    for node in bodies[0] if bodies else []:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            return _signature(node.args)
    return None


def _signature(arguments: ast.arguments) -> inspect.Signature:
    """The signature, without `self` and with unevaluated defaults."""
    kinds, positional = inspect.Parameter, [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    parameters = [
        kinds(a.arg, kinds.POSITIONAL_OR_KEYWORD, default=_default(d))
        for a, d in zip(positional, defaults, strict=True)
    ][1:]
    parameters += [
        kinds(a.arg, kinds.KEYWORD_ONLY, default=_default(d))
        for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    if arguments.kwarg:
        parameters.append(kinds(arguments.kwarg.arg, kinds.VAR_KEYWORD))
    return inspect.Signature(parameters)


def _default(node: ast.expr | None) -> Any:
    return inspect.Parameter.empty if node is None else ast.unparse(node)


def _locate(path_or_name: str) -> type[nn.Module]:
    """The class behind a known name or an import path."""
    module_name, class_name = _split(path_or_name)
    path = f"{module_name}:{class_name}"
    try:
        module = import_module(module_name)
    except Exception as error:  # whatever a foreign module raises, it cannot be imported
        raise ValueError(
            f"backbone '{path}': module '{module_name}' cannot be imported "
            f"({type(error).__name__}: {error}); is it installed, or its folder on PYTHONPATH?"
        ) from error
    if not hasattr(module, class_name):
        raise ValueError(
            f"backbone '{path}': module '{module_name}' has no '{class_name}'"
            f"{_suggest(class_name, vars(module))}"
        )
    found = getattr(module, class_name)
    from torch import nn  # by now the module of any network has imported it

    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ValueError(f"backbone '{path}' must be a class derived from nn.Module, not {found!r}")
    return found


def _suggest(word: str, known: Mapping[str, Any] | list[str]) -> str:
    folded = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), folded, n=1)
    return f" (did you mean '{folded[close[0]]}'?)" if close else ""
