"""Damaged files, and what is right of them: the intact picture, what another decoder sees in them, or one clear error.

``python -m tests.field.mutations 20000`` counts; the field suite does the same with fewer.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import struct
import sys
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterator

import cv2
import imagecodecs
import numpy as np
from PIL import Image as PilImage

from cea.errors import ImageError
from cea.io.photo import decode_photo
from tests.field.pictures import (
    DEEP,
    FLAT,
    GREY,
    GREY8,
    animated,
    bilevel_tiff,
    deep_png,
    exif,
    packed_tiff,
    pillow,
    tiff,
)

ALPHA = np.dstack([FLAT, FLAT[::-1, ::-1, 0]])
HEADER = b"P6 32 24 65535\n"
INTACT: dict[str, bytes] = {
    "png": pillow(FLAT, "PNG"),
    "png with alpha": pillow(ALPHA, "PNG"),
    "png of 16 bits": deep_png(DEEP),
    "png with EXIF": pillow(FLAT, "PNG", exif=exif(6)),
    "palette png": pillow(PilImage.fromarray(GREY8).quantize(64), "PNG"),
    "apng": animated("PNG"),
    "jpeg": pillow(FLAT, "JPEG", quality=92),
    "progressive jpeg": pillow(FLAT, "JPEG", quality=92, progressive=True),
    "jpeg with EXIF": pillow(FLAT, "JPEG", quality=92, exif=exif(6)),
    "grey jpeg": pillow(GREY8, "JPEG", quality=92),
    "webp": pillow(FLAT, "WEBP", lossless=True),
    "lossy webp": pillow(FLAT, "WEBP", quality=90),
    "gif": pillow(GREY8, "GIF"),
    "bmp": pillow(FLAT, "BMP"),
    "tga": pillow(FLAT, "TGA"),
    "tiff": tiff(DEEP, photometric="rgb"),
    "tiff with zlib": tiff(DEEP, photometric="rgb", compression="zlib", predictor=True),
    "tiff with lzw": tiff(FLAT, photometric="rgb", compression="lzw"),
    "tiled tiff": tiff(DEEP, photometric="rgb", tile=(16, 16), byteorder=">"),
    "white-is-zero tiff": tiff(65535 - GREY, photometric="miniswhite"),
    "bilevel tiff": bilevel_tiff(white_is_zero=True, reversed_bits=False),
    "tiff of 12 bits": packed_tiff(12),
    "ppm of 16 bits": HEADER + DEEP.astype(">u2").tobytes(),
    "pgm": pillow(GREY8, "PPM"),
    "jpeg 2000": pillow(FLAT, "JPEG2000"),
    "avif": pillow(FLAT, "AVIF", quality=90),
}
LOSSY = ("jpeg", "webp", "avif")


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """One kind of damage: bits, bytes, a field of a header, a run of zeros, a piece lost, doubled or cut off."""
    out, size = bytearray(data), len(data)
    kind = rng.integers(8)
    near = int(size * rng.random() ** (3 if rng.random() < 0.5 else 1))  # headers more often than bodies
    if kind == 0:
        out[near] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        for _ in range(int(rng.integers(1, 9))):
            out[int(rng.integers(size))] = int(rng.integers(256))
    elif kind == 2:
        value = int(rng.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x8000, 65535, 255]))
        out[near : near + 4] = struct.pack(str(rng.choice(["<I", ">I"])), value)
    elif kind == 3:
        del out[near:]
    elif kind == 4:
        out[near : near + int(rng.integers(1, 64))] = b""
    elif kind == 5:
        out[near:near] = out[near : near + int(rng.integers(1, 64))]
    elif kind == 6:
        stop = min(size, near + int(rng.integers(1, 200)))
        out[near:stop] = bytes(stop - near)
    else:
        other = int(rng.integers(size))
        out[near : near + 8], out[other : other + 8] = out[other : other + 8], out[near : near + 8]
    if data.startswith(b"\x89PNG") and rng.random() < 0.3:
        out = bytearray(_with_checksums(bytes(out)))
    return bytes(out)


def _with_checksums(data: bytes) -> bytes:
    """A PNG whose checksums fit its damage: only what the chunks say can tell."""
    out, place = bytearray(data), 8
    while place + 12 <= len(out):
        length = int.from_bytes(out[place : place + 4], "big")
        end = place + 8 + length
        if end + 4 > len(out):
            break
        out[end : end + 4] = struct.pack(">I", zlib.crc32(out[place + 4 : end]))
        place = end + 4
    return bytes(out)


def unit(image: np.ndarray, top: float | None = None) -> np.ndarray:
    """(H, W, 3) on white paper with full scale 1."""
    top = top or (1.0 if image.dtype == bool else float(np.iinfo(image.dtype).max))
    values = np.asarray(image, np.float64) / top
    values = values[..., None] if values.ndim == 2 else values
    colours = values[..., :3] if values.shape[2] > 2 else values[..., :1]
    alpha = values[..., -1:] if values.shape[2] in (2, 4) else 1.0
    return np.broadcast_to(colours * alpha + 1 - alpha, (*values.shape[:2], 3))


def _by_opencv(data: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return unit(image[..., [2, 1, 0, 3][: image.shape[2]]] if image.ndim == 3 else image)


def _by_opencv_as_negative(data: bytes) -> np.ndarray:
    """OpenCV takes white-is-zero of 16 bits as it is."""
    assert data[:4] == b"II*\0"
    return 1 - _by_opencv(data)


def _by_libtiff_as_negative(data: bytes) -> np.ndarray:
    """It gives white-is-zero as it is, too, and reads some directories that OpenCV does not."""
    return 1 - unit(imagecodecs.tiff_decode(data))


def _by_opencv_as_colour(data: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | 128)
    return unit(image[..., ::-1])


def _by_netpbm(data: bytes) -> np.ndarray:
    """Netpbm in five lines: magic, sizes and top are four words."""
    head = re.match(rb"P([56])\s+(?:#[^\n]*\n\s*)*(\d+)\s+(\d+)\s+(\d+)\s", data)
    assert head is not None
    channels, (width, height, top) = {b"5": 1, b"6": 3}[head[1]], map(int, head.groups()[1:])
    kind = ">u2" if top > 255 else "u1"
    return unit(np.frombuffer(data, kind, width * height * channels, head.end()).reshape(height, width, channels), top)


def _by_targa(data: bytes) -> np.ndarray:
    """Uncompressed true colour: 18 bytes, a name, then BGR rows from below (or above)."""
    name, kind, bits, flags = data[0], data[2], data[16], data[17]
    assert (data[1], kind, bits) == (0, 2, 24)
    width, height = struct.unpack("<HH", data[12:16])
    rows = np.frombuffer(data, np.uint8, width * height * 3, 18 + name).reshape(height, width, 3)[..., ::-1]
    rows = rows if flags & 32 else rows[::-1]
    return unit(rows[:, ::-1] if flags & 16 else rows)


OTHERS: tuple[Callable[[bytes], np.ndarray], ...] = (
    _by_opencv,
    _by_opencv_as_colour,
    _by_opencv_as_negative,
    _by_libtiff_as_negative,
    *(
        lambda data, decode=decode: unit(decode(data))
        for decode in (
            imagecodecs.png_decode,
            imagecodecs.jpeg8_decode,
            imagecodecs.webp_decode,
            imagecodecs.bmp_decode,
            imagecodecs.jpeg2k_decode,
            imagecodecs.avif_decode,
            imagecodecs.gif_decode,
            imagecodecs.tiff_decode,
        )
    ),
    _by_netpbm,
    _by_targa,
)
"""Decoders that share no code with the reader: it reads TIFF by tifffile, and the other formats by Pillow."""


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Without what C libraries print of damaged files."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def verdict(name: str, data: bytes) -> str:
    """``intact``, ``as another decoder``, ``refused``; ``wrong pixels`` and ``traceback`` are faults."""
    try:
        photo = decode_photo(data, f"{name}.x")
    except ImageError as error:
        one_line = str(error).startswith(f"{name}.x: ") and len(str(error).splitlines()) == 1
        return "refused" if one_line else "refused badly"
    except Exception:
        return "traceback: " + traceback.format_exc().splitlines()[-1]
    ours = unit(photo.over_white())
    tolerance = 8 / 255 if any(word in name for word in LOSSY) else 1.01 / 255
    turned = [ours] if "EXIF" not in name else list(_turns(ours))
    if any(_same(each, INTACT_UNIT[name], tolerance) for each in turned):
        return "intact"
    for decode in OTHERS:
        with contextlib.suppress(Exception):
            other = decode(data)
            if any(_same(each, other, tolerance) for each in turned):
                return "as another decoder"
    return "wrong pixels"


def _turns(image: np.ndarray) -> Iterator[np.ndarray]:
    for quarter in range(4):
        yield np.rot90(image, quarter)
        yield np.rot90(image, quarter)[:, ::-1]


def _same(one: np.ndarray, other: np.ndarray, tolerance: float) -> bool:
    return one.shape == other.shape and float(np.abs(one - other).max(initial=0)) <= tolerance


INTACT_UNIT = {name: unit(decode_photo(data, name).over_white()) for name, data in INTACT.items()}


def count(number: int, seed: int = 0) -> Counter[tuple[str, str]]:
    """(kind of file, verdict) -> how many of ``number`` damaged files."""
    rng = np.random.default_rng(seed)
    found: Counter[tuple[str, str]] = Counter()
    with silence():
        for index in range(number):
            name = list(INTACT)[index % len(INTACT)]
            found[name, verdict(name, mutated(INTACT[name], rng))] += 1
    return found


def main() -> None:
    """Print a table, and exit with 1 if there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("number", type=int, nargs="?", default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start = time.perf_counter()
    found = count(options.number, options.seed)
    total: Counter[str] = Counter()
    for (_, what), many in found.items():
        total[what] += many
    for name in INTACT:
        line = "  ".join(f"{what} {many}" for (kind, what), many in sorted(found.items()) if kind == name)
        sys.stdout.write(f"{name:22}{line}\n")
    sys.stdout.write(f"{options.number} files, {time.perf_counter() - start:.0f} s: {dict(total)}\n")
    sys.exit(bool(set(total) - {"intact", "as another decoder", "refused"}))


if __name__ == "__main__":
    main()
