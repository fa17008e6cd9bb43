"""How near an image is to its reference: PSNR and SSIM on the luma channel.

Both take images as the package keeps them, RGB in [0, 1], and count in 8-bit levels (peak 255) on
the luma of `tlw.imaging.ranges.luma`. Both compute in float64, on the device of the images, and
return one value per image; the mean over a benchmark is the mean of these. Which border to shave
and what is rounded before is said by `tlw.data.protocols`.
"""

import torch
import torch.nn.functional as F

from tlw.imaging.ranges import full_range_luma, luma

_WINDOW, _SIGMA = 11, 1.5  # pixels, of SSIM's Gaussian window
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def psnr_y(
    sr: torch.Tensor, hr: torch.Tensor, *, border: int = 0, grey: bool = False
) -> torch.Tensor:
    """Peak signal-to-noise ratio in dB, float64 (N,), of `sr` and `hr` (N, 3, H, W) in [0, 1].

    10 log10(255^2 / mean squared difference of luma), infinite for equal images. `border` pixels
    are left out on each side. With `grey` luma is the grey level itself, 0..255 and not 16..235.
    Raises ValueError for differing shapes and values outside [0, 1].
    """
    require_one_shape(sr, hr)
    return psnr(levels(sr, "sr", border=border, grey=grey), levels(hr, border=border, grey=grey))


def ssim_y(
    sr: torch.Tensor, hr: torch.Tensor, *, border: int = 0, grey: bool = False
) -> torch.Tensor:
    """Structural similarity, at most 1, float64 (N,), of `sr` and `hr` (N, 3, H, W) in [0, 1].

    As Wang, Bovik, Sheikh and Simoncelli's MATLAB code (IEEE TIP 13(4), 2004) on unrounded luma:
    11x11 Gaussian window of sigma 1.5, K = (0.01, 0.03), windows wholly inside the image.
    `border` and `grey` are those of `psnr_y`. Raises ValueError for differing shapes, values
    outside [0, 1], and images smaller than the window.
    """
    require_one_shape(sr, hr)
    return ssim(levels(sr, "sr", border=border, grey=grey), levels(hr, border=border, grey=grey))


def levels(
    images: torch.Tensor, name: str = "hr", *, border: int = 0, grey: bool = False
) -> torch.Tensor:
    """Luma in 8-bit levels, not rounded, float64 (N, H, W), of images (N, 3, H, W) in [0, 1].

    Without `border` pixels on each side. `name` is what errors call the images.
    Raises ValueError for values outside [0, 1], and for a border that leaves nothing.
    """
    images = images.detach()
    low, high = (end.item() for end in images.aminmax())
    if not (low >= 0 and high <= 1):  # with a nan among them, both are
        raise ValueError(
            f"expected {name} in [0, 1], found {low:g} to {high:g}; a protocol's finish() clamps, "
            "tlw.imaging.ranges.from_signed takes [-1, 1] there"
        )
    height, width = images.shape[2:]
    if border < 0 or min(height, width) <= 2 * border:
        raise ValueError(f"a border of {border} pixels does not fit images of {height, width}")
    y = (full_range_luma if grey else luma)(images.double())
    return y[:, border : height - border, border : width - border]


def psnr(sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
    """`psnr_y` of `levels`."""
    return 10 * torch.log10(255**2 / (sr - hr).square().mean(dim=(1, 2)))


def ssim(sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
    """`ssim_y` of `levels`."""
    if min(sr.shape[1:]) < _WINDOW:
        raise ValueError(
            f"SSIM needs at least {_WINDOW} x {_WINDOW} pixels inside the border, "
            f"found {tuple(sr.shape[1:])}"
        )
    mean_x, mean_y, xx, yy, xy = _smooth(torch.stack([sr, hr, sr * sr, hr * hr, sr * hr]))
    var_x, var_y, cov = xx - mean_x**2, yy - mean_y**2, xy - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    structure = (2 * cov + _C2) / (var_x + var_y + _C2)
    return (luminance * structure).mean(dim=(1, 2))


def _smooth(x: torch.Tensor) -> torch.Tensor:
    """The Gaussian window's means of (K, N, H, W), where it lies wholly inside."""
    place = torch.arange(_WINDOW, dtype=x.dtype, device=x.device) - _WINDOW // 2
    taps = torch.exp(-(place**2) / (2 * _SIGMA**2))
    taps = (taps / taps.sum()).view(1, 1, 1, -1)
    one = F.conv2d(x.flatten(0, 1)[:, None], taps)
    return F.conv2d(one, taps.mT)[:, 0].unflatten(0, x.shape[:2])


def require_one_shape(sr: torch.Tensor, hr: torch.Tensor) -> None:
    """Raises ValueError unless both are (N, 3, H, W) of one shape."""
    if sr.shape != hr.shape or sr.ndim != 4 or sr.shape[1] != 3:
        raise ValueError(
            "expected sr and hr of one shape (N, 3, H, W), "
            f"found sr {tuple(sr.shape)} and hr {tuple(hr.shape)}"
        )
