"""All metrics of a protocol for one image and its reference."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from tlw.config.settings import JudgeNet
from tlw.data.protocols import Protocol
from tlw.judge.dists import DISTS
from tlw.judge.lpips import Judge
from tlw.scoring.metrics import levels, psnr, require_one_shape, ssim


class Scorer:
    """All metrics of a protocol for one image.

    LPIPS is taken in float32, in the protocol's order of channels, and of the whole image, PSNR and
    SSIM inside the protocol's border.

    Args:
        protocol: says which metrics, and how sr is finished before.
        scale: for the border.
        device: where metrics are computed.
        judge_folder: of LPIPS' weights, see `tlw.judge.weights.judge_weights`.
        extra: metrics beside the protocol's, of `tlw.scoring.columns.EXTRA`.
    """

    def __init__(
        self,
        protocol: Protocol,
        scale: int,
        *,
        device: torch.device | str = "cpu",
        judge_folder: Path | None = None,
        extra: Sequence[str] = (),
    ) -> None:
        self.metrics = tuple(dict.fromkeys([*protocol.metrics, *extra]))
        self.protocol, self.device = protocol, device
        self.border = protocol.border(scale)
        self.judges = {
            net: Judge(net, channels=protocol.lpips_channels, weights=judge_folder).to(device)
            for net in get_args(JudgeNet)
            if f"lpips_{net}" in self.metrics
        }
        self.dists = DISTS(judge_folder).to(device) if "dists" in self.metrics else None

    @torch.inference_mode()
    def against(self, hr: Tensor, *, grey: bool = False) -> Callable[[Tensor], dict[str, float]]:
        """The metrics against hr (3, H, W) as a function of sr, with hr's features computed once.

        `grey`: hr's file has a single channel.

        The function takes sr (3, H, W) as a network gives it, and holds the features, which for
        LPIPS on VGG16 and 1024 x 1024 pixels are 0.5 GB.
        """
        hr = hr[None].to(self.device)
        grey = grey and self.protocol.grey_luma == "as-stored"
        y = levels(hr, border=self.border, grey=grey)
        distances = {f"lpips_{net}": judge.against(hr) for net, judge in self.judges.items()}
        if self.dists is not None:
            distances["dists"] = self.dists.against(hr)

        @torch.inference_mode()
        def scores(sr: Tensor) -> dict[str, float]:
            sr = self.protocol.finish(sr)[None].to(self.device)
            require_one_shape(sr, hr)
            of_luma = {"psnr_y": psnr, "ssim_y": ssim}
            sr_y, found = levels(sr, "sr", border=self.border, grey=grey), {}
            for metric in self.metrics:
                value = (
                    of_luma[metric](sr_y, y) if metric in of_luma else distances[metric](sr.float())
                )
                found[metric] = float(value)
            return found

        return scores

    def __call__(self, sr: Tensor, hr: Tensor, *, grey: bool = False) -> dict[str, float]:
        """The metrics, by column name, of sr (3, H, W), as a network gives it, and hr (3, H, W)."""
        return self.against(hr, grey=grey)(sr)
