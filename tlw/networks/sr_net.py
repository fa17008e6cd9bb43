"""A backbone behind the package's image convention, and its weights in a file that names them."""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tlw.backbones import InHalves, build
from tlw.config.backbones import is_known
from tlw.config.config import Backbone, Cell, Imported
from tlw.imaging.ranges import from_signed, swap_channels, to_signed
from tlw.imaging.tiles import OVERLAP, TILE, in_tiles
from tlw.networks.file_kinds import told
from tlw.runtime.errors import at
from tlw.runtime.files import written_aside
from tlw.runtime.memory import enough_memory

# What a weights file says of its network, by the name of the one entry of its metadata.
_KINDS: dict[str, type[Cell] | type[Imported]] = {"cell": Cell, "imported": Imported}


class SRNet(nn.Module):
    """A super-resolution network from images in [0, 1] RGB to images in [0, 1] RGB.

    Args:
        net: the backbone.
        images: the range and channel order that it works in: "signed-rgb" is RGB in [-1, 1],
            "signed-bgr" BGR in [-1, 1] (the authors' weights), "unit-rgb" RGB in [0, 1].
        scale: by which it enlarges; where given, what it makes is held to it.
    """

    def __init__(
        self, net: nn.Module, images: str = "signed-rgb", *, scale: int | None = None
    ) -> None:
        super().__init__()
        self.net = net
        self.scale = scale
        self.signed = images.startswith("signed")
        self.bgr = images.endswith("bgr")

    def forward(self, lr: Tensor) -> Tensor:
        """lr (N, 3, H, W) in [0, 1] to sr (N, 3, sH, sW), not clamped.

        Raises:
            ValueError: when the backbone, perhaps a user's, gives anything else.
        """
        return self._outwards(self.net(self._inwards(lr)), lr)

    def features(self, lr: Tensor) -> Tensor:
        """The backbone's features of lr in [0, 1], see `tlw.backbones`."""
        return self._halves.features(self._inwards(lr))

    def reconstruct(self, features: Tensor, lr: Tensor) -> Tensor:
        """sr from the features; `reconstruct(features(lr), lr)` is `forward(lr)`."""
        return self._outwards(self._halves.reconstruct(features, self._inwards(lr)), lr)

    @property
    def num_features(self) -> int:
        """Channels of the features; AttributeError for a backbone that offers none."""
        self._halves.features, self._halves.reconstruct  # noqa: B018  both go with it
        return self._halves.num_features

    @property
    def window(self) -> int:
        """Side of the backbone's windows in lr pixels, where it works on windows; else 1."""
        return getattr(self.net, "window", 1)

    @property
    def _halves(self) -> InHalves:
        return cast(InHalves, self.net)  # where it is none, torch raises AttributeError

    def _inwards(self, images: Tensor) -> Tensor:
        images = swap_channels(images) if self.bgr else images
        return to_signed(images) if self.signed else images

    def _outwards(self, images: Tensor, lr: Tensor) -> Tensor:
        self._require_image(images, lr)
        images = from_signed(images) if self.signed else images
        return swap_channels(images) if self.bgr else images

    def _require_image(self, found: object, lr: Tensor) -> None:
        (count, _, *sides), kind = lr.shape, type(self.net)
        expected = (count, 3, *(self.scale * side for side in sides)) if self.scale else None
        is_image = isinstance(found, Tensor) and found.is_floating_point() and found.dim() == 4
        if not is_image or (expected and tuple(cast(Tensor, found).shape) != expected):
            raise ValueError(
                f"{kind.__module__}:{kind.__qualname__}: expected a floating-point tensor "
                f"{expected or '(N, 3, sH, sW)'} of lr {tuple(lr.shape)}, found {described(found)}"
            )


def described(found: object) -> str:
    """What a user's class gave, for a message."""
    if not isinstance(found, Tensor):
        return f"a {type(found).__name__}"
    gradient = "" if found.requires_grad or not torch.is_grad_enabled() else ", without a gradient"
    return f"a tensor {tuple(found.shape)} of {found.dtype}{gradient}"


