"""What people hold photographs in (arrays, tensors, images of Pillow), from and to a `cea.io.photo.Photo`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PilImage
from torch import Tensor

from cea.errors import ImageError
from cea.io.photo import Photo

_ACCEPTED = "an array, a tensor, an image of Pillow, a path, or a list of these"
_MODES = ("L", "LA", "RGB", "RGBA", "I;16")
_SINGLE, _BATCH = 3, 4
"""Dimensions of an image with channels, and of several."""


def as_batch(images: Any) -> Sequence[Any] | None:
    """The images of a batch, or None where ``images`` is a single one."""
    if isinstance(images, list | tuple) or (isinstance(images, np.ndarray | Tensor) and images.ndim == _BATCH):
        return images  # type: ignore[return-value]
    return None


def stacked(restored: list[Any], batch: Any) -> Any:
    """``restored`` images as ``batch`` held them."""
    if isinstance(batch, Tensor):
        return torch.stack(restored) if restored else batch.clone()
    if isinstance(batch, np.ndarray):
        return np.stack(restored) if restored else batch.copy()
    return restored


def to_photo(image: Any) -> Photo:
    """A single image, its dtype kept (half precision as float32).

    Raises:
        ImageError: another kind, shape, mode or dtype.
    """
    if isinstance(image, Tensor):
        return _from_tensor(image)
    if isinstance(image, PilImage.Image):
        if image.mode not in _MODES:
            raise ImageError(
                f"an image of Pillow's mode {image.mode!r}",
                expected=", ".join(_MODES),
                remedy="convert it: image.convert('RGB')",
            )
        return _from_array(np.asarray(image))
    if isinstance(image, np.ndarray):
        return _from_array(image)
    raise ImageError(f"an object of type {type(image).__name__}", expected=_ACCEPTED, remedy="convert it first")


def from_photo(restored: Photo, like: Any) -> Any:
    """The photograph as what ``like`` is; of a path an array."""
    if isinstance(like, Tensor):
        array = restored.rgb[..., : like.shape[0]] if like.shape[0] == 1 else restored.rgb
        return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1))).to(like.device, like.dtype)
    if isinstance(like, PilImage.Image):
        made = PilImage.fromarray(_like_array(restored, np.asarray(like).shape))
        made.info = dict(like.info)
        return made
    if isinstance(like, str | Path):
        return restored.rgb if restored.alpha is None else np.dstack([restored.rgb, restored.alpha])
    return _like_array(restored, like.shape).astype(like.dtype, copy=False)


def _from_array(array: NDArray[Any]) -> Photo:
    """(H, W), (H, W, 1), (H, W, 2) grey with alpha, (H, W, 3), (H, W, 4)."""
    pixels = array[..., None] if array.ndim == _SINGLE - 1 else array
    channels = pixels.shape[-1] if pixels.ndim == _SINGLE else 0
    if channels not in (1, 2, 3, 4) or pixels.size == 0:
        raise ImageError(
            f"an array of shape {array.shape}",
            expected="(H, W), (H, W, 3), (H, W, 4) or (N, H, W, 3) with H, W >= 1",
            remedy="put channels last" if array.ndim == _SINGLE else "pass one image or a batch",
        )
    if array.dtype not in (np.uint8, np.uint16) and array.dtype.kind != "f":
        raise ImageError(f"an image of dtype {array.dtype}", expected="uint8, uint16 or float", remedy="convert it")
    if array.dtype.kind == "f" and array.dtype not in (np.float32, np.float64):
        pixels = pixels.astype(np.float32)
    is_grey = channels <= 2
    rgb = np.repeat(pixels[..., :1], 3, axis=2) if is_grey else pixels[..., :3]
    alpha = pixels[..., -1] if channels in (2, 4) else None
    return Photo(np.ascontiguousarray(rgb), alpha, grey=is_grey)


def _like_array(restored: Photo, shape: tuple[int, ...]) -> NDArray[Any]:
    if len(shape) < _SINGLE:
        return np.ascontiguousarray(restored.rgb[..., 0])
    colours = restored.rgb[..., :1] if shape[2] <= 2 else restored.rgb
    return np.ascontiguousarray(colours) if restored.alpha is None else np.dstack([colours, restored.alpha])


def _from_tensor(tensor: Tensor) -> Photo:
    if tensor.ndim != _SINGLE or tensor.shape[0] not in (1, 3) or tensor.numel() == 0:
        raise ImageError(
            f"a tensor of shape {tuple(tensor.shape)}",
            expected="(3, H, W), (1, H, W) or a batch (N, 3, H, W) with H, W >= 1",
            remedy="put channels first",
        )
    if tensor.dtype is not torch.uint8 and not tensor.is_floating_point():
        raise ImageError(f"a tensor of {tensor.dtype}", expected="uint8, or floats in [0, 1]", remedy="convert it")
    held = tensor.detach().float() if tensor.dtype is torch.bfloat16 else tensor.detach()
    return _from_array(held.cpu().permute(1, 2, 0).numpy())
