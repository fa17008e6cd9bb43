"""A convolution with frozen weights and the ReLU after it, on a CPU in one operation.

Apart, the ReLU sends each map through main memory once more.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import conv_flop_count, flop_registry, register_flop_formula

_TYPES = (torch.float32, torch.bfloat16)  # that oneDNN takes
_ONEDNN = torch.backends.mkldnn.is_available()


def conv_relu(x: Tensor, weight: Tensor, bias: Tensor, *, stride: int, padding: int) -> Tensor:
    """relu(conv(x)), (N, C, H, W) to (N, O, H', W'); gradients flow to x alone.

    `weight` (O, C, kernel, kernel) and `bias` (O,) are of the floating type of x.
    """
    if _ONEDNN and x.device.type == "cpu" and x.dtype in _TYPES:
        return _ConvReLU.apply(x, weight, bias, stride, padding)
    return F.conv2d(x, weight, bias, stride, padding).relu_()


class _ConvReLU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int
    ) -> Tensor:  # fmt: skip
        y = torch.ops.mkldnn._convolution_pointwise(
            x, weight, bias, [padding] * 2, [stride] * 2, [1, 1], 1, "relu", [], None
        )
        ctx.save_for_backward(weight, y)
        ctx.shape, ctx.stride, ctx.padding = x.shape, stride, padding
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        weight, y = ctx.saved_tensors
        grad = torch.ops.aten.threshold_backward(grad, y, 0)
        grad = torch.nn.grad.conv2d_input(ctx.shape, weight, grad, ctx.stride, ctx.padding)
        return grad, None, None, None, None


def _flops(x: list[int], weight: list[int], *_: object, out_shape: list[int], **__: object) -> int:
    return conv_flop_count(x, weight, out_shape)


# Else torch's counter of operations would leave it out; it takes an operation once in a process.
if _ONEDNN and torch.ops.mkldnn._convolution_pointwise not in flop_registry:
    register_flop_formula(torch.ops.mkldnn._convolution_pointwise)(_flops)
