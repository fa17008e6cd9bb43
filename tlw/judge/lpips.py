"""The judge D: LPIPS v0.1 on VGG16, AlexNet or SqueezeNet, with its heads or plain sums.

Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (CVPR 2018).
Written from the definition, so that nothing of torchvision is needed; the `lpips` package is the
oracle in the tests.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from tlw.config.settings import Channels, JudgeNet, Precision
from tlw.imaging.ranges import swap_channels, to_signed
from tlw.judge.layer_distance import layer_distance, unit_features
from tlw.judge.weights import judge_weights
from tlw.runtime.errors import one_of
from tlw.runtime.precision import HALF, twice, two_halves, usable

# What a trunk is made of: convolutions by their number in torchvision's `features` with (stride,
# padding), a number alone for a fire module of SqueezeNet's (Iandola et al., 2016), "pool" between
# them, and "tap" where LPIPS reads the features, always after a ReLU.
_Step = tuple[int, int, int] | int | Literal["tap", "pool"]
_TRUNKS: dict[str, list[_Step]] = {
    "vgg": [
        *((0, 1, 1), (2, 1, 1), "tap", "pool"),
        *((5, 1, 1), (7, 1, 1), "tap", "pool"),
        *((10, 1, 1), (12, 1, 1), (14, 1, 1), "tap", "pool"),
        *((17, 1, 1), (19, 1, 1), (21, 1, 1), "tap", "pool"),
        *((24, 1, 1), (26, 1, 1), (28, 1, 1), "tap"),
    ],
    "alex": [
        *((0, 4, 2), "tap", "pool"),
        *((3, 1, 2), "tap", "pool"),
        *((6, 1, 1), "tap", (8, 1, 1), "tap", (10, 1, 1), "tap"),
    ],
    "squeeze": [
        *((0, 2, 0), "tap", "pool", 3, 4, "tap", "pool", 6, 7, "tap", "pool"),
        *(9, "tap", 10, "tap", 11, "tap", 12, "tap"),
    ],
}
_POOL_SIZE = {"vgg": 2, "alex": 3, "squeeze": 3}  # the stride is 2 in all
_PARTLY_OUTSIDE = {"squeeze"}  # whose last pooling window may reach beyond the map
# Below this side a pooling layer has nothing left to pool.
_SMALLEST = {"vgg": 16, "alex": 31, "squeeze": 17}


class Judge(nn.Module):
    """The perceptual distance D(x, hr) of Eq. 4, one number per image, 0 for equal images.

    Args:
        net: the trunk, "vgg" (VGG16), "alex" (AlexNet) or "squeeze" (SqueezeNet 1.1).
        calibrated: with LPIPS' learned heads; without them each layer's squared differences are
            summed over channels unweighted, which is what the authors' code trains with.
        channels: the order in which the trunk is given its input. It was trained on "rgb"; the
            authors' code hands it "bgr", and so do the paper's LPIPS columns.
        weights: the folder of the weights' files, see `tlw.judge.weights.judge_weights`; downloaded
            into it when they are not there.
        precision: "float32" or "bf16-mixed", see `tlw.runtime.precision`. The latter is for
            training: its ratios of distances are right to a percent, while its distances have a
            floor of some 1e-4.

    The weights are frozen and no part of `state_dict`.
    """

    head_0: Tensor
    shift: Tensor
    spread: Tensor

    def __init__(
        self,
        net: JudgeNet = "vgg",
        *,
        calibrated: bool = True,
        channels: Channels = "rgb",
        weights: Path | None = None,
        precision: Precision = "float32",
    ) -> None:
        super().__init__()
        if net not in _TRUNKS:
            raise ValueError(f"judge: net: {one_of(net, _TRUNKS)}")
        if channels not in get_args(Channels):
            raise ValueError(f"judge: channels: {one_of(channels, get_args(Channels))}")
        self.net, self.calibrated, self.channels = net, calibrated, channels
        self.precision: Precision = precision
        tensors = load_file(judge_weights(net, weights))
        for name, tensor in tensors.items():
            if name.startswith("features."):
                # copies, for the file stays in memory as long as one of its tensors
                self._keep(_buffer(name), _channels_last(tensor.clone()))
        for layer in range(_TRUNKS[net].count("tap")):
            head = tensors[f"heads.{layer}"].flatten().clone()
            self._keep(f"head_{layer}", head if calibrated else torch.ones_like(head))
        self._keep("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self._keep("spread", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))

    def _keep(self, name: str, tensor: Tensor) -> None:
        self.register_buffer(name, tensor, persistent=False)

    def features(self, images: Tensor) -> list[Tensor]:
        """The trunk's feature maps: five, of squeeze seven.

        Args:
            images: (N, 3, H, W) RGB in [0, 1]; values outside are taken as they come, since sr
                may overshoot while training.

        Returns:
            Tensors (N, C_l, H_l, W_l), not below 0.

        Raises:
            ValueError: for another shape, or a side below 16 pixels (vgg), 31 (alex), 17 (squeeze).
        """
        return self._features(images, self._kernels())

    def against(self, hr: Tensor) -> Callable[[Tensor], Tensor]:
        """D(., hr) as a function of images, with hr's features computed once.

        It takes as many images as hr has, or several times as many, to be compared with hr anew.
        """
        kernels = self._kernels()
        with torch.no_grad():
            units = [unit_features(x, self.head_0.dtype) for x in self._features(hr, kernels)]
        heads = [getattr(self, f"head_{layer}") for layer in range(len(units))]

        def distance(images: Tensor) -> Tensor:
            features = self._features(images, kernels)
            return torch.stack([*map(layer_distance, features, units, heads)]).sum(dim=0)

        return distance

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        """D(sr, hr): (N,). Both images (N, 3, H, W) in [0, 1]; gradients flow to sr only."""
        return self.against(hr)(sr)

    def _kernels(self) -> list[tuple[Tensor, Tensor]]:
        """Weight and bias of each convolution, in the precision that the device computes in."""
        names = [name for step in _TRUNKS[self.net] for name in _convolutions(step)]
        kernels = [(getattr(self, f"weight_{i}"), getattr(self, f"bias_{i}")) for i in names]
        if usable(self.precision, self.head_0.device) == "float32":
            return kernels
        (first, bias), *others = kernels
        return [(x.to(HALF), b.to(HALF)) for x, b in [(twice(first), bias), *others]]

    def _features(self, images: Tensor, kernels: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
        smallest = _SMALLEST[self.net]
        if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < smallest:
            raise ValueError(
                f"judge {self.net}: expected images (N, 3, H, W) with sides of {smallest} pixels "
                f"or more, found {tuple(images.shape)}"
            )
        x = to_signed(swap_channels(images) if self.channels == "bgr" else images)
        x = _channels_last((x - self.shift) / self.spread)
        if kernels[0][0].dtype == HALF:
            x = two_halves(x)
        taps, rest = [], iter(kernels)
        for step in _TRUNKS[self.net]:
            if step == "tap":
                taps.append(x)
            elif step == "pool":
                beyond = self.net in _PARTLY_OUTSIDE
                x = F.max_pool2d(x, _POOL_SIZE[self.net], 2, ceil_mode=beyond)
            elif isinstance(step, int):
                x = F.conv2d(x, *next(rest)).relu_()
                one, three = (F.conv2d(x, *next(rest), padding=p).relu_() for p in (0, 1))
                x = torch.cat([one, three], dim=1)
            else:
                _, stride, padding = step
                x = F.conv2d(x, *next(rest), stride, padding).relu_()
        return taps


def _convolutions(step: _Step) -> list[str]:
    """The names of a step's convolutions, as its buffers have them, in the order of their use."""
    if isinstance(step, tuple):
        return [str(step[0])]
    if isinstance(step, int):
        return [f"{step}_{part}" for part in ("squeeze", "expand1x1", "expand3x3")]
    return []


def _buffer(name: str) -> str:
    """A tensor's name as a buffer: features.28.weight is weight_28."""
    _, *convolution, part = name.split(".")
    return "_".join([part, *convolution])


def _channels_last(x: Tensor) -> Tensor:
    """In the layout that convolutions are fastest in; tensors of other than four sides as is."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x
