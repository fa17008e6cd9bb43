"""Trainable Loss Weights in super-resolution (Mellatshahi & Kasaei, arXiv 2301.10575)."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tlw.imaging.resize import imresize
    from tlw.judge.lpips import Judge
    from tlw.losses.fixed_sum import fixed_sum, relaxed_bernoulli
    from tlw.losses.tlw import TLWLoss, weight_criterion
    from tlw.losses.udl import UDLLoss, WithUncertainty
    from tlw.losses.weight_net import WeightNet
    from tlw.networks.sr_net import load_network, super_resolve
    from tlw.scoring.metrics import psnr_y, ssim_y

__version__ = "0.1.0"

# Imported at first use, so that `import tlw` and the command's help do not wait for torch.
_HOMES = {
    "Judge": "tlw.judge.lpips",
    "TLWLoss": "tlw.losses.tlw",
    "UDLLoss": "tlw.losses.udl",
    "WeightNet": "tlw.losses.weight_net",
    "WithUncertainty": "tlw.losses.udl",
    "fixed_sum": "tlw.losses.fixed_sum",
    "imresize": "tlw.imaging.resize",
    "load_network": "tlw.networks.sr_net",
    "psnr_y": "tlw.scoring.metrics",
    "relaxed_bernoulli": "tlw.losses.fixed_sum",
    "ssim_y": "tlw.scoring.metrics",
    "super_resolve": "tlw.networks.sr_net",
    "weight_criterion": "tlw.losses.tlw",
}
__all__ = [
    "Judge",
    "TLWLoss",
    "UDLLoss",
    "WeightNet",
    "WithUncertainty",
    "__version__",
    "fixed_sum",
    "imresize",
    "load_network",
    "psnr_y",
    "relaxed_bernoulli",
    "ssim_y",
    "super_resolve",
    "weight_criterion",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'tlw' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
