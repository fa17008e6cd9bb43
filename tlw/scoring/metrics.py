"""How near an image is to its reference: PSNR and SSIM on the luma channel.

Both take images as the package keeps them, RGB in [0, 1], and count in 8-bit levels (peak 255) on
the luma of `tlw.imaging.ranges.luma`. Both compute in float64 on the CPU and return one value per
image; the mean over a benchmark is the mean of these. Which border to shave and what is rounded
before is said by `tlw.data.protocols`.
"""

import torch

from tlw.imaging.ranges import full_range_luma, luma

_WINDOW = 11  # pixels, SSIM's Gaussian window


def psnr_y(
    sr: torch.Tensor, hr: torch.Tensor, *, border: int = 0, grey: bool = False
) -> torch.Tensor:
    """Peak signal-to-noise ratio in dB, float64 (N,), of `sr` and `hr` (N, 3, H, W) in [0, 1].

    10 log10(255^2 / mean squared difference of luma), infinite for equal images. `border` pixels
    are left out on each side. With `grey` luma is the grey level itself, 0..255 and not 16..235.
    Raises ValueError for differing shapes and values outside [0, 1].
    """
    sr_luma, hr_luma = _luma_pair(sr, hr, border, grey)
    error = (sr_luma - hr_luma).square().mean(dim=(1, 2))
    return 10 * torch.log10(255**2 / error)


def ssim_y(
    sr: torch.Tensor, hr: torch.Tensor, *, border: int = 0, grey: bool = False
) -> torch.Tensor:
    """Structural similarity, at most 1, float64 (N,), of `sr` and `hr` (N, 3, H, W) in [0, 1].

    As Wang, Bovik, Sheikh and Simoncelli's MATLAB code (IEEE TIP 13(4), 2004) on unrounded luma:
    11x11 Gaussian window of sigma 1.5, K = (0.01, 0.03), windows wholly inside the image.
    `border` and `grey` are those of `psnr_y`. Raises ValueError for differing shapes, values
    outside [0, 1], and images smaller than the window.
    """
    sr_luma, hr_luma = _luma_pair(sr, hr, border, grey)
    if min(sr_luma.shape[1:]) < _WINDOW:
        raise ValueError(
            f"SSIM needs at least {_WINDOW} x {_WINDOW} pixels inside the border, "
            f"found {tuple(sr_luma.shape[1:])} after {border} on each side"
        )
    from skimage.metrics import structural_similarity  # slow to import, and not always needed

    values = [
        structural_similarity(
            mine,
            reference,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for mine, reference in zip(sr_luma.numpy(), hr_luma.numpy(), strict=True)
    ]
    return torch.tensor(values, dtype=torch.float64)


def _luma_pair(
    sr: torch.Tensor, hr: torch.Tensor, border: int, grey: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    if sr.shape != hr.shape or sr.ndim != 4 or sr.shape[1] != 3:
        raise ValueError(
            "expected sr and hr of one shape (N, 3, H, W), "
            f"found sr {tuple(sr.shape)} and hr {tuple(hr.shape)}"
        )
    if border < 0 or min(sr.shape[2:]) <= 2 * border:
        raise ValueError(
            f"a border of {border} pixels does not fit images of {tuple(sr.shape[2:])}"
        )
    return _shaved_luma("sr", sr, border, grey), _shaved_luma("hr", hr, border, grey)


def _shaved_luma(name: str, images: torch.Tensor, border: int, grey: bool) -> torch.Tensor:
    images = images.detach().cpu()
    low, high = (end.item() for end in images.aminmax())
    if not (low >= 0 and high <= 1):  # with a nan among them, both are
        raise ValueError(
            f"expected {name} in [0, 1], found {low:g} to {high:g}; a protocol's finish() clamps, "
            "tlw.imaging.ranges.from_signed takes [-1, 1] there"
        )
    height, width = images.shape[2:]
    levels = (full_range_luma if grey else luma)(images.double())
    return levels[:, border : height - border, border : width - border]
