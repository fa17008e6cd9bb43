"""A pixel-wise loss plus a share of a perceptual distance: what seeing the judge does by itself.

The distance in a loss is Johnson et al., "Perceptual Losses for Real-Time Style Transfer and
Super-Resolution" (ECCV 2016). TLW's judge has its say only through the weights; where this control
does as well, the weights are not what helps.
"""

from pathlib import Path

from torch import Tensor, nn

from tlw.config.settings import PerceptualSettings, Precision
from tlw.judge.lpips import Judge
from tlw.losses.images import in_float32
from tlw.losses.pixel import PixelLoss


class PerceptualLoss(nn.Module):
    """error + share D(sr, hr): the unweighted loss of `settings.base` on [-1, 1], and the judge.

    Args:
        settings: the judge and its share, see `tlw.config.settings.PerceptualSettings`.
        judge: any module from (sr, hr) to (N,); built from the settings if not given.
        weights: folder of the judge's weights, see `tlw.judge.weights.judge_weights`.
        precision: "float32" or "bf16-mixed", of the judge.

    Attributes:
        last: detached scalars of the last call: error and distance.
    """

    def __init__(
        self,
        settings: PerceptualSettings,
        *,
        judge: nn.Module | None = None,
        weights: Path | None = None,
        precision: Precision = "float32",
    ) -> None:
        super().__init__()
        s = settings
        self.share = s.share
        self.pixel = PixelLoss(s.base)
        self.judge = judge or Judge(
            s.judge_net,
            calibrated=s.calibrated,
            channels=s.channels,
            weights=weights,
            precision=precision,
        )
        self.judge.requires_grad_(False)
        self.last: dict[str, Tensor] = {}

    @in_float32
    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] twice, a scalar back."""
        error, distance = self.pixel(sr, hr), self.judge(sr, hr).mean()
        self.last = {"error": error.detach(), "distance": distance.detach()}
        return error + self.share * distance
