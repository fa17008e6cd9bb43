"""A reference implementation of Algorithm 1, structured as the authors' published code is.

Float32 and NCHW throughout. Every call of the judge sends both of its images through VGG, so a
weighted step makes 16 passes where 9 do, and 18 with the LPIPS that is computed only to be printed;
sr is computed once for phi's step and once more for theta's. The mathematics is the package's: for
the same weights and the same noise both give the same loss, which `step.py` and a test check.
"""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from tlw.config.config import Cell
from tlw.config.settings import TLWSettings
from tlw.judge.weights import judge_weights
from tlw.losses.fixed_sum import fixed_sum, relaxed_bernoulli
from tlw.networks.sr_net import build_network

BLOCKS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))  # VGG16's convolutions


class ReferenceLPIPS(nn.Module):
    """D(x, y), (N,), of images (N, 3, H, W) in [-1, 1]; two passes through VGG16 at each call."""

    def __init__(self, judge_folder: Path | None, *, calibrated: bool, bgr: bool) -> None:
        super().__init__()
        self.calibrated, self.bgr = calibrated, bgr
        for name, tensor in load_file(judge_weights("vgg", judge_folder)).items():
            self.register_buffer(name.replace(".", "_"), tensor)
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("spread", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        total = 0
        for block, (a, b) in enumerate(zip(self.taps(x), self.taps(y), strict=True)):
            total = total + self.layer(block, self.normalised(a), self.normalised(b))
        return total

    def layer(self, block: int, a: Tensor, b: Tensor) -> Tensor:
        if not self.calibrated:
            return ((a - b) ** 2).sum(dim=1).mean(dim=(1, 2))
        head = getattr(self, f"heads_{block}").view(1, -1, 1, 1)
        return F.conv2d((a - b) ** 2, head).mean(dim=(1, 2, 3))

    def taps(self, x: Tensor) -> list[Tensor]:
        x = ((x.flip(1) if self.bgr else x) - self.shift) / self.spread
        taps = []
        for number, block in enumerate(BLOCKS):
            x = F.max_pool2d(x, 2) if number else x
            for conv in block:
                kernel = getattr(self, f"features_{conv}_weight")
                x = F.relu(F.conv2d(x, kernel, getattr(self, f"features_{conv}_bias"), padding=1))
            taps.append(x)
        return taps

    @staticmethod
    def normalised(x: Tensor) -> Tensor:
        return x / (x.pow(2).sum(dim=1, keepdim=True).sqrt() + 1e-10)


class PlainJudge(ReferenceLPIPS):
    """The package's judge in torch's plain operations: hr's features once, the formula as written.

    What the package's own way with layouts and feature maps gains is measured against this.
    """

    def against(self, hr: Tensor) -> Callable[[Tensor], Tensor]:
        """D(., hr) of images in [0, 1], as `tlw.judge.lpips.Judge.against`."""
        with torch.no_grad():
            of_hr = [self.normalised(x) for x in self.taps(hr * 2 - 1)]

        def distance(images: Tensor) -> Tensor:
            total = 0
            for block, (a, b) in enumerate(zip(self.taps(images * 2 - 1), of_hr, strict=True)):
                b = b.repeat(len(a) // len(b), 1, 1, 1)
                total = total + self.layer(block, self.normalised(a), b)
            return total

        return distance


class ReferenceWeightNet(nn.Module):
    """The mean of the weights, (N, 3, H, W); loads the state of the package's `WeightNet`."""

    def __init__(self, features: int, over: str) -> None:
        super().__init__()
        self.over = over
        layers: list[nn.Module] = []
        for channels, kernel in ((6, 7), (features, 5), (features, 3)):
            layers.append(nn.Conv2d(channels, features, kernel, padding=kernel // 2))
            layers.append(nn.BatchNorm2d(features))
            layers.append(nn.ReLU())
        self.layers = nn.Sequential(*layers, nn.Conv2d(features, 3, 3, padding=1), nn.Sigmoid())

    def forward(self, hr: Tensor, sr: Tensor, k: float) -> Tensor:
        return fixed_sum(self.layers(torch.cat([hr, sr], dim=1)), k, over=self.over)


class ReferenceTraining:
    """A cell's network and, for a weighted loss, its weighting network, each with its Adam.

    Args:
        cell: of loss l1, mse, l1-tlw or mse-tlw.
        prints_lpips: computes LPIPS of sr at each step, as the authors' progress bar does.
    """

    def __init__(
        self, cell: Cell, device: torch.device, judge_folder: Path | None = None, *,
        prints_lpips: bool = True,
    ) -> None:  # fmt: skip
        s = self.settings = cell.loss
        self.net = build_network(cell.backbone, cell.scale).to(device).train()
        self.adam = torch.optim.Adam(
            self.net.parameters(), lr=cell.recipe.learning_rate, betas=cell.recipe.betas
        )
        self.lpips = None
        if prints_lpips:
            self.lpips = ReferenceLPIPS(judge_folder, calibrated=True, bgr=True).to(device)
        self.weighted = isinstance(s, TLWSettings)
        if self.weighted:
            bgr = s.channels == "bgr"
            self.judge = ReferenceLPIPS(judge_folder, calibrated=s.calibrated, bgr=bgr).to(device)
            self.weight_net = ReferenceWeightNet(s.features, s.fixed_sum_over).to(device)
            self.phi_adam = torch.optim.Adam(
                self.weight_net.parameters(), lr=s.learning_rate, betas=s.betas
            )
            self.k = s.k_start

    def step(self, lr: Tensor, hr: Tensor) -> Tensor:
        """One step on a batch of images in [0, 1]; the loss, detached."""
        hr_signed = hr * 2 - 1
        if self.weighted:
            self.step_of_phi(lr, hr_signed)
        sr = self.net(lr) * 2 - 1
        loss = self.theta_loss(sr, hr_signed) if self.weighted else self.pixel_loss(sr, hr_signed)
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        if self.lpips is not None:
            with torch.no_grad():
                self.printed = self.lpips(sr, hr_signed).mean().item()
        return loss.detach()

    def step_of_phi(self, lr: Tensor, hr: Tensor) -> None:
        with torch.no_grad():
            sr = self.net(lr) * 2 - 1
        w = self.draw(self.weight_net(hr, sr, self.k))
        chosen, rest = (1 - w) * sr + w * hr, w * sr + (1 - w) * hr
        eps = self.settings.eps
        near, far = self.judge(chosen, hr) + eps, self.judge(rest, hr) + eps
        loss = (torch.log(near) - torch.log(far)).mean()
        self.phi_adam.zero_grad()
        loss.backward()
        self.phi_adam.step()
        self.phi_loss = loss.item()

    def theta_loss(self, sr: Tensor, hr: Tensor) -> Tensor:
        s = self.settings
        with torch.no_grad():
            mean = self.weight_net(hr, sr, self.k)
        errors, criteria = [], []
        for _ in range(s.samples):
            with torch.no_grad():
                w = self.draw(mean)
                chosen, rest = (1 - w) * sr + w * hr, w * sr + (1 - w) * hr
                above = self.judge(rest, hr) + (s.eps if s.eps_in_numerator else 0)
                criteria.append(above / (self.judge(chosen, hr) + s.eps))
            error = (hr - sr).abs()
            if s.base == "mse":
                error = error.square() / (error.detach() + s.mse_offset)
            errors.append((w * error).mean(dim=(1, 2, 3)))
        if s.theta_loss == "sum":
            return sum(wc * e for wc, e in zip(criteria, errors, strict=True)).mean()
        share = sum(wc * torch.exp(-e) for wc, e in zip(criteria, errors, strict=True))
        return -torch.log(share / sum(criteria)).mean()

    def pixel_loss(self, sr: Tensor, hr: Tensor) -> Tensor:
        return F.l1_loss(sr, hr) if self.settings.base == "l1" else F.mse_loss(sr, hr)

    def draw(self, mean: Tensor) -> Tensor:
        s, noise = self.settings, torch.rand_like(mean)
        return relaxed_bernoulli(mean, noise, temperature=s.temperature, margin=s.margin)
