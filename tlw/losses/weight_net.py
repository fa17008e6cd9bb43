"""The weighting network g_phi: which pixels of hr should count, given the present sr (Fig. 3)."""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tlw.config.settings import Precision
from tlw.losses.fixed_sum import Over, fixed_sum
from tlw.runtime.files import written_aside
from tlw.runtime.precision import HALF, twice, two_halves, usable


class WeightNet(nn.Module):
    """Four convolutions, ReLU after the first three, sigmoid, FixedSum (section III-B).

    Kernel sizes 7, 5, 3, 3 and a BatchNorm before each ReLU, on which the paper is silent, are the
    authors' code's. BatchNorm works on the batch's own statistics in training mode.

    Args:
        features: channels of the hidden layers.
        over: what one fixed sum is taken over, see `fixed_sum`.
        precision: "float32" or "bf16-mixed", see `tlw.runtime.precision`.
    """

    def __init__(
        self, *, features: int = 64, over: Over = "channel", precision: Precision = "float32"
    ) -> None:
        super().__init__()
        self.over: Over = over
        self.precision: Precision = precision
        layers: list[nn.Module] = []
        for channels, kernel in ((6, 7), (features, 5), (features, 3)):
            layers += [
                nn.Conv2d(channels, features, kernel, padding=kernel // 2),
                nn.BatchNorm2d(features),
                nn.ReLU(inplace=True),
            ]
        layers += [nn.Conv2d(features, 3, 3, padding=1), nn.Sigmoid()]
        self.layers = nn.Sequential(*layers)
        layout = torch.channels_last
        self.layers.to(memory_format=layout)  # type: ignore[call-overload]  # not in torch's types

    def forward(self, hr: Tensor, sr: Tensor, k: float | Tensor) -> Tensor:
        """The mean of the weights' distribution: one probability per channel and pixel.

        Args:
            hr, sr: (N, 3, H, W) in the networks' range [-1, 1].
            k: the mean of the result, in (0, 1); a float, or a scalar tensor.

        Returns:
            (N, 3, H, W), values in [0, 1].
        """
        x = torch.cat([hr, sr], dim=1).contiguous(memory_format=torch.channels_last)
        if usable(self.precision, x.device) == "float32":
            return fixed_sum(self.layers(x), k, over=self.over)
        first, *middle, sigmoid = self.layers
        with torch.autocast(x.device.type, HALF):
            assert isinstance(first, nn.Conv2d)
            x = F.conv2d(two_halves(x), twice(first.weight), first.bias, padding=first.padding)
            for layer in middle:
                x = layer(x)
        return fixed_sum(sigmoid(x.float()), k, over=self.over)

    def save(self, path: Path) -> None:
        """Writes phi as safetensors, whole or not at all."""
        state = {key: value.detach().cpu().contiguous() for key, value in self.state_dict().items()}
        with written_aside(path) as aside:
            save_file(state, aside)

    def load(self, path: Path) -> "WeightNet":
        """Takes over what `save` wrote; ValueError for another file, or other features."""
        try:
            self.load_state_dict(load_file(path))
        except (OSError, SafetensorError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(f"{path}: no weighting network of these settings: {reason}") from None
        return self
