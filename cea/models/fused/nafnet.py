"""The NAFNet block as one operator of the training step, forward and backward, where a C compiler was at hand.

A small network on a CPU spends more of a step on reading and writing maps, and on starting some thousand operators,
than on arithmetic. ``kernels.c`` takes a block, image by image, through all its layers while the map is in the cache,
and Python's lock is free for other threads meanwhile. The gradients are written by hand.

Results are those of `cea.models.blocks.nafnet.NafnetBlock` but for the last bits.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_float, c_size_t, c_void_p
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cea.models.fused import compiled

_MAPS = (
    *("x", "out", "expanded", "filtered", "middle", "widened", "moments", "means", "scales"),
    *("gradient", "x_gradient"),
)
_SIZES = ("batch", "height", "width", "channels", "inner")
PARAMETERS = (
    *("norm_spatial.weight", "norm_spatial.bias", "expand.weight", "expand.bias"),
    *("depthwise.weight", "depthwise.bias", "attention.scale.weight", "attention.scale.bias"),
    *("project.weight", "project.bias", "norm_channel.weight", "norm_channel.bias"),
    *("widen.weight", "widen.bias", "narrow.weight", "narrow.bias", "scale_spatial", "scale_channel"),
)
"""Of a block, in the order of ``kernels.c``."""

_ADDED_UP = {"attention.scale.weight", "attention.scale.bias", "project.weight", "project.bias", "scale_spatial"}
"""Parameters whose gradient is added up image by image, from zeros."""

_VECTOR = 8
"""Divides the channels that the operator takes."""


class _Block(ctypes.Structure):
    """The struct of this name in ``kernels.c``."""

    _fields_ = (
        *((name, c_void_p) for name in _MAPS),
        *((name, c_size_t) for name in _SIZES),
        ("epsilon", c_float),
        ("parameters", c_void_p * len(PARAMETERS)),
        ("parameter_gradients", c_void_p * len(PARAMETERS)),
    )


def fits(channels: int, inner: int) -> bool:
    """Whether there is a compiled operator, and it takes a block of ``channels`` with ``inner`` behind its gates."""
    return compiled.LIBRARY is not None and channels % _VECTOR == 0 and inner % _VECTOR == 0


def takes(x: Tensor) -> bool:
    """Whether it takes this map: single precision, on the CPU."""
    return x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")


def fused_block(x: Tensor, parameters: Sequence[Tensor], epsilon: float) -> Tensor:
    """The block's output, (B, C, H, W) float32 in channels_last, for a map that it `takes`, of a block that `fits`.

    Args:
        x: (B, C, H, W) float32.
        parameters: by `PARAMETERS`.
        epsilon: of both normalisations.

    Raises:
        MemoryError: none was left for what lies between two layers.
    """
    out: Tensor = _Fused.apply(epsilon, x, *parameters)  # type: ignore[no-untyped-call]
    return out


class _Fused(torch.autograd.Function):
    """``epsilon``, the map and the parameters to the map behind the block."""

    @staticmethod
    def forward(ctx: Any, epsilon: float, x: Tensor, *parameters: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        parameters = tuple(parameter.contiguous() for parameter in parameters)
        batch, channels, height, width = x.shape
        inner = parameters[PARAMETERS.index("project.weight")].shape[1]
        shapes = {
            "expanded": (batch, height + 2, width + 2, 2 * inner),
            "filtered": (batch, height, width, 2 * inner),
            "middle": (batch, height, width, channels),
            "widened": (batch, height, width, 2 * inner),
            "moments": (2, batch, height, width, 2),
            "means": (batch, inner),
            "scales": (batch, inner),
        }
        between = {name: x.new_empty(shape) for name, shape in shapes.items()}
        out = torch.empty_like(x)
        _run("block_forward", epsilon, x, {"out": out, **between}, inner, parameters)
        ctx.epsilon, ctx.names = epsilon, tuple(between)
        ctx.save_for_backward(x, *between.values(), *parameters)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, *others = ctx.saved_tensors
        between, parameters = dict(zip(ctx.names, others, strict=False)), others[len(ctx.names) :]
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        made = [
            (torch.zeros_like if name in _ADDED_UP else torch.empty_like)(parameter)
            for name, parameter in zip(PARAMETERS, parameters, strict=True)
        ]
        x_gradient = torch.empty_like(x)
        maps = {**between, "gradient": gradient, "x_gradient": x_gradient}
        _run("block_backward", ctx.epsilon, x, maps, between["means"].shape[1], parameters, made)
        return None, x_gradient, *made


def _run(
    function: str,
    epsilon: float,
    x: Tensor,
    maps: dict[str, Tensor],
    inner: int,
    parameters: Any,
    gradients: Any = (),
) -> None:
    """Call a function of ``kernels.c``; all tensors are dense, maps in channels_last."""
    batch, channels, height, width = x.shape
    block = _Block(
        x=x.data_ptr(),
        **{name: tensor.data_ptr() for name, tensor in maps.items()},
        **{"batch": batch, "height": height, "width": width, "channels": channels, "inner": inner, "epsilon": epsilon},
    )
    for number, parameter in enumerate(parameters):
        block.parameters[number] = parameter.data_ptr()
    for number, gradient in enumerate(gradients):
        block.parameter_gradients[number] = gradient.data_ptr()
    compiled.run(function, ctypes.byref(block))