def build_network(backbone: Backbone, scale: int) -> SRNet:
    """The network of a config entry, start weights as the backbone draws them."""
    net = build(backbone.path, scale=scale, **backbone.arguments)
    return SRNet(net, backbone.images, scale=scale)


def save_network(path: Path, net: SRNet, cell: Cell | Imported) -> None:
    """Writes a network's weights as safetensors, with the cell, or the import, that they are of."""
    state = {  # cloned, since safetensors takes neither shared nor strided memory
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in net.net.state_dict().items()
    }
    [kind] = [name for name, model in _KINDS.items() if isinstance(cell, model)]
    # A second entry would come in an order that changes from process to process.
    content = save(state, metadata={kind: cell.model_dump_json()})
    with written_aside(path) as aside:
        aside.write_bytes(content)


def load_network(path: Path, *, networks: Collection[str] = ()) -> tuple[SRNet, Cell | Imported]:
    """A network in eval mode from a file of `save_network`, with its cell, or its import.

    Reading the file runs no code but this package's. A file that names a class from elsewhere is
    refused, unless the caller names that class, too.

    Args:
        networks: import paths, "package.module:Class", that the file may name besides the networks
            of this package. Importing one runs its module.

    Raises:
        ValueError: for a file that is no such file, is damaged, names another class, or does not
            fit its backbone.
    """
    cell, shapes = _header(path)
    backbone = cell.backbone
    if not is_known(backbone.path) and backbone.path not in networks:
        raise ValueError(
            f"{path}: its network is {backbone.path}, which is not of this package, and to import "
            f"it runs its code; if you trust it, give --network {backbone.path} or --trust {path} "
            f"(in Python: networks=[{backbone.path!r}])"
        )
    _check_shapes(path, cell, shapes)
    with _reading(path), safe_open(path, framework="pt") as file:
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    with at(str(path)):
        net = build_network(backbone, cell.scale)
        fill(net.net, state, backbone.path)
    return net.eval(), cell


def start_from(net: SRNet, path: Path, backbone: Backbone) -> list[str]:
    """Puts a file's weights into a network, those whose name and shape are its own.

    From another scale all but the upsampling comes over, and of that what has the same shape.

    Args:
        net: of `backbone`; the other weights stay as they are.
        path: a file of `save_network`.

    Returns:
        The names of the weights that the file did not have.

    Raises:
        ValueError: for a file that is no such file, or of another backbone.
    """
    found = _header(path)[0].backbone
    if found != backbone:
        raise ValueError(
            f"{path}: expected weights of the config's {_named(backbone)}, found {_named(found)}"
        )
    theirs = load_network(path, networks=[backbone.path])[0].net.state_dict()
    own = net.net.state_dict()
    fitting = {
        key: theirs[key] for key in own if key in theirs and theirs[key].shape == own[key].shape
    }
    net.net.load_state_dict(own | fitting)
    return sorted(own.keys() - fitting.keys())


def _named(backbone: Backbone) -> str:
    arguments = ", ".join(f"{key}={value}" for key, value in backbone.arguments.items())
    return f"{backbone.path}({arguments}), {backbone.images}"


def network_named_in(path: Path) -> str:
    """The backbone's import path, or name, that a weights file gives; nothing is imported."""
    return _header(path)[0].backbone.path


