"""A convolution with frozen weights and the ReLU after it, as fast as a CPU has it.

One operation does both, since a ReLU apart sends each map through main memory once more. In
float32, wide layers take Winograd's way. The others' kernels never change, so they are turned round
once, and the gradient is a convolution, too, which oneDNN is faster at than at gradients. Turned
kernels, and for small maps the kernels themselves, are kept in oneDNN's own order, into which it
would bring them at each call.
"""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d
from torch.utils.flop_counter import conv_flop_count, flop_registry, register_flop_formula

from tlw.judge import winograd

_TYPES = (torch.float32, torch.bfloat16)  # that oneDNN takes
_ONEDNN = torch.backends.mkldnn.is_available()
_WIDE, _LARGE = 128, 256  # channels and pixels from which Winograd's way is the faster one
_SMALL = 400  # pixels of a batch; with more of them the order takes a few percent of the time
_PACKED = 16  # channels from which oneDNN's order does not depend on the size of images
_MADE = ("_transformed", "_packed", "turned")  # once, of a weight


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
            return _Fused.apply(x, self)
        return conv2d(x, self.weight, self.bias, self.stride, self.padding).relu_()

    # Made when they are first asked for, which a GPU never does; and not in inference mode, in
    # which no training could use them after an evaluation.

    @cached_property
    @torch.inference_mode(False)
    def _transformed(self) -> Tensor:
        return winograd.transformed(self.weight)

    @cached_property
    @torch.inference_mode(False)
    def _packed(self) -> Tensor:
        return _pack(self.weight, stride=self.stride, padding=self.padding)

    def kernel(self, pixels: int) -> Tensor:
        """The weight for `_onednn` and so many pixels."""
        return self._packed if pixels <= _SMALL else self.weight

    @cached_property
    @torch.inference_mode(False)
    def turned(self) -> Tensor:
        """The weight for `_onednn` by which a convolution of stride 1 takes gradients back."""
        turned = self.weight.flip(2, 3).transpose(0, 1)
        return _pack(turned, stride=1, padding=self.turned_padding)

    @property
    def turned_padding(self) -> int:
        """The padding that goes with it."""
        return self.weight.shape[2] - 1 - self.padding

    def _apply(self, change: Any, recurse: bool = True) -> "FrozenConvReLU":
        """Casts or moves the weight, and forgets what was made of it."""
        for name in _MADE:
            self.__dict__.pop(name, None)
        return super()._apply(change, recurse)

    def __getstate__(self) -> dict[str, Any]:
        """Without what can be no part of a copy."""
        return {key: value for key, value in self.__dict__.items() if key not in _MADE}


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
    def forward(ctx, x: Tensor, conv: FrozenConvReLU) -> Tensor:
        kernel = conv.kernel(x[:, 0].numel())
        y = _onednn(x, kernel, conv.bias, stride=conv.stride, padding=conv.padding, then="relu")
        ctx.save_for_backward(y)
        ctx.conv, ctx.shape = conv, x.shape
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        [y], conv = ctx.saved_tensors, ctx.conv
        grad = torch.ops.aten.threshold_backward(grad, y, 0)
        if conv.stride == 1 and conv.turned_padding >= 0:
            return _onednn(grad, conv.turned, None, stride=1, padding=conv.turned_padding), None
        options = conv.stride, conv.padding
        return torch.nn.grad.conv2d_input(ctx.shape, conv.weight, grad, *options), None


def _pack(weight: Tensor, *, stride: int, padding: int) -> Tensor:
    weight = weight.contiguous(memory_format=torch.channels_last)
    if min(weight.shape[:2]) < _PACKED:
        return weight
    return torch.ops.mkldnn._reorder_convolution_weight(
        weight, [padding] * 2, [stride] * 2, [1, 1], 1
    )


def _onednn(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int, padding: int, then: str = "none"
) -> Tensor:
    return torch.ops.mkldnn._convolution_pointwise(
        x, weight, bias, [padding] * 2, [stride] * 2, [1, 1], 1, then, [], None
    )


def _flops(x: list[int], weight: list[int], *_: object, out_shape: list[int], **__: object) -> int:
    return conv_flop_count(x, weight, out_shape)


# Else torch's counter of operations would leave it out; it takes an operation once in a process.
if _ONEDNN and torch.ops.mkldnn._convolution_pointwise not in flop_registry:
    register_flop_formula(torch.ops.mkldnn._convolution_pointwise)(_flops)
