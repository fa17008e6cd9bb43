"""EDSR, RCAN and HAT as the BasicSR toolbox builds and trains them: the usual step. A baseline.

Written from the architectures: float32 in NCHW, nothing fused, images in [0, 1] with the mean of
DIV2K's colours taken off and the range stretched to 0..255, L1, Adam. The sizes are the package's
(EDSR 16 blocks, RCAN 10 x 20, 64 features). HAT, which is no part of BasicSR but built upon it, is
in `hat_like.py`. The moving average of the weights is left out. One thing differs from the package:
x4 is two steps of 2 in RCAN, too.
"""

import torch
import torch.nn.functional as F
from hat_like import PublishedHAT
from torch import Tensor, nn

MEAN_COLOUR = (0.4488, 0.4371, 0.4040)
NETWORKS = ("edsr", "rcan", "hat")


def conv(features: int, out: int) -> nn.Conv2d:
    return nn.Conv2d(features, out, 3, 1, 1)


class ResidualBlock(nn.Module):
    def __init__(self, features: int, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.conv1, self.conv2 = conv(features, features), conv(features, features)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.relu(self.conv1(x))) * self.scale


class ChannelAttention(nn.Module):
    def __init__(self, features: int, squeeze: int = 16) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(features, features // squeeze, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(features // squeeze, features, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.attention(x)


class AttentionBlock(nn.Module):
    def __init__(self, features: int, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.branch = nn.Sequential(
            conv(features, features),
            nn.ReLU(inplace=True),
            conv(features, features),
            ChannelAttention(features),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.branch(x) * self.scale + x


class ResidualGroup(nn.Module):
    def __init__(self, features: int, blocks: int = 20) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(AttentionBlock(features) for _ in range(blocks)))
        self.conv = conv(features, features)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.blocks(x)) + x


class Residual(nn.Module):
    """The frame that EDSR and RCAN share: a body under one skip connection, then upsampling."""

    def __init__(self, body: nn.Module, scale: int, features: int = 64) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN_COLOUR).view(1, 3, 1, 1))
        self.first, self.body = conv(3, features), body
        self.after_body = conv(features, features)
        steps = (2, 2) if scale == 4 else (scale,)
        parts = ((conv(features, features * n**2), nn.PixelShuffle(n)) for n in steps)
        self.upsample = nn.Sequential(*(layer for pair in parts for layer in pair))
        self.last = conv(features, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first((x - self.mean) * 255)
        x = self.last(self.upsample(self.after_body(self.body(x)) + x))
        return x / 255 + self.mean


def network(name: str, scale: int) -> nn.Module:
    """One of `NETWORKS`, from images in [0, 1] to images in [0, 1]."""
    if name == "hat":
        return PublishedHAT(scale=scale)
    block, count = {"edsr": (ResidualBlock, 16), "rcan": (ResidualGroup, 10)}[name]
    return Residual(nn.Sequential(*(block(64) for _ in range(count))), scale)


class BasicTraining:
    """A network with L1 and Adam."""

    def __init__(self, name: str, scale: int, device: torch.device) -> None:
        self.net = network(name, scale).to(device).train()
        self.adam = torch.optim.Adam(self.net.parameters(), lr=1e-4, betas=(0.9, 0.99))

    def step(self, lr: Tensor, hr: Tensor) -> Tensor:
        """One step on a batch of images in [0, 1]; the loss, detached."""
        self.adam.zero_grad()
        loss = F.l1_loss(self.net(lr), hr)
        loss.backward()
        self.adam.step()
        return loss.detach()
