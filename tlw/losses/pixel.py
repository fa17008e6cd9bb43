"""The unweighted losses, L1 and MSE."""

from torch import Tensor, nn

from tlw.config.settings import Base
from tlw.imaging.ranges import to_signed
from tlw.losses.images import in_float32


class PixelLoss(nn.Module):
    """Mean absolute ("l1") or mean squared ("mse") error of images in [0, 1], taken on [-1, 1].

    The range is the weighted losses', so that a weighted loss and its baseline compare.

    Args:
        base: "l1" or "mse".
        factor: a constant before the error. Adam makes nothing of it but where gradients are so
            small that its eps counts; docs/losses.md says why that is worth a control.
    """

    def __init__(self, base: Base, *, factor: float = 1.0) -> None:
        super().__init__()
        self.base, self.factor = base, factor
        self.last: dict[str, Tensor] = {}

    def start_epoch(self, epoch: int) -> None:
        """Nothing changes from epoch to epoch."""

    @in_float32
    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        """(N, 3, H, W) twice, a scalar back."""
        error = to_signed(hr) - to_signed(sr)
        return self.factor * (error.abs() if self.base == "l1" else error.square()).mean()
