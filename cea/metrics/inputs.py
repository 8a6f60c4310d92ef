"""What every full-reference metric asks of its two images, checked in one place."""

from __future__ import annotations

from cea.errors import ImageError
from cea.types import Image, Map


def check_pair(a: Image | Map, b: Image | Map, least: int = 1) -> None:
    """Both images have one shape, (H, W) or (H, W, C), and no side shorter than ``least`` pixels.

    Raises:
        ImageError: naming the shapes.
    """
    if a.shape != b.shape or a.ndim not in (2, 3):
        raise ImageError(
            f"images of shapes {a.shape} and {b.shape}",
            expected="equal shapes, (H, W) or (H, W, C)",
            remedy="crop or pair them properly; a metric never resizes",
        )
    if min(a.shape[:2]) < least or a.size == 0:
        raise ImageError(
            f"an image of {a.shape[1]}x{a.shape[0]} pixels (width x height)",
            expected=f"at least {least}x{least}",
            remedy="use larger images, or a metric without a window",
        )
