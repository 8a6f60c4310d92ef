"""What a picture says of its colours apart from a profile: code points of H.273 in PNG and AVIF, the gamma of a PNG."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PNG = b"\x89PNG\r\n\x1a\n"
_HEAD = 1 << 16
"""Bytes of an AVIF in which its boxes of colour are looked for: they stand before the picture."""

_PRIMARIES = (1, 2)
"""BT.709, which sRGB shares, and unspecified."""

_TRANSFERS = (1, 2, 6, 13, 14, 15)
"""sRGB, unspecified, and the curves of BT.709 and its kin, by which cameras mean sRGB."""

_NEAR_SRGB = (0.4, 0.5)
"""Gammas of files, as PNG states them, that mean sRGB: 1/2.2 and its roundings."""

_CREDIBLE = (0.2, 1.2)
"""Gammas outside are taken for damaged, and left out."""


def is_srgb(primaries: int, transfer: int) -> bool:
    """Whether code points of H.273 are those of sRGB, or unspecified."""
    return primaries in _PRIMARIES and transfer in _TRANSFERS


def signal_of(data: bytes) -> tuple[int, int] | None:
    """Colour primaries and transfer characteristics (H.273) that a PNG (cICP) or AVIF (nclx) states; None without."""
    if data.startswith(_PNG):
        body = dict(_before_pixels(data)).get(b"cICP", b"")
        return (body[0], body[1]) if len(body) == 4 else None
    place = data.find(b"colrnclx", 0, _HEAD) if data[4:8] == b"ftyp" else -1
    if place < 0 or len(data) < place + 12:
        return None
    return int.from_bytes(data[place + 8 : place + 10], "big"), int.from_bytes(data[place + 10 : place + 12], "big")


def is_deep_avif(data: bytes) -> bool:
    """Whether an AVIF holds 10 or 12 bits, by its box av1C."""
    place = data.find(b"av1C", 0, _HEAD)
    return 0 <= place < len(data) - 6 and bool(data[place + 6] & 0x40)


def agrees_with_itself(data: bytes) -> bool:
    """Whether an AVIF of one picture says the same of its channels in its boxes pixi (their number) and av1C (grey)."""
    if any(data.count(name, 0, _HEAD) != 1 for name in (b"pixi", b"av1C")):
        return True
    is_grey = bool(data[data.find(b"av1C") + 6] & 0x10)
    return is_grey == (data[data.find(b"pixi") + 8] == 1)


def gamma_of(data: bytes) -> float | None:
    """The gamma of a PNG that is not that of sRGB (sample = light ** gamma); None for all else.

    A profile or the chunk sRGB goes before it.
    """
    chunks = dict(_before_pixels(data)) if data.startswith(_PNG) else {}
    body = chunks.get(b"gAMA", b"")
    if len(body) != 4 or chunks.keys() & {b"sRGB", b"iCCP"}:
        return None
    gamma = int.from_bytes(body, "big") / 100_000
    is_other = _CREDIBLE[0] <= gamma <= _CREDIBLE[1] and not _NEAR_SRGB[0] <= gamma <= _NEAR_SRGB[1]
    return gamma if is_other else None


def in_srgb_from_gamma(rgb: NDArray[Any], gamma: float) -> NDArray[Any]:
    """(H, W, 3) uint8 or uint16 whose samples are light ** ``gamma``, with the curve of sRGB (IEC 61966-2-1)."""
    top = np.iinfo(rgb.dtype).max
    light = (np.arange(top + 1) / top) ** (1 / gamma)
    curve = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(curve * top).astype(rgb.dtype)[rgb]


def _before_pixels(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and bodies of a PNG's chunks before its pixels."""
    place = len(_PNG)
    while place + 12 <= len(data) and data[place + 4 : place + 8] != b"IDAT":
        length = int.from_bytes(data[place : place + 4], "big")
        yield data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        place += 12 + length
