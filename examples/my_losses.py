"""A loss of one's own; examples/config.yaml has it by its import path, my_losses:Charbonnier."""

from torch import Tensor, nn


class Charbonnier(nn.Module):
    """A smooth L1: the mean of sqrt((hr - sr)^2 + eps^2), on images in [0, 1]."""

    def __init__(self, eps: float = 1e-3) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        return ((hr - sr).square() + self.eps**2).sqrt().mean()
