"""Images as PNG files, for what reads them."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_image(path: Path, image: np.ndarray) -> None:
    """Writes an image uint8 (H, W, 3) RGB as PNG; makes the folder where it is missing."""
    assert image.dtype == np.uint8 and image.ndim == 3
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, format="PNG")
