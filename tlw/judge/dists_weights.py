"""The weights of DISTS: one for each feature map's mean, one for its structure.

A file `dists.safetensors` holds `alpha` and `beta`, float32 (1475,), for the 3 channels of the
image and the 64, 128, 256, 512 and 512 of VGG16's taps. It is made once from the authors'
package and checked at every call. The trunk's weights are the judge's, see `tlw.judge.weights`.
"""

import logging
import os
import tempfile
from hashlib import sha256
from pathlib import Path

import torch
from platformdirs import user_cache_path
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from tlw.data.download import check_file
from tlw.data.packages import pip_download
from tlw.data.unpack import extract
from tlw.runtime.files import written_aside

log = logging.getLogger(__name__)

# The wheel, its file of weights, and the float32 of alpha and beta in a row, by SHA-256.
_PACKAGE = "DISTS_pytorch==0.1"
_WHEEL = "73e54ce13e7cf3ca962ee8e433d129884ec3dc75e00a27af90525e1da760ac61"
_FILE = "f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218"
_NUMBERS = "7c2e5100877a8207f0d6754d6cb5611d54dc781cff01124d96f9c8bbbbebb610"


def dists_weights(folder: Path | None = None) -> Path:
    """The path of `dists.safetensors` in `folder`, made there if it is missing or damaged.

    Args:
        folder: default the environment variable TLW_WEIGHTS, else the user's cache folder.

    Raises:
        DownloadError: where pip cannot get the package.
        ValueError: where what it got is another file.
    """
    folder = Path(folder or os.environ.get("TLW_WEIGHTS") or user_cache_path("tlw"))
    path = folder / "dists.safetensors"
    if path.exists():
        if _is_right(path):
            return path
        log.warning("%s is damaged; making it again", path)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        wheel = pip_download(_PACKAGE, _WHEEL, Path(scratch))
        members = ["DISTS_pytorch/weights.pt"]
        (file,) = extract(wheel, Path(scratch, "files"), members=members)
        check_file(file, _FILE)
        state = torch.load(file, weights_only=True, map_location="cpu")
    tensors = {name: state[name].detach().flatten().contiguous() for name in ("alpha", "beta")}
    assert _digest(tensors) == _NUMBERS  # the file's own hash was right
    with written_aside(path) as aside:
        aside.write_bytes(save(tensors, metadata={"source": _PACKAGE}))
    return path


def _is_right(path: Path) -> bool:
    try:
        tensors = load_file(path)
    except SafetensorError:
        return False
    return tensors.keys() == {"alpha", "beta"} and _digest(tensors) == _NUMBERS


def _digest(tensors: dict[str, Tensor]) -> str:
    numbers = (tensors[name].numpy().astype("<f4").tobytes() for name in ("alpha", "beta"))
    return sha256(b"".join(numbers)).hexdigest()
