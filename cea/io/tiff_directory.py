"""A TIFF by its tags: its first directory, checked before pixels are read (no checksum tells that it is damaged), and
what its samples mean."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cea.io.limits import RefusedError
from cea.levels import to_uint16

_ONE_NUMBER = frozenset({256, 257, 259, 262, 266, 277, 278, 284, 317, 322, 323})
"""Tags of a TIFF that its pixels hang on and that hold one number: size, compression, photometric, strips, ..."""

_ONE_PER_CHANNEL = frozenset({258, 339})
"""Bits and format of samples."""

_INTEGERS = (1, 3, 4, 16)
"""Types of such a tag: 8, 16, 32, 64 bits without sign."""


_PARTS = frozenset({273, 279, 324, 325})
"""Places and lengths of strips and tiles."""

_NEEDED = _ONE_NUMBER | _ONE_PER_CHANNEL | _PARTS

_OLD_JPEG = 6
_HEADER = 8
"""Bytes at the beginning of every TIFF that are no pixels."""


def check_directory(data: bytes, file: Any) -> None:
    """Refuse a TIFF whose first directory is damaged where its pixels hang on it: readers then guess, each otherwise.

    Args:
        data: the file.
        file: the same, opened by tifffile.

    Raises:
        ValueError: a tag of another type or with another count of numbers than it has; or as `_check_parts`.
    """
    page, form = file.pages.first, file.tiff
    start = page.offset + form.tagnosize
    (number,) = struct.unpack(form.tagnoformat, data[page.offset : start])
    counts: dict[int, int] = {}
    for place in range(start, start + number * form.tagsize, form.tagsize):
        code, kind = struct.unpack(form.tagformat1, data[place : place + 4])
        count, _ = struct.unpack(form.tagformat2, data[place + 4 : place + form.tagsize])
        right = {1} if code in _ONE_NUMBER else {1, page.samplesperpixel} if code in _ONE_PER_CHANNEL else {count}
        if count not in right or (code in _NEEDED and (kind not in _INTEGERS or code not in page.tags)):
            raise ValueError(f"a damaged directory (tag {code})")
        counts[code] = count
    if page.compression != _OLD_JPEG:
        _check_parts(data, page, {code: count for code, count in counts.items() if code in _PARTS})


def _check_parts(data: bytes, page: Any, counts: dict[int, int]) -> None:
    """Refuse strips or tiles that are not all there; ``counts`` says how many places and lengths the tags hold.

    Raises:
        ValueError: saying so.
    """
    parts, is_plain = math.prod(page.chunked), page.compression == 1
    has_lengths = bool(counts.keys() & {279, 325}) or (is_plain and parts == 1)
    ends = [place + length for place, length in zip(page.dataoffsets, page.databytecounts, strict=True)]
    if not has_lengths or set(counts.values()) != {parts} or min(page.dataoffsets) < _HEADER:
        raise ValueError("parts of the picture are missing, or do not fit its size")
    if max(ends) > len(data):
        raise ValueError("image file is truncated")
    if is_plain and not page.is_tiled:
        planes, together = (page.samplesperpixel, 1) if page.planarconfig == 2 else (1, page.samplesperpixel)
        needed = planes * page.imagelength * -(-page.imagewidth * together * page.bitspersample // 8)
        if sum(page.databytecounts) < needed:
            raise ValueError("image file is truncated")


def full_range(values: NDArray[Any], page: Any) -> NDArray[Any]:
    """Samples as uint8 or uint16 over their full range.

    Raises:
        RefusedError: samples whose white is not known.
    """
    if values.dtype in (np.uint8, np.uint16):
        bits = int(page.bitspersample)
        if bits in (8, 16):
            return values
        return np.asarray((values.astype(np.uint32) * 65535 + (1 << bits) // 2) // ((1 << bits) - 1)).astype(np.uint16)
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise RefusedError("NaN or infinite values", "replace them")
        if values.min() < 0 or values.max() > 1:
            raise RefusedError(
                f"float values from {values.min():g} to {values.max():g}, and nothing says which is white",
                "scale it to [0, 1], or convert it to 16 bits",
            )
        return to_uint16(values)
    raise RefusedError(f"samples of type {values.dtype}, and nothing says which is white", "convert it to 16 bits")
