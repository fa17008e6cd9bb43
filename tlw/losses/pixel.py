"""The unweighted losses, L1 and MSE."""

from torch import Tensor, nn

from tlw.config.settings import Base
from tlw.imaging.ranges import to_signed


class PixelLoss(nn.Module):
    """Mean absolute ("l1") or mean squared ("mse") error of images in [0, 1], taken on [-1, 1].

    The range is the weighted losses', so that a loss and its weighted twin compare.
    """

    def __init__(self, base: Base) -> None:
        super().__init__()
        self.base = base
        self.last: dict[str, Tensor] = {}

    def start_epoch(self, epoch: int) -> None:
        """Nothing changes from epoch to epoch."""

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        """(N, 3, H, W) twice, a scalar back."""
        error = to_signed(hr) - to_signed(sr)
        return error.abs().mean() if self.base == "l1" else error.square().mean()
