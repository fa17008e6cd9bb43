"""Other people's packages as oracles, beside a CPU build of torch."""

from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tlw.judge.dists_weights import dists_weights
from tlw.judge.weights import judge_weights


@cache
def let_torchvision_import() -> torch.library.Library:
    """Makes `import torchvision` work in this process, once.

    Beside a CPU build of torch it fails, because two operators of its compiled part are not there.
    Their schemas are enough for packages that call neither. They live as long as what this returns.
    """
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


@cache
def lpips_oracle(net: str, calibrated: bool = True, folder: Path | None = None) -> torch.nn.Module:
    """`lpips.LPIPS` with our file's weights in its trunk; it takes images in [-1, 1]."""
    let_torchvision_import()
    import lpips

    model = lpips.LPIPS(net=net, lpips=calibrated, pnet_rand=True, verbose=False)
    weights = load_file(judge_weights(net, folder))
    state = model.net.state_dict()  # sliceN.{index in torchvision's features}.weight
    model.net.load_state_dict({key: weights[f"features.{key.partition('.')[2]}"] for key in state})
    return model


@cache
def dists_oracle() -> torch.nn.Module:
    """`DISTS_pytorch.DISTS` with the real weights, which it would load from the internet."""
    let_torchvision_import()
    from DISTS_pytorch.DISTS_pt import DISTS
    from torchvision import models

    def vgg16(**_: object) -> torch.nn.Module:
        net = models.VGG(models.vgg.make_layers(models.vgg.cfgs["D"]), init_weights=False)
        weights = load_file(judge_weights("vgg")).items()
        trunk = {key.removeprefix("features."): w for key, w in weights if key[0] == "f"}
        net.features.load_state_dict(trunk)
        return net

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "vgg16", vgg16)
        model = DISTS(load_weights=False)  # it would look for them in Python's own folder
    for name, tensor in load_file(dists_weights()).items():
        getattr(model, name).data = tensor.view(1, -1, 1, 1)
    return model
