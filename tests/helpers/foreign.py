"""Networks and losses as a user might write them by mistake: they give what they should not."""

import torch
from torch import Tensor, nn


class Good(nn.Module):
    """Enlarges by one convolution, as it should."""

    def __init__(self, *, scale: int) -> None:
        super().__init__()
        self.conv, self.shuffle = nn.Conv2d(3, 3 * scale**2, 3, padding=1), nn.PixelShuffle(scale)

    def forward(self, lr: Tensor) -> Tensor:
        return self.shuffle(self.conv(lr))


class OneChannel(Good):
    def forward(self, lr: Tensor) -> Tensor:
        return super().forward(lr)[:, :1]


class NotEnlarged(Good):
    def forward(self, lr: Tensor) -> Tensor:
        return self.conv(lr)[:, :3]


class OtherScale(Good):
    def __init__(self, *, scale: int) -> None:
        super().__init__(scale=2 * scale)


class Pair(Good):
    def forward(self, lr: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(lr), lr


class Levels(Good):
    def forward(self, lr: Tensor) -> Tensor:
        return (255 * super().forward(lr)).byte()


class NoWeights(nn.Module):
    def __init__(self, *, scale: int) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=scale)

    def forward(self, lr: Tensor) -> Tensor:
        return self.up(lr)


class Mean(nn.Module):
    """A loss as it should be."""

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        return (sr - hr).abs().mean()


class Map(Mean):
    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        return (sr - hr).abs()


class PerImage(Mean):
    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        return (sr - hr).abs().mean((1, 2, 3))


class Detached(Mean):
    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        return super().forward(sr, hr).detach()


class Number(Mean):
    def forward(self, sr: Tensor, hr: Tensor) -> float:
        return float(super().forward(sr, hr))


class Dict(Mean):
    def forward(self, sr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        return {"loss": super().forward(sr, hr)}


class Whole(Mean):
    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        return (sr - hr).abs().sum().long()


class OddFigures(Mean):
    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        self.last = {"errors": (sr - hr).detach()}
        return super().forward(sr, hr)


class TooLarge(Good):
    def forward(self, lr: Tensor) -> Tensor:
        return super().forward(lr) + torch.empty(10**14, device=lr.device).sum()
