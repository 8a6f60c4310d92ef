"""Images as the engine keeps them: shape (H, W, 3), but each channel contiguous in memory.

NumPy multiplies such an image by an (H, W, 1) map four times faster than an interleaved one.
"""

from __future__ import annotations

import cv2
import numpy as np

from cea.degradations.exact import compiled
from cea.degradations.exact.maps import strips
from cea.errors import ImageError
from cea.levels import LEVEL_F32, to_uint8
from cea.types import Image, ImageF, ImageU8, Map


def to_planes(image: ImageU8) -> ImageF:
    """uint8 (H, W, 3) to float32 [0, 1] (H, W, 3), planar in memory."""
    planes = np.empty((3, *image.shape[:2]), np.float32)
    if compiled.takes() and image.dtype == np.uint8 and image.flags.c_contiguous:
        compiled.call("to_planes", image, planes[0].size, LEVEL_F32, planes)
        return planes.transpose(1, 2, 0)
    for rows in strips(image.shape):
        for plane, channel in zip(planes, cv2.split(image[rows]), strict=True):
            np.multiply(channel.reshape(-1, image.shape[1]), LEVEL_F32, out=plane[rows])
    return planes.transpose(1, 2, 0)


def quantise(image: ImageF) -> ImageU8:
    """Float (H, W, 3), nominally [0, 1], to uint8: half to even, saturated."""
    pixels = np.empty(image.shape, np.uint8)
    if compiled.takes(image):
        compiled.call("quantise", image, image[..., 0].size, pixels)
        return pixels
    for rows in strips(image.shape):
        planes = (np.maximum(image[rows, :, channel], 0) for channel in range(3))
        cv2.merge([cv2.convertScaleAbs(plane, alpha=255.0) for plane in planes], pixels[rows])
    return pixels


def grey(image: ImageF) -> Map:
    """Luma as the published CDD-11 code takes it, 8-bit grey in [0, 1] (H, W).

    It hands BGR data to a function that expects RGB, so blue gets red's weight:
    (9798 B + 19235 G + 3735 R + 2^14) >> 15.
    """
    red, green, blue = (image[..., channel] for channel in range(3))
    number = image.dtype.type
    luma = red * number(3735 * 255 / 32768)
    luma += green * number(19235 * 255 / 32768)
    luma += blue * number(9798 * 255 / 32768)
    luma += number(0.5)
    np.floor(luma, out=luma)
    luma /= number(255)
    return luma


def as_rgb8(image: Image) -> ImageU8:
    """Any image a user may pass as uint8 RGB: (H, W) and (H, W, 1) grey are repeated, uint16 and float quantised.

    Raises:
        ImageError: another shape (alpha channels included), no pixels, another dtype, NaN.
    """
    array = np.asarray(image)
    if array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 1):
        array = np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    if array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise ImageError(
            f"an image of shape {np.shape(image)}",
            expected="(H, W, 3) RGB or (H, W) grey with at least one pixel",
            remedy="drop the alpha channel or read it with cea.io.images.read_rgb",
        )
    return np.ascontiguousarray(to_uint8(array))
