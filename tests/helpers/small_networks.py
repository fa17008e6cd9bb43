"""A small form of each network, and images for it."""

import torch
from torch import Tensor, nn

from tlw.backbones import build

SMALL = {
    "vdsr": {"features": 6, "layers": 2},
    "edsr": {"features": 6, "blocks": 2},
    "rcan": {"features": 8, "groups": 2, "blocks": 2, "reduction": 2},
    # lists, as they come from YAML
    "hat": {
        "embed": 12,
        "depths": [2, 2],
        "heads": [2, 3],
        "window": 4,
        "squeeze": 3,
        "features": 8,
    },
}


def small(name: str, scale: int, **arguments: object) -> nn.Module:
    torch.manual_seed(0)
    return build(name, scale=scale, **SMALL[name] | arguments)


def image(height: int, width: int, *, count: int = 1) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))
