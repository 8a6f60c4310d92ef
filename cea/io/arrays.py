"""Maps of numbers (depth, light) as users have them: .npy files and pictures whose values are measurements."""

from __future__ import annotations

import io
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cea.errors import ImageError, foreign
from cea.io.images import read_photo
from cea.io.limits import largest_pixels

_EXPECTED = "a .npy file, or a picture (EXR, float and 16-bit TIFF and PNG among them), of shape (H, W)"
_SECONDS = 120
"""An EXR that takes longer to read is given up."""


def read_map(path: Path) -> NDArray[Any]:
    """The values of a map: (H, W), or (H, W, 3) where its channels differ.

    Dimensions of 1 in a .npy file are dropped: (1, H, W) and (H, W, 1) are (H, W). Integers are uint8 or uint16 over
    their full range, floats as they are; three equal channels are one. Transparency must be none, and colour profiles
    count for nothing.

    Raises:
        ImageError: not to be read, not two-dimensional, transparent, complex, text, or empty.
    """
    with foreign(path, expected=_EXPECTED, kind=ImageError):
        data = path.read_bytes()
    if data[:6] == b"\x93NUMPY" or path.suffix.lower() == ".npy":
        return _squeezed(_of_npy(path, data), path)
    if data[:4] == b"\x76\x2f\x31\x01":
        return _squeezed(_of_exr(path), path)
    floats = _of_float_tiff(data)
    if floats is not None:
        return _squeezed(floats, path)
    photo = read_photo(data, str(path), convert=False)
    if photo.alpha is not None:
        raise ImageError(f"{path}: transparent pixels", expected=_EXPECTED, remedy="save it without transparency")
    return photo.rgb[..., 0] if (photo.rgb == photo.rgb[..., :1]).all() else photo.rgb


def one_channel(path: Path) -> NDArray[Any]:
    """As `read_map`, and never colours: what a colour map makes of depth cannot be turned back.

    Raises:
        ImageError: as `read_map`, or colours.
    """
    values = read_map(path)
    if values.ndim == 3:
        raise ImageError(
            f"{path}: a picture in colours, {values.shape[1]}x{values.shape[0]}",
            expected="one channel",
            remedy="save the depth itself, not coloured: 16-bit PNG, float TIFF or .npy",
        )
    return values


def _of_npy(path: Path, data: bytes) -> NDArray[Any]:
    try:
        file = io.BytesIO(data)
        read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
        shape, _, kind = read[np.lib.format.read_magic(file)[0]](file)
        if kind.kind not in "uifb" or kind.hasobject:
            raise TypeError(f"values of type {kind}")
        if not 0 < np.prod(shape, dtype=float) <= min(largest_pixels(), len(data)):
            raise TypeError(f"an array of shape {shape}" + (", and less in the file" if len(data) > 999 else ""))
        return np.asarray(np.load(io.BytesIO(data), allow_pickle=False))
    except Exception as error:  # NumPy raises anything on damaged headers
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ImageError(
            f"{path}: {reason}", expected="an array of numbers, (H, W)", remedy="save it with numpy.save"
        ) from error


def _of_float_tiff(data: bytes) -> NDArray[Any] | None:
    """The values of a float TIFF of one channel, in whatever unit; None for anything else."""
    import tifffile

    if data[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return None
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages.first
            small = page.imagewidth * page.imagelength <= largest_pixels()
            whole = len(page.dataoffsets) >= math.prod(page.chunked)  # or every missing part takes its time
            wanted = small and whole and page.samplesperpixel == 1 and np.dtype(page.dtype).kind == "f"
            return np.asarray(page.asarray()) if wanted else None
    except Exception:  # the reader of photographs says what is wrong
        return None


_READ_EXR = """
import sys, numpy, OpenEXR
path, target, most = sys.argv[1:]
values = 0
with OpenEXR.File(path, header_only=True) as file:
    for part in file.parts:
        (left, top), (right, bottom) = part.header["dataWindow"]
        values += (int(right) - int(left) + 1) * (int(bottom) - int(top) + 1) * len(part.header["channels"])
if values > int(most):
    sys.exit(f"{values} values by its header, and at most {most} are read")
with OpenEXR.File(path, separate_channels=True) as file:
    numpy.savez(target, **{name: channel.pixels for name, channel in file.channels().items()})
"""


def _of_exr(path: Path) -> NDArray[Any]:
    """The one channel of an EXR, or three that are equal; float32.

    In a process of its own, which looks for modules nowhere but where they are installed: the library prints what is
    wrong with a damaged file, and goes on without the pixels.
    """
    with tempfile.TemporaryDirectory() as folder, foreign(path, expected=_EXPECTED, kind=ImageError):
        target = Path(folder) / "channels.npz"
        command = [sys.executable, "-P", "-c", _READ_EXR, str(path), str(target), str(3 * largest_pixels())]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
        said = done.stderr.strip().splitlines()
        if done.returncode or said or not target.is_file():
            raise ValueError(said[-1].removeprefix(f"{path}: ") if said else "not a complete EXR")
        with np.load(target) as channels:
            planes = {name: channels[name].astype(np.float32) for name in channels.files}
    first = next(iter(planes.values()))
    if any(plane.shape != first.shape or not np.array_equal(plane, first, equal_nan=True) for plane in planes.values()):
        raise ImageError(
            f"{path}: an EXR with the channels {', '.join(planes)}",
            expected="one channel",
            remedy="save the depth or light alone",
        )
    return first


def _squeezed(values: NDArray[Any], path: Path) -> NDArray[Any]:
    inner = values.shape
    if values.ndim > 2:
        inner = tuple(size for size in values.shape if size != 1)
    if len(inner) != 2:
        raise ImageError(
            f"{path}: an array of shape {values.shape}",
            expected="(H, W), (1, H, W) or (H, W, 1)",
            remedy="save one channel",
        )
    values = values.reshape(inner)
    if values.dtype.kind in "ib" or (values.dtype.itemsize > 2 and values.dtype.kind == "u"):
        values = values.astype(np.float64)
    return values
