"""TLWLoss by BasicSR's registry: import this module before training, and say in the option file

    pixel_opt: {type: TLW, base: l1, iterations_per_epoch: 1000}

BasicSR saves no state of a loss: after a resume phi begins anew.
"""

from typing import Any

from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor

from tlw import TLWLoss


@LOSS_REGISTRY.register()
class TLW(TLWLoss):
    """One epoch, which k follows, is so many iterations."""

    def __init__(self, base: Any = "l1", iterations_per_epoch: int = 1000, **settings: Any) -> None:
        super().__init__(base, **settings)
        self.iterations, self.iterations_per_epoch = 0, iterations_per_epoch

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        self.start_epoch(self.iterations // self.iterations_per_epoch)
        self.iterations += self.training
        return super().forward(pred, target)