def _header(path: Path) -> tuple[Cell | Imported, dict[str, tuple[int, ...]]]:
    """What a weights file says of itself, and its tensors' shapes."""
    with _reading(path), safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    kind = next((name for name in _KINDS if name in metadata), None)
    if kind is None:
        raise ValueError(
            f"{path}: no weights of a cell: the file does not name its cell; a checkpoint of the "
            "TLW authors is made into such a file by `tlw import`"
        )
    try:
        content = json.loads(metadata[kind])
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: the {kind} in it is no JSON: {error}") from None
    return _KINDS[kind].parse(content, str(path), imports=False), shapes


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Tells what a file is that safetensors cannot read."""
    try:
        yield
    except (SafetensorError, OSError) as error:
        reason = None
        if path.is_file():
            with path.open("rb") as file:
                reason = told(file.read(4096))
        reason = reason or f"cannot be read as weights of a cell: {error}"
        raise ValueError(f"{path}: {reason}") from None


class _Shapes(TorchFunctionMode):
    """Networks that are built inside have parameters of no memory, on the meta device.

    `torch.device("meta")` would take HAT's small tables of indices there, too, for which torch
    imports its compiler: ten seconds.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def _check_shapes(path: Path, cell: Cell | Imported, shapes: Mapping[str, tuple]) -> None:
    """Compares a file's shapes with the network's before any memory is taken for these."""
    try:
        with _Shapes(), at(str(path)):
            network = build_network(cell.backbone, cell.scale).net
    except (RuntimeError, NotImplementedError):
        if is_known(cell.backbone.path):
            raise
        return  # somebody's class may need values to be built
    expected = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    faults = [f"missing: {key}" for key in expected.keys() - shapes.keys()]
    faults += [f"unknown: {key}" for key in shapes.keys() - expected.keys()]
    faults += [
        f"{key}: expected {expected[key]}, found {shapes[key]}"
        for key in expected.keys() & shapes.keys()
        if expected[key] != shapes[key]
    ]
    if faults:
        more = f"; {len(faults) - 10} more" if len(faults) > 10 else ""
        raise ValueError(
            f"{path}: does not fit {cell.backbone.path}: {'; '.join(sorted(faults)[:10])}{more}"
        )


def fill(network: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    """Puts weights into a network; ValueError for those that do not fit, or are no such numbers."""
    for key, own in network.state_dict().items():
        if key in state and own.is_floating_point() != state[key].is_floating_point():
            raise ValueError(
                f"does not fit {name}: {key}: expected {own.dtype}, found {state[key].dtype}"
            )
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"does not fit {name}: {error}") from None


def self_ensemble(net: SRNet, lr: Tensor, *, tile: int = TILE, overlap: int = OVERLAP) -> Tensor:
    """The mean of sr over lr's eight flips and quarter turns, each turned back, unclamped.

    What papers mark with "+" (Lim et al., EDSR, 2017); eight times `super_resolve`, see there.
    """
    total = torch.zeros(())
    for turns in range(4):
        for flipped in (False, True):
            turned = torch.rot90(lr.flip(-1) if flipped else lr, turns, (-2, -1)).contiguous()
            sr = super_resolve(net, turned, tile=tile, overlap=overlap)
            back = torch.rot90(sr, -turns, (-2, -1))
            total = total.to(back) + (back.flip(-1) if flipped else back)
    return total / 8


@torch.inference_mode()
def super_resolve(net: SRNet, lr: Tensor, *, tile: int = TILE, overlap: int = OVERLAP) -> Tensor:
    """sr (3, sH, sW) of one lr image (3, H, W), computed on the device of the network's weights.

    An image of more than tile x tile pixels goes through the network in tiles, see
    `tlw.imaging.tiles`; a `tile` of 0 never cuts. sr is where lr is, so that a GPU need not hold
    all of a large one.

    Raises:
        ValueError: for tiles of which nothing would be left between their overlaps, for a network
            that gives something else, or when memory does not do.
    """
    device = next(chain(net.parameters(), net.buffers()), lr).device

    def upscale(part: Tensor) -> Tensor:
        height, width = part.shape[1:]
        with enough_memory(
            f"{height} x {width} lr pixels at once on {device}",
            f"take smaller tiles (--tile) than {tile or 'the whole image'}",
        ):
            return net(part[None].to(device))[0].to(lr.device)

    return in_tiles(upscale, lr, tile=tile, overlap=overlap, window=net.window)
