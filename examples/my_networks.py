"""A network of one's own; examples/config.yaml has it by its import path, my_networks:Shuffle."""

from torch import Tensor, nn


class Shuffle(nn.Module):
    """Three convolutions and a pixel shuffle: lr (N, 3, H, W) to sr (N, 3, scale H, scale W)."""

    def __init__(self, *, scale: int, features: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, features, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(features, features, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(features, 3 * scale**2, 3, padding=1),
            nn.PixelShuffle(scale),
        )

    def forward(self, lr: Tensor) -> Tensor:
        return self.layers(lr)
