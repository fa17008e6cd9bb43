"""The TLW authors' checkpoints as networks of ours: read safely, keys mapped, origin named.

What is made is a weights file like a trained cell's (`tlw.networks.sr_net`), with an `Imported`
inside.
"""

import io
import logging
import pickle
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor

from tlw.config.config import Backbone, Checkpoint, Imported
from tlw.networks.authors import authors_state
from tlw.networks.file_kinds import told
from tlw.networks.sr_net import build_network, fill, save_network
from tlw.runtime.errors import at

log = logging.getLogger(__name__)

# Keys of a larger dict under which the state lies, the best first; two are of BasicSR.
_NESTS = ("params_ema", "params", "state_dict")


def import_network(checkpoint: Checkpoint, output: Path) -> Imported:
    """Writes a checkpoint of the authors as a weights file that `tlw.networks.sr_net.load_network`
    reads.

    The network works as theirs do, in BGR and [-1, 1]; see `tlw.networks.authors`.

    Raises:
        ValueError: for a file that is no checkpoint, or one of another network or scale; it names
            every missing key, every unknown key and every wrong shape.
        OSError: for a file that cannot be opened, or written.
    """
    path = Path(checkpoint.checkpoint)
    content = path.read_bytes()
    with at(str(path)):
        backbone, state = _network(checkpoint, read_state(content))
    imported = Imported(
        backbone_name=checkpoint.name,
        backbone=backbone,
        scale=checkpoint.scale,
        loss_name=checkpoint.loss,
        source=path.name,
        sha256=sha256(content).hexdigest(),
    )
    net = build_network(imported.backbone, imported.scale)
    with at(str(path)):
        fill(net.net, state, checkpoint.backbone)
    save_network(output, net, imported)
    log.info("%s: %s x%d from %s", output, backbone.path, checkpoint.scale, path)
    return imported


def _network(checkpoint: Checkpoint, state: dict[str, Tensor]) -> tuple[Backbone, dict]:
    """How the network of a checkpoint is built, and its weights under the keys of ours."""
    if checkpoint.backbone != "any":
        entry = Backbone(path=checkpoint.backbone, images="signed-bgr")
        return entry, authors_state(checkpoint.backbone, state, scale=checkpoint.scale)
    from tlw.networks.foreign_states import recognised  # it may need spandrel

    found = recognised(state)
    if found.scale != checkpoint.scale:
        raise ValueError(f"expected a network of scale {checkpoint.scale}, found {found.scale}")
    return found.backbone, found.state


def read_state(content: bytes) -> dict[str, Tensor]:
    """The state dict in a checkpoint, of safetensors' or of torch's own format, on the CPU.

    It may lie under a key of a larger dict, `params_ema`, `params` or `state_dict`, and its keys
    may all begin with `module.`, as DataParallel has them, or `_orig_mod.`, as torch.compile.
    Nothing but tensors and plain values is read: what asks for more could run any program.

    Raises:
        ValueError: for content that is anything else, or damaged.
    """
    reason = told(content)
    if reason is not None:
        raise ValueError(reason)
    try:
        if content[8:9] == b"{":  # behind the length of safetensors' header
            state: Any = load_safetensors(content)
        else:
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(
            "cannot be read as tensors alone, and nothing else is read; save it again with "
            "torch.save(net.state_dict(), FILE)"
        ) from None
    except Exception as error:  # torch reads on in a damaged file until anything at all goes wrong
        raise ValueError(
            f"cannot be read as a checkpoint, is it whole? ({type(error).__name__}: {error})"
        ) from None
    if isinstance(state, Mapping):
        nests = [key for key in _NESTS if isinstance(state.get(key), Mapping)]
        state = state[nests[0]] if nests else state
    if not _is_state(state):
        raise ValueError(
            f"expected a state dict, names and tensors, found {_shown(state)}; save "
            "net.state_dict() alone, or under the key 'state_dict'"
        )
    for prefix in ("module.", "_orig_mod.", "module."):  # in either order
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return dict(state)


def _is_state(found: Any) -> bool:
    return isinstance(found, Mapping) and all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in found.items()
    )


def _shown(found: Any) -> str:
    if not isinstance(found, Mapping):
        return f"a {type(found).__name__}"
    return f"a dict with the keys {', '.join(map(str, list(found)[:5]))}"
