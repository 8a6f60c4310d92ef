"""One photograph through the network: its channels, depth and metadata kept, its strength as wished."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import nn

from cea.errors import ConfigError, ImageError
from cea.inference import Estimates, restore_judged, tile_for
from cea.io.arrays import one_channel
from cea.io.images import pixel_sha256, reduced
from cea.io.photo import Photo
from cea.levels import to_uint8, unit_float
from cea.types import Image, ImageF, ImageU8, Map

NEARLY_CLEAN = 1.0
"""Mean error, in grey levels of 255, that the network expects of a nearly clean photograph at most. With the default
weights 7 of 24 clean crops of 192 px lie below, and none of 18 with haze, rain or low light."""

VERY_DARK = 0.01
"""Mean brightness, of 1, of a photograph that is darker than low light: the darkest of six crops of LOL has .012."""

_ROWS = 256
"""Rows that are worked on at once where a float copy of the whole photograph would cost memory."""

_SHEET_PX = 1600
"""Longest side of each half of a sheet."""


def restore_photo(
    network: nn.Module,
    photo: Photo,
    *,
    strength: float | Map = 1.0,
    tile: int | None = None,
    step: Callable[[int, int], None] | None = None,
    judged: Callable[[Estimates], None] | None = None,
) -> tuple[Photo, list[str]]:
    """The restored photograph, grey where it was grey, and what is to be known about it.

    Args:
        network: on its device.
        photo: its pixels may also be floats in [0, 1].
        strength: share of the correction that is kept: a number, or a map (H, W) of the photograph's size, in [0, 1].
        tile: as wished by the user (see `cea.inference.tile_for`).
        step: as in `cea.inference.restore`.
        judged: called with what the network makes of the photograph.

    Raises:
        ImageError: not enough memory, or a mask of another size.
    """
    share = _fitted(strength, photo)
    restored, estimates = restored_wholly(network, photo, tile=tile, step=step)
    if judged is not None:
        judged(estimates)
    return mixed(photo, restored, share), warnings_of(photo, estimates)


def restored_wholly(
    network: nn.Module, photo: Photo, *, tile: int | None = None, step: Callable[[int, int], None] | None = None
) -> tuple[ImageF, Estimates]:
    """The network's restoration, (H, W, 3) float32 in [0, 1] of all channels, and what it makes of the photograph.

    Raises:
        ImageError: not enough memory.
    """
    seen = _seen(photo)
    with _memory_explained():
        return restore_judged(network, seen, tile=tile_for(seen, tile), step=step)


def mixed(photo: Photo, restored: ImageF, strength: float | Map = 1.0) -> Photo:
    """``photo`` with that share of the correction to ``restored`` (`restored_wholly`); grey stays, hidden pixels, too.

    Raises:
        ImageError: a mask of another size.
    """
    seen, share = _seen(photo), _fitted(strength, photo)
    is_grey = _is_grey(photo)
    result = np.empty_like(photo.rgb)
    for rows in _bands(len(result)):
        band = restored[rows]
        if is_grey:
            band = np.repeat(band.mean(axis=2, keepdims=True), 3, axis=2)
        if not (isinstance(share, float) and share == 1):
            unit = unit_float(seen[rows])
            band = unit + np.float32(share if isinstance(share, float) else share[rows, :, None]) * (band - unit)
        result[rows] = _quantised(band, result.dtype)
    if photo.alpha is not None:
        hidden = photo.alpha == 0
        result[hidden] = photo.rgb[hidden]
    return replace(photo, rgb=result, grey=is_grey)


def _is_grey(photo: Photo) -> bool:
    return photo.grey or bool((photo.rgb == photo.rgb[..., :1]).all())


def _fitted(strength: float | Map, photo: Photo) -> float | Map:
    if isinstance(strength, float):
        return strength
    (height, width), (rows, columns) = photo.rgb.shape[:2], strength.shape
    if (height, width) != (rows, columns):
        raise ImageError(
            f"a mask of {columns}x{rows} for a photograph of {width}x{height} pixels",
            expected="a mask of the photograph's size",
            remedy="pass the mask of this photograph, or scale it",
        )
    return strength


def read_strength(text: str) -> float | Map:
    """``--strength``: a number in [0, 1], or a grey picture whose white keeps all of the correction.

    Raises:
        ConfigError: a number outside [0, 1].
        ImageError: a picture that cannot be read, or is no mask.
    """
    try:
        number = float(text)
    except ValueError:
        mask = unit_float(one_channel(Path(text)))
        if not (mask.min() >= 0 and mask.max() <= 1):  # NaN fails both
            raise ImageError(
                f"{text}: values from {mask.min():g} to {mask.max():g}", expected="[0, 1]", remedy="scale the mask"
            ) from None
        return mask
    if not 0 <= number <= 1:
        raise ConfigError(f"--strength {text}", expected="a number from 0 to 1, or a mask", remedy="correct the option")
    return number


def strength_name(strength: float | Map) -> str:
    """The number, or the digest of a mask's values."""
    return f"{strength:g}" if isinstance(strength, float) else pixel_sha256(strength)


def sheet(before: Photo, after: Photo) -> ImageU8:
    """Both side by side with a white line between, (h, 2 w + 8, 3), each on white and at most 1600 px long."""
    one, other = (reduced(to_uint8(photo.over_white()), _SHEET_PX) for photo in (before, after))
    return np.hstack([one, np.full((len(one), 8, 3), 255, np.uint8), other])


def _seen(photo: Photo) -> Image:
    """What the network is shown: invisible pixels are white, whatever colour they hide."""
    if photo.alpha is None:
        return photo.rgb
    seen = photo.rgb.copy()
    seen[photo.alpha == 0] = 1 if seen.dtype.kind == "f" else np.iinfo(seen.dtype).max
    return seen


def _bands(height: int) -> Iterator[slice]:
    return (slice(top, top + _ROWS) for top in range(0, height, _ROWS))


def _quantised(band: ImageF, dtype: np.dtype[np.generic]) -> Image:
    if dtype == np.uint16:
        return np.rint(np.clip(band, 0, 1) * np.float32(65535)).astype(np.uint16)
    return to_uint8(band) if dtype == np.uint8 else np.clip(band, 0, 1).astype(dtype)


def warnings_of(photo: Photo, estimates: Estimates) -> list[str]:
    """In which ways a photograph is unlike what weights are trained for, in words."""
    seen, is_grey, error = _seen(photo), _is_grey(photo), estimates.error
    notes = []
    expected = float("inf") if error is None else 255 * float(error.mean())
    if expected < NEARLY_CLEAN:
        notes.append(f"nearly clean (the network expects errors of {expected:.2g} of 255 levels): little changes")
    small = reduced(seen, 512)
    brightness = float(unit_float(small).mean())
    if brightness < VERY_DARK:
        notes.append(f"much darker (mean {255 * brightness:.1f} of 255) than what weights are trained for")
    if is_grey:
        notes.append("monochrome, of which weights see little: restored as grey")
    return notes


@contextmanager
def _memory_explained() -> Iterator[None]:
    """Turns a lack of memory, however it shows, into an error that names the way out."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error).lower():
            raise
        raise ImageError(
            "not enough memory to restore it",
            expected="room for the picture and a tile",
            remedy="use --tile 256 (in Python: tile=256)",
        ) from error
