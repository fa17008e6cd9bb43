"""The evaluation protocols, as data: every reported number carries the name of one.

- `paper`: what the paper's tables rest on. Bicubic rows of its Table I come out to 4 decimals.
- `standard`: what the field reports. Of the variants in use this one keeps lr and sr in 8 bits and
  luma unrounded; bicubic on Set5 is 33.68 / 30.40 / 28.43 dB at x2 / x3 / x4. Y of a single-channel
  file is its grey level, so that bicubic on Set14, with its bridge, is the 30.24 / 27.55 / 26.00 of
  the literature within 0.02 dB.
- `standard-grey-as-rgb`: the same, but such files are made RGB first, as toolboxes do whose loader
  gives three channels always. Set14's numbers are 0.09 dB higher.

Numbers of different ones do not compare: the paper's bicubic upsampling (a = -0.75) and unshaved
border alone lift x2 by up to 0.3 dB.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from tlw.config.settings import Channels, JudgeNet, ProtocolName, Use
from tlw.imaging.resize import Border, Mode, imresize
from tlw.runtime.errors import one_of

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Protocol:
    """How images are cropped, degraded, rounded and measured. Every field is a plain value."""

    name: ProtocolName
    train_multiples: tuple[int, int, int]  # hr sides are cropped to these, at x2, x3, x4
    test_multiples: tuple[int, int, int]  # the same, for benchmarks
    lr_dtype: Literal["float32", "uint8"]  # float32: not rounded, not clipped
    lr_border: Border  # what the downsampling sees outside the image
    lr_a: float  # the cubic kernel of the downsampling
    upsampling: Literal["torch", "imresize"]  # of the bicubic rows; a is -0.75 in torch, -0.5 there
    sr_rounded: bool  # sr rounded to 8 bits, after clamping
    border_shaved: bool  # whether metrics leave out `scale` pixels on each side
    lpips_nets: tuple[JudgeNet, ...]
    lpips_channels: Channels
    # Of a single-channel file Y is its level, 0..255, as MATLAB's scripts have it, which convert
    # colours only; or that of RGB with three such channels, 16..235, as toolboxes have it.
    grey_luma: Literal["as-stored", "as-rgb"]
    metrics: tuple[str, ...]  # names of the columns, in order

    def multiple(self, use: Use, scale: int) -> int:
        """What the sides of an hr image are cropped to a multiple of, in hr pixels."""
        if use not in get_args(Use):
            raise ValueError(f"use: {one_of(use, get_args(Use))}")
        return (self.train_multiples if use == "train" else self.test_multiples)[scale - 2]

    def border(self, scale: int) -> int:
        """How many pixels the metrics leave out on each side."""
        return scale if self.border_shaved else 0

    def downsample(self, hr: np.ndarray, scale: int) -> np.ndarray:
        """lr (H, W, 3) of an hr image uint8 (sH, sW, 3): float32 around [0, 1], or uint8.

        Raises ValueError unless hr is uint8 and its sides are multiples of the scale.
        """
        if hr.dtype != np.uint8 or hr.shape[0] % scale or hr.shape[1] % scale:
            raise ValueError(
                f"expected hr of uint8 with sides that are multiples of {scale}, "
                f"found {hr.dtype} {hr.shape}"
            )
        size = (hr.shape[0] // scale, hr.shape[1] // scale)
        mode: Mode = "uint8" if self.lr_dtype == "uint8" else "float"
        image = hr if mode == "uint8" else hr / 255
        lr = imresize(image, size=size, mode=mode, border=self.lr_border, a=self.lr_a)
        return lr.astype(self.lr_dtype)

    def upsample_bicubic(self, lr: "torch.Tensor", scale: int) -> "torch.Tensor":
        """The bicubic rows' sr (N, 3, sH, sW) of lr (N, 3, H, W); unclamped, unrounded."""
        import torch

        if self.upsampling == "torch":
            return torch.nn.functional.interpolate(
                lr, scale_factor=scale, mode="bicubic", align_corners=False
            )
        images = lr.permute(0, 2, 3, 1).double().cpu().numpy()
        up = np.stack([imresize(image, scale=scale) for image in images])
        return torch.from_numpy(up).to(lr).permute(0, 3, 1, 2).contiguous()

    def finish(self, sr: "torch.Tensor") -> "torch.Tensor":
        """sr as it is measured: clamped to [0, 1], rounded to 8 bits where the protocol says so."""
        from tlw.imaging.ranges import round_to_8_bits

        return round_to_8_bits(sr) if self.sr_rounded else sr.clamp(0, 1)


PROTOCOLS: dict[ProtocolName, Protocol] = {
    "paper": Protocol(
        name="paper",
        # The code's 28, four windows of 7, is no multiple of 3, and 84 is more than T91's smallest
        # image has. Text and code are silent about x3: three windows.
        train_multiples=(28, 21, 28),
        test_multiples=(12, 12, 12),
        lr_dtype="float32",
        lr_border="mirror",
        lr_a=-0.5,
        upsampling="torch",
        sr_rounded=False,
        border_shaved=False,
        lpips_nets=("vgg",),
        lpips_channels="bgr",
        grey_luma="as-rgb",
        metrics=("psnr_y", "lpips_vgg"),
    ),
    "standard": Protocol(
        name="standard",
        train_multiples=(2, 3, 4),
        test_multiples=(2, 3, 4),
        lr_dtype="uint8",
        lr_border="mirror",
        lr_a=-0.5,
        upsampling="imresize",
        sr_rounded=True,
        border_shaved=True,
        lpips_nets=("alex", "vgg"),
        lpips_channels="rgb",
        grey_luma="as-stored",
        metrics=("psnr_y", "ssim_y", "lpips_alex", "lpips_vgg"),
    ),
}
PROTOCOLS["standard-grey-as-rgb"] = replace(
    PROTOCOLS["standard"], name="standard-grey-as-rgb", grey_luma="as-rgb"
)


def protocol(name: str) -> Protocol:
    """The protocol of that name. Raises ValueError, with the known names, for another."""
    if name not in PROTOCOLS:
        raise ValueError(f"protocol: {one_of(name, PROTOCOLS)}")
    return PROTOCOLS[name]
