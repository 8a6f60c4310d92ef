"""Colours by their ICC profile, as sRGB."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageCms

from cea.io.limits import RefusedError


def in_srgb(rgb: NDArray[Any], profile: bytes) -> tuple[NDArray[Any], str | None]:
    """Colours of another profile as sRGB, which everything here works in; a damaged profile counts as none.

    Args:
        rgb: (H, W, 3) uint8 or uint16.
        profile: the ICC profile of these numbers.

    Returns:
        The same shape and dtype, and a sentence on what was done; None where the profile is that of sRGB.

    Raises:
        RefusedError: 16 bits per channel in a profile that is not converted.
    """
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = ImageCms.getProfileDescription(source).strip() or "unnamed"
        kind = "L" if source.profile.xcolor_space.strip() == "GRAY" else "RGB"
        if kind == "L" and (rgb != rgb[..., :1]).any():
            return rgb, "its colour profile is one of grey, and it has colours: taken for sRGB"
        convert = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), kind, "RGB")
        probe = _probe().convert(kind)
        same = np.abs(np.asarray(convert.apply(probe), int) - np.asarray(probe.convert("RGB"), int)).max() <= 1
    except Exception:  # a profile that does not parse
        return rgb, "its colour profile is damaged: taken for sRGB"
    if same:
        return rgb, None
    said = f"converted from the colour profile {name!r} to sRGB"
    if rgb.dtype != np.uint8:
        return _deep_in_srgb(rgb, profile, name, kind), said
    picture = PilImage.fromarray(rgb[..., 0] if kind == "L" else rgb)
    return np.asarray(convert.apply(picture)), said


def _deep_in_srgb(rgb: NDArray[Any], profile: bytes, name: str, kind: str) -> NDArray[Any]:
    """(H, W, 3) uint16 in another profile as sRGB; Pillow's Little CMS has 8 bits, that of imagecodecs 16.

    Raises:
        RefusedError: a profile that it does not convert from.
    """
    import imagecodecs

    refused = RefusedError(f"16 bits per channel in the colour profile {name!r}", "convert it to sRGB, or to 8 bits")
    if kind != "RGB":
        raise refused
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    try:
        made = imagecodecs.cms_transform(
            rgb, profile, srgb, colorspace="rgb", outcolorspace="rgb", intent=0, flags=_NO_TABLES
        )
    except Exception:  # whatever a foreign profile raises
        raise refused from None
    if made.shape != rgb.shape or made.dtype != np.uint16:
        raise refused
    return np.asarray(made)


_NO_TABLES = 0x0100
"""Little CMS's NOOPTIMIZE: with its tables for 16 bits, colours outside sRGB come out up to 11 of 255 levels wrong."""


def _probe() -> PilImage.Image:
    """A small palette that tells colour spaces apart."""
    steps = np.array([0, 60, 128, 200, 255], np.uint8)
    return PilImage.fromarray(np.stack(np.meshgrid(steps, steps, steps), -1).reshape(5, 25, 3))
