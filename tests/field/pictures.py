"""One scene in every kind of file that people have: small code in place of binary files."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import cv2
import numpy as np
import tifffile
from PIL import Image as PilImage
from PIL import ImageCms, JpegImagePlugin

HEIGHT, WIDTH = 24, 32


def scene(dtype: type = np.uint8) -> np.ndarray:
    """A smooth picture that no flip or turn leaves as it is, (24, 32, 3)."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    unit = np.stack([rows / HEIGHT, columns / WIDTH, (rows + 2 * columns) / (HEIGHT + 2 * WIDTH)], -1)
    return np.rint(unit * np.iinfo(dtype).max).astype(dtype)


DEEP, FLAT = scene(np.uint16), scene(np.uint8)
GREY, GREY8 = DEEP[..., 0], FLAT[..., 0]
BLACK_WHITE = GREY8 > 100

UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: np.rot90(x.swapaxes(0, 1), 2),
    8: lambda x: np.rot90(x, 1),
}
"""What each EXIF orientation asks of the stored picture."""


def pillow(image: np.ndarray | PilImage.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture = image if isinstance(image, PilImage.Image) else PilImage.fromarray(image)
    picture.save(file, kind, **options)
    return file.getvalue()


def tiff(values: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


def deep_png(values: np.ndarray) -> bytes:
    order = values if values.ndim == 2 else values[..., [2, 1, 0, 3][: values.shape[2]]]
    return cv2.imencode(".png", order)[1].tobytes()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(data: bytes, kind: bytes, body: bytes) -> bytes:
    """A PNG with a further chunk behind its header."""
    return data[:33] + chunk(kind, body) + data[33:]


_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Column, row, step of columns, step of rows."""


def png(values: np.ndarray, bits: int, colour: int, *extra: bytes, interlaced: bool = False) -> bytes:
    """A PNG by hand: any depth and colour type, interlaced or not, with further chunks before the pixels."""
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    raw = b"".join(
        b"\0" + _row(row, bits)
        for column, first, wide, high in passes
        for row in values[first::high, column::wide]
        if row.size
    )
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, colour, 0, 0, int(interlaced))
    parts = (chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(raw)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _row(row: np.ndarray, bits: int) -> bytes:
    if bits >= 8:
        return row.astype(">u2" if bits == 16 else np.uint8).tobytes()
    planes = (row.reshape(-1, 1) >> np.arange(bits)[::-1]) & 1
    return np.packbits(planes.astype(np.uint8)).tobytes()


def exif(orientation: int, *, padding: int = 0) -> bytes:
    tags = PilImage.Exif()
    tags[0x0112] = orientation
    if padding:
        tags[0x010E] = "x" * padding
    return tags.tobytes()


def raw_tiff(data: bytes, tags: dict[int, tuple[int, tuple[int, ...]]], order: str = "<") -> bytes:
    """A TIFF of one strip by hand; a tag is its type and values."""
    entries = dict(tags)
    size = {1: "B", 3: "H", 4: "I"}
    place = 8 + 2 + 12 * (len(entries) + 2) + 4
    outside = b""
    entries[273], entries[279] = (4, (0,)), (4, (len(data),))
    bodies: dict[int, bytes] = {}
    for tag, (kind, values) in sorted(entries.items()):
        body = struct.pack(f"{order}{len(values)}{size[kind]}", *values)
        if len(body) > 4:
            bodies[tag] = struct.pack(f"{order}I", place + len(outside))
            outside += body + b"\0" * (len(body) % 2)
        else:
            bodies[tag] = body.ljust(4, b"\0")
    bodies[273] = struct.pack(f"{order}I", place + len(outside))
    directory = b"".join(
        struct.pack(f"{order}HHI", tag, kind, len(values)) + bodies[tag]
        for tag, (kind, values) in sorted(entries.items())
    )
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    return head + struct.pack(f"{order}H", len(entries)) + directory + b"\0" * 4 + outside + data


def bilevel_tiff(*, white_is_zero: bool, reversed_bits: bool) -> bytes:
    """One bit a pixel, in either sense and either order of bits."""
    rows = np.packbits(BLACK_WHITE ^ white_is_zero, axis=1, bitorder="little" if reversed_bits else "big")
    tags = {
        256: (3, (WIDTH,)),
        257: (3, (HEIGHT,)),
        258: (3, (1,)),
        259: (3, (1,)),
        277: (3, (1,)),
        278: (3, (HEIGHT,)),
    }
    tags |= {262: (3, (0 if white_is_zero else 1,)), 266: (3, (2 if reversed_bits else 1,))}
    return raw_tiff(rows.tobytes(), tags)


def packed_tiff(bits: int, *, white_is_zero: bool = False) -> bytes:
    """Grey samples of 2, 4, 10, 12 or 14 bits, packed; ``GREY`` rounded to them."""
    top = (1 << bits) - 1
    values = np.rint(GREY / 65535 * top).astype(np.int64)
    values = top - values if white_is_zero else values
    planes = ((values[..., None] >> np.arange(bits)[::-1]) & 1).astype(np.uint8).reshape(HEIGHT, -1)
    tags = {256: (3, (WIDTH,)), 257: (3, (HEIGHT,)), 258: (3, (bits,)), 259: (3, (1,)), 277: (3, (1,))}
    tags |= {278: (3, (HEIGHT,)), 262: (3, (0 if white_is_zero else 1,))}
    return raw_tiff(np.packbits(planes, axis=1).tobytes(), tags)


def cmyk_jpeg(image: np.ndarray) -> bytes:
    """As Adobe writes it: inverted, with the marker that says so."""
    return pillow(PilImage.fromarray(image).convert("CMYK"), "JPEG", quality=100)


def profile(kind: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(kind)).tobytes()


def matrix_profile(primaries: tuple[tuple[float, float, float], ...], gamma: float, version: int = 2) -> bytes:
    """An RGB profile: columns of XYZ under D50 for red, green and blue, and one gamma."""

    def fixed(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    def text(words: bytes) -> bytes:
        if version == 4:
            wide = words.decode().encode("utf-16-be")
            return b"mluc" + struct.pack(">5I", 0, 1, 12, 0x656E5553, len(wide)) + struct.pack(">I", 28) + wide
        return b"desc\0\0\0\0" + struct.pack(">I", len(words) + 1) + words + b"\0" + b"\0" * 78

    def xyz(values: tuple[float, float, float]) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(map(fixed, values))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    tags = {b"desc": text(b"Field"), b"wtpt": xyz((0.9642, 1.0, 0.8249)), b"cprt": text(b"none")}
    tags |= {name: xyz(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, body = struct.pack(">I", len(tags)), b""
    place = 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", place + len(body), len(value))
        body += value + b"\0" * (-len(value) % 4)
    head = struct.pack(">I4sI4s4s4s", place + len(body), b"lcms", version << 24, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28
    head += b"".join(map(fixed, (0.9642, 1.0, 0.8249)))
    return head.ljust(128, b"\0") + table + body


DISPLAY_P3 = ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))
ADOBE_RGB = ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))
PROPHOTO = ((0.7977, 0.2880, 0.0), (0.1352, 0.7119, 0.0), (0.0313, 0.0001, 0.8249))
GAMMAS = {"Display P3": (DISPLAY_P3, 2.2), "Adobe RGB": (ADOBE_RGB, 2.2), "ProPhoto": (PROPHOTO, 1.8)}


def in_profile(data: bytes) -> np.ndarray:
    """``FLAT`` as its numbers are in a profile: what a file in that profile holds."""
    source, target = ImageCms.createProfile("sRGB"), ImageCms.ImageCmsProfile(io.BytesIO(data))
    return np.asarray(ImageCms.profileToProfile(PilImage.fromarray(FLAT), source, target))


def half_size(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image[::2, ::2])


def animated(kind: str) -> bytes:
    """Three pictures, the scene first."""
    others = [PilImage.fromarray(255 - FLAT), PilImage.fromarray(FLAT[::-1])]
    options = {"lossless": True} if kind == "WEBP" else {}
    return pillow(FLAT, kind, save_all=True, append_images=others, **options)


SAMPLINGS = dict(JpegImagePlugin.samplings)
