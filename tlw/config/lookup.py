"""Classes named in a config by their import path, "package.module:Class"; ours or a user's.

A path is checked when the config is read, from the source as it is written, so that neither torch
nor a foreign module is imported to tell a slip of the pen.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tlw.runtime.errors import near

if TYPE_CHECKING:
    from torch import nn


def check(path: str, arguments: Mapping[str, Any], *, what: str, given: Sequence[str] = ()) -> None:
    """Refuses, by ValueError, a class that cannot be found or that has no such arguments.

    Args:
        path: "package.module:Class".
        arguments: keyword arguments from the config; only their names are checked.
        what: how messages call it, such as "backbone 'edsr'".
        given: keywords that it is built with besides, such as "scale".
    """
    signature = _written_signature(path, what) or inspect.signature(locate(path, what))
    parameters = signature.parameters.values()
    accepted = [p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters)
    for key in given:
        if key in arguments:
            raise ValueError(f"{what}: '{key}' is not among its arguments, it comes with the cell")
        if key not in accepted and not anything:
            raise ValueError(f"{what}: it must accept the keyword '{key}': {signature}")
    for key in arguments:
        if key not in accepted and not anything:
            known = ", ".join(name for name in accepted if name not in given) or "none"
            raise ValueError(
                f"{what} has no argument '{key}'; it accepts: {known}{near(key, accepted)}"
            )
    try:
        signature.bind(**dict.fromkeys(given), **arguments)
    except TypeError as error:
        raise ValueError(f"{what}: {error}, in {signature}") from error


def locate(path: str, what: str) -> type[nn.Module]:
    """The class itself, imported. Raises ValueError unless it is one derived from nn.Module."""
    module_name, class_name = _split(path, what)
    try:
        module = import_module(module_name)
    except Exception as error:  # whatever a foreign module raises, it cannot be imported
        raise ValueError(
            f"{what}: module '{module_name}' cannot be imported "
            f"({type(error).__name__}: {error}); is it installed, or its folder on PYTHONPATH?"
        ) from error
    if not hasattr(module, class_name):
        raise ValueError(
            f"{what}: module '{module_name}' has no '{class_name}'{near(class_name, vars(module))}"
        )
    found = getattr(module, class_name)
    from torch import nn  # by now the module of any network has imported it

    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ValueError(f"{what} must be a class derived from nn.Module, not {found!r}")
    return found


def _split(path: str, what: str) -> tuple[str, str]:
    module_name, colon, class_name = path.partition(":")
    if not (module_name and colon and class_name):
        raise ValueError(f"{what}: expected an import path 'package.module:Class', found '{path}'")
    return module_name, class_name


def _written_signature(path: str, what: str) -> inspect.Signature | None:
    """What the class's own `__init__` accepts, as written; None where only an import tells."""
    module_name, class_name = _split(path, what)
    try:
        spec = find_spec(module_name)
    except (ImportError, ValueError):
        return None
    source = getattr(spec and spec.loader, "get_source", lambda _: None)(module_name)
    try:
        classes = _classes(source or "")
    except SyntaxError:
        return None
    for node in classes.get(class_name, []):
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            return _signature(node.args)
    return None


@lru_cache(maxsize=32)  # every cell of a grid asks, and each job of a cluster reads the whole grid
def _classes(source: str) -> dict[str, list[ast.stmt]]:
    """The bodies of the classes in a source, by name."""
    return {n.name: n.body for n in ast.parse(source).body if isinstance(n, ast.ClassDef)}


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
