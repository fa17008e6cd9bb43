"""Networks of other packages from their state dicts alone: the keys tell which architecture it is.

EDSR is known here; for others spandrel is asked.
"""

import inspect
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tlw.backbones.foreign import Foreign, import_spandrel
from tlw.config.config import Backbone
from tlw.networks.edsr_states import edsr_of


class Recognised(NamedTuple):
    """A backbone in [0, 1] RGB, its scale, and its weights."""

    backbone: Backbone
    scale: int
    state: dict[str, Tensor]


def recognised(state: Mapping[str, Tensor]) -> Recognised:
    """The network that a state dict is of.

    Raises:
        ValueError: for an architecture that is not known, or none of super-resolution from RGB to
            RGB, or where spandrel is needed and cannot be imported.
    """
    edsr = edsr_of(state)
    if edsr is not None:
        entry = Backbone(path="edsr-shifted", arguments=edsr.arguments, images="unit-rgb")
        return Recognised(entry, edsr.scale, edsr.state)
    spandrel = import_spandrel()
    try:
        found = spandrel.ModelLoader(device="cpu").load_from_state_dict(dict(state))
    except spandrel.UnsupportedModelError:
        raise ValueError(
            f"its architecture is not known, neither here nor to spandrel {spandrel.__version__}; "
            f"its keys are {', '.join(list(state)[:5])}, ..."
        ) from None
    except (RuntimeError, ValueError, KeyError) as error:
        raise ValueError(f"looks like a network that spandrel knows, but {error}") from None
    name = found.architecture.name
    if (found.purpose, found.input_channels, found.output_channels) != ("SR", 3, 3):
        raise ValueError(
            f"expected a network of super-resolution from RGB to RGB, found {name}, for "
            f"{found.purpose}, from {found.input_channels} to {found.output_channels} channels"
        )
    return Recognised(_entry(found), found.scale, _checked(found))


def _entry(found: Any) -> Backbone:
    kind, needs = type(found.model), found.size_requirements
    defaults = {name: p.default for name, p in inspect.signature(kind).parameters.items()}
    try:  # a default may be a class or a function, and needs no telling
        told = found.model.hyperparameters.items()
        changed = {name: value for name, value in told if value is not defaults.get(name)}
        arguments = json.loads(json.dumps(changed))
    except (AttributeError, TypeError) as error:
        raise ValueError(
            f"{found.architecture.name} is built with more than plain values: {error}"
        ) from None
    return Backbone(
        path="foreign",
        arguments={
            "network": f"{kind.__module__}:{kind.__qualname__}",
            "arguments": arguments,
            "multiple": needs.multiple_of,
            "minimum": needs.minimum,
        },
        images="unit-rgb",
    )


def _checked(found: Any) -> dict[str, Tensor]:
    """Its weights, if the network built again from plain values gives the same image."""
    arguments = _entry(found).arguments
    again = Foreign(scale=found.scale, **arguments).eval()
    state = {f"net.{key}": value for key, value in found.model.state_dict().items()}
    again.load_state_dict(state)
    lr = torch.rand(1, 3, 17, 19, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = found.eval()(lr.clone())  # which clamps
        if not torch.allclose(again(lr).clamp(0, 1), expected, atol=1e-5):
            raise ValueError(f"{found.architecture.name} cannot be built again as it is")
    return state
