"""A network as an ONNX file, for runtimes without PyTorch; checked by running it.

Sizes are dynamic: N lr images of any size, of at least the network's windows.
"""

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tlw.networks.sr_net import SRNet, load_network
from tlw.runtime.extras import require
from tlw.runtime.files import written_aside

log = logging.getLogger(__name__)

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_NEAR = 1e-4  # of a range of 1: sums of thousands of products in another order


def export_network(weights: Path, output: Path, *, networks: Collection[str] = ()) -> None:
    """Writes the network of a weights file as ONNX, from `lr` (N, 3, H, W) to `sr`, RGB in [0, 1].

    The file holds the weights, too. Before it is put in place, onnxruntime runs it on images of
    three sizes, whose sr must be the network's.

    Args:
        networks: classes from elsewhere that the file may name, see `load_network`.

    Raises:
        ValueError: where the packages that this takes are not installed, or the file does not give
            what the network gives.
    """
    require(_PACKAGES, extra="export", does="the export")
    if output.suffix != ".onnx":
        raise ValueError(f"{output}: expected a name that ends in .onnx")
    net, cell = load_network(weights, networks=networks)
    net.requires_grad_(False)
    program = _traced(net)
    with written_aside(output) as aside:
        program.save(aside)
        _check(aside, net)
    log.info("%s: %s x%d for onnxruntime and others", output, cell.backbone_name, cell.scale)


def _traced(net: SRNet) -> Any:
    """torch's `ONNXProgram`, followed on an image that has to be padded to whole windows.

    What the network does with an image of whole windows would be followed without the padding; so
    traced, an image of whole windows is padded by nothing.
    """
    dynamic = torch.export.Dim.DYNAMIC
    side = max(net.window, 4)
    return torch.onnx.export(
        net,
        (torch.rand(2, 3, 2 * side + 1, 3 * side + 1),),
        dynamo=True,
        dynamic_shapes={"lr": {0: dynamic, 2: dynamic, 3: dynamic}},
        input_names=["lr"],
        output_names=["sr"],
        verbose=False,
    )


def _check(path: Path, net: SRNet) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    side = max(net.window, 4)
    for size in ((1, side, 2 * side), (2, 2 * side + 1, side + 2), (1, 3 * side - 1, 2 * side)):
        lr = torch.rand(size[0], 3, *size[1:], generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            expected = net(lr).numpy()
        (found,) = session.run(["sr"], {"lr": lr.numpy()})
        apart = np.inf if found.shape != expected.shape else float(abs(found - expected).max())
        if not apart <= _NEAR:
            raise ValueError(
                f"the exported network does not give the network's sr: expected "
                f"{expected.shape} within {_NEAR:g} for lr {tuple(lr.shape)}, found {found.shape}, "
                f"{apart:g} apart"
            )
