"""Trainable Loss Weights in super-resolution (Mellatshahi & Kasaei, arXiv 2301.10575)."""

from importlib import import_module

__version__ = "0.1.0"

# Imported at first use, so that `import tlw` and the command's help do not wait for torch.
_HOMES = {
    "TLWLoss": "tlw.losses",
    "UDLLoss": "tlw.udl",
    "WithUncertainty": "tlw.udl",
    "WeightNet": "tlw.weight_net",
    "Judge": "tlw.judge",
    "fixed_sum": "tlw.fixed_sum",
    "weight_criterion": "tlw.losses",
    "psnr_y": "tlw.metrics",
    "ssim_y": "tlw.metrics",
    "imresize": "tlw.resize",
    "load_network": "tlw.sr_net",
    "super_resolve": "tlw.sr_net",
}
__all__ = sorted([*_HOMES, "__version__"])


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'tlw' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
