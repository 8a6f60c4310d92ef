"""Reading and writing images and files: one way in, one way out, nothing half-written."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cea.errors import ImageError
from cea.io.faults import explained
from cea.io.photo import Photo, decode_photo
from cea.types import Image, Map

_DEEP_PNG = (cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
"""For 16 bits. No compression level on purpose: setting any drops OpenCV's fast path and more than doubles the time."""

_LONGEST_SUFFIX = 16

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".gif"}
    | {".avif", ".jp2", ".tga", ".pnm", ".pbm", ".apng", ".mpo"}
)


def read_rgb(source: Path | bytes, name: str | None = None, *, convert: bool = True) -> Image:
    """Read an image as (H, W, 3) sRGB, upright.

    8-bit files give uint8, deeper ones uint16 (full range). Grey becomes three equal channels; transparent pixels are
    composited over white.

    Raises:
        ImageError: missing, damaged, or not to be read rightly; ``name`` (default: the path) is in the message.
    """
    return read_photo(source, name, convert=convert).over_white()


def read_photo(source: Path | bytes, name: str | None = None, *, convert: bool = True) -> Photo:
    """The photograph with all that its file declares; ``convert`` and the rest as in `cea.io.photo.decode_photo`.

    Raises:
        ImageError: as `read_rgb`.
    """
    label = name or (str(source) if isinstance(source, Path) else "image")
    try:
        data = source.read_bytes() if isinstance(source, Path) else source
    except OSError as error:
        raise ImageError(
            f"{label}: {error.strerror}", expected="a readable image file", remedy="check the path"
        ) from None
    return decode_photo(data, label, convert=convert)


def reduced(image: NDArray[Any], max_side: int) -> NDArray[Any]:
    """``image`` (H, W) or (H, W, 3), reduced by area averaging so that no side is longer than ``max_side``."""
    height, width = image.shape[:2]
    factor = max_side / max(height, width)
    if factor >= 1:
        return image
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def pixel_sha256(image: Image) -> str:
    """Hex SHA-256 of shape, dtype and decoded pixels: independent of the file's format and codec."""
    digest = hashlib.sha256(f"{image.shape}{image.dtype.str}".encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def encode_png(image: Image | Map) -> bytes:
    """Lossless PNG of a uint8 or uint16 image, (H, W) or (H, W, 3) RGB."""
    assert image.dtype in (np.uint8, np.uint16), image.dtype
    pixels = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    ok, data = cv2.imencode(".png", pixels, _DEEP_PNG)
    assert ok
    return data.tobytes()


def decode_png(data: bytes) -> Image:
    """The inverse of ``encode_png``: (H, W) or (H, W, 3) RGB, uint8 or uint16."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ImageError("a PNG that does not decode", expected="a complete PNG", remedy="make the shard again")
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


@contextmanager
def atomic_path(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A temporary path beside ``path`` that is renamed to it when the block ends well, and removed when not.

    Args:
        path: where the file is to be.
        durable: whether its bytes are on the disk before it gets its name, so that a power cut leaves the old file or
            the new one; false for files of a folder that is written as a whole (`cea.io.folders.atomic_folder`).

    Raises:
        DataError: no room, no permission, something in the way.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Short, so that it is allowed wherever the name itself is; writers that go by the suffix see the same one.
        suffix = path.suffix if len(os.fsencode(path.suffix)) < _LONGEST_SUFFIX else ""
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=suffix)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o644)
            if durable:
                sync(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until the bytes of a file are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write ``data`` to ``path``, whole or not at all; ``durable`` as in `atomic_path`."""
    with atomic_path(path, durable=durable) as temporary:
        temporary.write_bytes(data)


def write_image(path: Path, image: Image, *, durable: bool = True) -> None:
    """Write a uint8 or uint16 RGB or grey image losslessly as PNG, whole or not at all."""
    write_bytes(path, encode_png(image), durable=durable)
