"""From images, as the rest of the library holds them, to tensors, as networks take them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cea.errors import ImageError
from cea.levels import unit_float
from cea.types import Image, ImageF


def image_tensor(image: Image) -> Tensor:
    """(H, W, 3) to a (1, 3, H, W) float32 tensor in [0, 1], channels_last.

    Raises:
        ImageError: another shape or dtype, an empty image, NaN, or floats outside [0, 1].
    """
    check_shape(image)
    return torch.from_numpy(_as_unit(image)).permute(2, 0, 1)[None]


def unit_batch(images: Tensor) -> Tensor:
    """(B, 3, H, W) uint8 to float32 in [0, 1], channels_last, on the device where it is."""
    return images.to(torch.float32, memory_format=torch.channels_last).div_(255)


def check_shape(image: Image) -> None:
    """Accept (H, W, 3) with H, W >= 1.

    Raises:
        ImageError: another shape, or an empty image.
    """
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ImageError(
            f"an array of shape {image.shape}", expected="(H, W, 3) with H, W >= 1", remedy="pass one RGB image"
        )


def _as_unit(image: Image) -> ImageF:
    if image.dtype in (np.uint8, np.uint16):
        return unit_float(image)
    if not np.issubdtype(image.dtype, np.floating):
        raise ImageError(f"an image of dtype {image.dtype}", expected="uint8, uint16 or float", remedy="convert it")
    if not (image.min() >= 0 and image.max() <= 1):  # NaN fails both
        raise ImageError(
            f"float values from {image.min():g} to {image.max():g}", expected="[0, 1]", remedy="scale it first"
        )
    return np.array(image, dtype=np.float32)
