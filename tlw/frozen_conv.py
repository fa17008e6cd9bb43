"""A convolution with frozen weights and the ReLU after it, as fast as a CPU has it.

One operation does both, since a ReLU apart sends each map through main memory once more. In
float32, wide layers take Winograd's way.
"""

from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import conv_flop_count, flop_registry, register_flop_formula

from tlw import winograd

_TYPES = (torch.float32, torch.bfloat16)  # that oneDNN takes
_ONEDNN = torch.backends.mkldnn.is_available()
_WIDE, _LARGE = 256, 64  # channels and pixels from which Winograd's way is the faster one


class FrozenConvReLU(nn.Module):
    """relu(conv(x)), (N, C, H, W) to (N, O, H', W'); gradients flow to x alone.

    Args:
        weight: (O, C, kernel, kernel), of the floating type of x.
        bias: (O,), likewise.

    Neither is a part of `state_dict`.
    """

    def __init__(self, weight: Tensor, bias: Tensor, *, stride: int, padding: int) -> None:
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias, persistent=False)
        self.stride, self.padding = stride, padding
        self._is_wide = (
            weight.shape[2:] == (3, 3)
            and (stride, padding) == (1, 1)
            and min(weight.shape[:2]) >= _WIDE
        )

    def forward(self, x: Tensor) -> Tensor:
        """As the class says; on a CPU in channels-last layout."""
        on_cpu = x.device.type == "cpu"
        if on_cpu and self._is_wide and x.dtype == torch.float32 and x[0, 0].numel() >= _LARGE:
            return _Winograd.apply(x, self._transformed, self.bias)
        if on_cpu and _ONEDNN and x.dtype in _TYPES:
            return _Fused.apply(x, self.weight, self.bias, self.stride, self.padding)
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding).relu_()

    @cached_property
    def _transformed(self) -> Tensor:
        """Made when it is first asked for: a GPU never does."""
        with torch.inference_mode(False):  # else no training could use it after an evaluation
            return winograd.transformed(self.weight)


class _Winograd(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, transformed: Tensor, bias: Tensor) -> Tensor:
        y = winograd.convolve(x, transformed, bias).relu_()
        ctx.save_for_backward(transformed, y)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        transformed, y = ctx.saved_tensors
        grad = torch.ops.aten.threshold_backward(grad, y, 0)
        return winograd.convolve(grad, transformed, transposed=True), None, None


class _Fused(torch.autograd.Function):
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
