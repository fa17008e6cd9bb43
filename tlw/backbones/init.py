"""Start weights of the super-resolution and the weighting networks."""

from torch import nn

from tlw.config.settings import Init


def init_weights(net: nn.Module, init: Init) -> None:
    """Draws a network's start weights from torch's global generator, in place.

    Args:
        net: any module.
        init: "normal": weights of convolutions and linear layers from N(0, 0.02), everything else
            as built. "authors-code": also the scales of BatchNorm from N(0, 0.02), and the biases
            of BatchNorm and of linear layers from N(0.02, 1), where the published code gives the
            deviation in the mean's place. "pytorch": everything as built.
    """
    if init == "pytorch":
        return
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.02)
        if init == "authors-code":
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 0.0, 0.02)
                nn.init.normal_(module.bias, 0.02, 1.0)
            elif isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.normal_(module.bias, 0.02, 1.0)
