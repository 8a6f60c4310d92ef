"""The bytes of JPEG, PNG, GIF and JPEG 2000: read here where Pillow passes over damage or depth."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from cea.io.limits import RefusedError


def odd_jpeg(data: bytes) -> str | None:
    """The kind of a JPEG that is none of 8 bits with loss, by its frame; None for all else."""
    offset = 2
    while data[:2] == b"\xff\xd8" and offset + 5 <= len(data) and data[offset] == 0xFF:
        marker, bits = data[offset + 1], data[offset + 4]
        if marker in (0xC3, 0xC7, 0xCB, 0xCF):
            return "lossless JPEG"
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return None if bits == 8 else f"JPEG of {bits} bits"
        offset += 2 + int.from_bytes(data[offset + 2 : offset + 4], "big")
    return None


def without_metadata(data: bytes) -> bytes | None:
    """A JPEG or PNG without what is not needed for its pixels; None for other formats."""
    if data[:2] == b"\xff\xd8":
        return _bare_jpeg(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _bare_png(data)
    return None


def _bare_jpeg(data: bytes) -> bytes:
    kept, offset = [data[:2]], 2
    while offset + 4 <= len(data) and data[offset] == 0xFF:
        marker, length = data[offset + 1], int.from_bytes(data[offset + 2 : offset + 4], "big")
        if marker == 0xDA:
            break
        is_metadata = (0xE1 <= marker <= 0xEF and marker != 0xEE) or marker in (0xE0, 0xFE)
        kept += [] if is_metadata else [data[offset : offset + 2 + length]]
        offset += 2 + length
    return b"".join([*kept, data[offset:]])


def _bare_png(data: bytes) -> bytes:
    kept, offset = [data[:8]], 8
    while offset + 12 <= len(data):
        length, kind = int.from_bytes(data[offset : offset + 4], "big"), data[offset + 4 : offset + 8]
        chunk = data[offset : offset + 12 + length]
        if kind in (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"sRGB", b"cHRM"):
            kept.append(chunk)
        offset += 12 + length
    return b"".join(kept)


def deep_png(data: bytes) -> NDArray[Any] | None:
    """The pixels of a PNG with 16 bits per channel, which Pillow reduces to 8 without a word."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return None
    chunks = _png_chunks(data)
    if data[24:25] != b"\x10":
        return None
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or b"IEND" not in chunks:
        raise ValueError("image file is truncated")
    if pixels.ndim == 2 and len(chunks.get(b"tRNS", b"")) == 2:  # a transparent grey, which OpenCV passes over
        alpha = np.where(pixels == int.from_bytes(chunks[b"tRNS"], "big"), 0, 65535).astype(np.uint16)
        return np.dstack([pixels, pixels, pixels, alpha])
    return pixels


_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT")


def _png_chunks(data: bytes) -> dict[bytes, bytes]:
    """The first chunk of each kind up to the end of a PNG.

    Raises:
        ValueError: the checksum of one that the pixels hang on, or that of the pixels, does not fit, or there are too
            few of them. Pillow passes over all of this.
    """
    chunks: dict[bytes, bytes] = {}
    stream, count = zlib.decompressobj(), 0
    for kind, body in _chunks(data):
        chunks.setdefault(kind, body[:-4])
        if kind == b"IDAT":
            count += _inflated(stream, body[:-4])
        if kind in _PIXELS and zlib.crc32(kind + body[:-4]) != int.from_bytes(body[-4:], "big"):
            raise ValueError("a damaged part of the picture")
        if kind == b"IEND":
            break
    if not stream.eof or count < _least_bytes(data):
        raise ValueError("image file is truncated")
    return chunks


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    offset = 8
    while offset + 12 <= len(data):
        length = int.from_bytes(data[offset : offset + 4], "big")
        yield data[offset + 4 : offset + 8], data[offset + 8 : offset + 12 + length]
        offset += 12 + length


def _inflated(stream: Any, packed: bytes) -> int:
    """How many bytes ``packed`` continues the stream by; a few at a time, because only their checksum is wanted."""
    count = 0
    while packed:
        count += len(stream.decompress(packed, 1 << 20))
        packed = stream.unconsumed_tail
    return count


def _least_bytes(data: bytes) -> int:
    """What a PNG's pixels take before compression, by its header; without the filters of each row."""
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(data[25], 0)
    return width * height * channels * data[24] // 8


def check_gif(data: bytes) -> None:
    """Refuse a GIF whose first picture has no palette, is not where the blocks before it end (Pillow looks for it),
    does not end where a block begins, or does not fill the screen that it is shown on.

    Raises:
        ValueError: saying which.
        RefusedError: a smaller picture: what surrounds it is another colour in each program.
    """
    flags = data[10]
    offset = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while data[offset : offset + 1] == b"!":  # an extension: its label, then blocks
        offset = _behind_blocks(data, offset + 2)
    if data[offset : offset + 1] != b"," or len(data) < offset + 11:
        raise ValueError("a damaged part of the picture")
    if data[offset + 5 : offset + 9] != data[6:10]:
        raise RefusedError(
            "a first picture smaller than its screen, and nothing says what surrounds it", "save it anew"
        )
    own = data[offset + 9]
    if not (flags | own) & 0x80:
        raise ValueError("no palette")
    end = _behind_blocks(data, offset + 11 + (3 << (own & 7) + 1 if own & 0x80 else 0))
    if data[end : end + 1] not in (b"", b";", b"!", b","):
        raise ValueError("a damaged part of the picture")


def _behind_blocks(data: bytes, offset: int) -> int:
    """Where the blocks of a GIF end that begin at ``offset``: each says its length, and an empty one is the last."""
    while offset < len(data) and data[offset]:
        offset += 1 + data[offset]
    if offset >= len(data):
        raise ValueError("image file is truncated")
    return offset + 1


def check_jpeg2000(data: bytes) -> None:
    """Refuse a JPEG 2000 whose colours differ in depth or resolution: what becomes of these depends on the decoder.

    Raises:
        RefusedError: saying so.
    """
    start = data.find(b"\xff\x4f\xff\x51") + 42  # the components in the marker segment SIZ, three bytes each
    count = min(3, int.from_bytes(data[start - 2 : start], "big"))
    kinds = {data[place : place + 3] for place in range(start, start + 3 * count, 3)}
    if len(kinds) != 1 or kinds.pop()[1:] != b"\1\1":
        raise RefusedError("channels of different depth or resolution", "save it anew")


def deep_jpeg2000(data: bytes, opened: PilImage.Image) -> NDArray[Any] | None:
    """(H, W, 3) BGR of a JPEG 2000 with more than 8 bits of RGB, which Pillow reduces to 8 without a word."""
    start = data.find(b"\xff\x4f\xff\x51")
    if opened.format != "JPEG2000" or opened.mode != "RGB" or start < 0:
        return None
    bits = (data[start + 42] & 0x7F) + 1  # of the first component, in the marker segment SIZ
    if bits <= 8:
        return None
    import imagecodecs

    values = imagecodecs.jpeg2k_decode(data)
    if values.dtype != np.uint16 or values.shape != (opened.height, opened.width, 3):
        return None
    top = (1 << bits) - 1
    return np.asarray((values[..., ::-1].astype(np.uint32) * 65535 + top // 2) // top).astype(np.uint16)
