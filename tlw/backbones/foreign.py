"""A network of another package as a backbone: one of the architectures that spandrel knows."""

from types import ModuleType
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from tlw.backbones import require_scale
from tlw.config.lookup import locate
from tlw.runtime.extras import missing_message

_HOME = "spandrel.architectures."


class Foreign(nn.Module):
    """lr (N, 3, h, w) to sr (N, 3, scale h, scale w), RGB in [0, 1], of any size.

    - `network`: import path of the class in spandrel, and `arguments`, what it is built with
    - `multiple`, `minimum`: lr is padded on the right and below to sides of a multiple of the one,
      and at least the other, as spandrel says that the network needs

    Raises ValueError for a class of another package, or where spandrel cannot be imported.
    """

    def __init__(
        self,
        *,
        scale: int,
        network: str,
        arguments: dict[str, Any],
        multiple: int = 1,
        minimum: int = 0,
    ) -> None:
        super().__init__()
        require_scale("Foreign", scale)
        if not network.startswith(_HOME):
            raise ValueError(f"Foreign: expected a network of {_HOME}*, found {network}")
        import_spandrel()
        self.scale, self.multiple, self.minimum = scale, multiple, minimum
        self.net = locate(network, f"backbone '{network}'")(**arguments)

    @property
    def window(self) -> int:
        """Side of its windows, for tiles that begin where windows do."""
        window = getattr(self.net, "window_size", 1)
        return window if type(window) is int else 1

    def forward(self, lr: Tensor) -> Tensor:
        height, width = lr.shape[-2:]
        down, right = (self._missing(side) for side in (height, width))
        if down or right:
            fits = down < height and right < width
            lr = F.pad(lr, (0, right, 0, down), mode="reflect" if fits else "replicate")
        # a copy, since spandrel's RCAN multiplies its input in place
        return self.net(lr.clone())[..., : self.scale * height, : self.scale * width]

    def _missing(self, side: int) -> int:
        wanted = max(side, self.minimum)
        return wanted + -wanted % self.multiple - side


def import_spandrel() -> ModuleType:
    """The package. Raises ValueError with the reason, and what to do, where it cannot be."""
    try:
        import spandrel
    except ModuleNotFoundError as error:
        does = "reading a network from elsewhere"
        told = missing_message([str(error.name)], extra="import", does=does)
        raise ValueError(told) from None
    except (ImportError, RuntimeError) as error:
        # torchvision's compiled part belongs to one build of torch, and fails in its own words.
        raise ValueError(
            "spandrel cannot be imported, because torchvision cannot, beside this build of torch "
            f"({error}); install both from one index, so that they are of one build, CPU or CUDA"
        ) from None
    return spandrel
