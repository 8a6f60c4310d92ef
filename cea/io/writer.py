"""The one writer of photographs: what the photograph had is kept where the format can hold it, else it is said.

The rule: a picture is always written. Sixteen bits become eight, and transparent pixels lie on white paper, where the
format has no place for them; each is a note. Pixels are sRGB, and colour pictures carry its profile.
"""

from __future__ import annotations

import io
import math
import zlib
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageCms
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from cea.errors import ImageError
from cea.io.images import encode_png, write_bytes
from cea.io.photo import Photo
from cea.levels import to_uint8

FORMATS = {
    **dict.fromkeys((".png",), "PNG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **dict.fromkeys((".jpg", ".jpeg"), "JPEG"),
    **dict.fromkeys((".webp",), "WebP"),
    **dict.fromkeys((".ppm", ".pgm", ".pnm"), "PNM"),
}
"""What is written, by suffix."""

LOSSLESS_SUFFIXES = frozenset(suffix for suffix, name in FORMATS.items() if name != "JPEG")
"""Where pixels are read back as they were (of 8 bits; of 16, too, but for WebP)."""

_DEEP, _WITH_ALPHA = ("PNG", "TIFF", "PNM"), ("PNG", "TIFF", "WebP")
_LONGEST_SIDE = {"JPEG": 65535, "WebP": 16383}
_STRUCTURE = frozenset(
    {254, 255, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 282, 283, 284, 296, 301, 317, 320, 322, 323, 324}
    | {325, 330, 332, 338, 339, 347, 512, 513, 514, 529, 530, 531, 532, 700, 33723, 34377, 34675, 37724}
)
"""Tags that say how the old file held its pixels, and packets of other standards."""

_EXIF_IFD, _GPS_IFD, _WIDTH, _HEIGHT = 0x8769, 0x8825, 0xA002, 0xA003


def write_photo(path: Path, photo: Photo, *, quality: int = 95) -> tuple[str, ...]:
    """Write ``photo`` to ``path``, whole or not at all, in the format that its suffix names.

    Args:
        path: ending in one of `FORMATS`.
        photo: with the pixels to be written, (H, W, 3) uint8 or uint16 sRGB; one channel is written where it is grey
            and its channels are equal. Its alpha, EXIF, resolution and profile are kept where the format can.
        quality: of a JPEG, 1 to 100; WebP is lossless.

    Returns:
        What the format could not hold, a sentence each.

    Raises:
        ImageError: another suffix, or more pixels than the format holds.
        DataError: it cannot be written there.
    """
    data, notes = encode_photo(photo, path.suffix, quality=quality, label=str(path))
    write_bytes(path, data)
    return notes


def encode_photo(photo: Photo, suffix: str, *, quality: int = 95, label: str = "") -> tuple[bytes, tuple[str, ...]]:
    """The bytes of a file, and what it could not hold; the same bytes on every run. See `write_photo`.

    Raises:
        ImageError: as `write_photo`; ``label`` is in the message.
    """
    kind = FORMATS.get(suffix.lower())
    if kind is None:
        raise ImageError(
            f"{label or suffix}: a format that is not written here",
            expected=f"a suffix out of {', '.join(FORMATS)}",
            remedy="change the suffix",
        )
    photo, notes = _held(photo, kind)
    longest = _LONGEST_SIDE.get(kind, 1 << 31)
    if max(photo.rgb.shape[:2]) > longest:
        raise ImageError(
            f"{label or suffix}: {photo.rgb.shape[1]}x{photo.rgb.shape[0]} pixels",
            expected=f"at most {longest} on a side, all that {kind} holds",
            remedy="write .png or .tif",
        )
    if kind == "PNG":
        return _png(photo), notes
    if kind == "TIFF":
        return _tiff(photo), notes
    if kind == "PNM":
        return _pnm(photo, suffix.lower(), label), notes
    return _by_pillow(photo, kind, quality), notes


def _held(photo: Photo, kind: str) -> tuple[Photo, tuple[str, ...]]:
    """The photograph as the format can hold it, and what was done."""
    notes = []
    if photo.alpha is not None and kind not in _WITH_ALPHA:
        photo = replace(photo, rgb=photo.over_white(), alpha=None)
        notes.append(f"laid over white: {kind} holds no transparency")
    if photo.rgb.dtype == np.uint16 and kind not in _DEEP:
        alpha = None if photo.alpha is None else to_uint8(photo.alpha)
        photo = replace(photo, rgb=to_uint8(photo.rgb), alpha=alpha)
        notes.append(f"reduced to 8 bits: {kind} holds no more")
    assert photo.rgb.dtype in (np.uint8, np.uint16), photo.rgb.dtype
    return photo, tuple(notes)


def _colours(photo: Photo) -> NDArray[Any]:
    """(H, W, 3), or (H, W) where it is grey."""
    is_grey = photo.grey and bool((photo.rgb == photo.rgb[..., :1]).all())
    return np.ascontiguousarray(photo.rgb[..., 0] if is_grey else photo.rgb)


def _png(photo: Photo) -> bytes:
    colours = _colours(photo)
    if photo.alpha is None:
        data = encode_png(colours)
    else:
        ok, coded = cv2.imencode(".png", np.dstack([photo.rgb[..., ::-1], photo.alpha]))
        assert ok
        data = coded.tobytes()
    chunks = []
    if colours.ndim == 3 or photo.alpha is not None:
        chunks.append((b"iCCP", b"sRGB\0\0" + zlib.compress(_profile(photo), 9)))
    if dpi := _resolution(photo):
        per_metre = [round(value / 0.0254).to_bytes(4, "big") for value in dpi]
        chunks.append((b"pHYs", b"".join([*per_metre, b"\x01"])))
    if exif := _exif(photo):
        chunks.append((b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")))
    return data[:33] + b"".join(_chunk(*chunk) for chunk in chunks) + data[33:]


def _chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")


def _pnm(photo: Photo, suffix: str, label: str) -> bytes:
    colours = _colours(photo)
    if suffix == ".ppm":
        colours = photo.rgb
    elif suffix == ".pgm" and colours.ndim == 3:
        raise ImageError(
            f"{label or suffix}: a colour picture", expected="a grey one in a .pgm", remedy="change the suffix to .ppm"
        )
    magic = b"P6" if colours.ndim == 3 else b"P5"
    top = np.iinfo(colours.dtype).max
    header = magic + b"\n%d %d\n%d\n" % (colours.shape[1], colours.shape[0], top)
    return header + colours.astype(">u2" if top > 255 else np.uint8).tobytes()


def _by_pillow(photo: Photo, kind: str, quality: int) -> bytes:
    colours = _colours(photo)
    if photo.alpha is not None:
        colours = np.dstack([photo.rgb, photo.alpha])
    options: dict[str, Any] = {"icc_profile": _profile(photo)} if colours.ndim == 3 else {}
    if exif := _exif(photo):
        options["exif"] = exif.tobytes()
    if kind == "JPEG":
        options |= {"quality": quality, "subsampling": 0}
        if dpi := _resolution(photo):
            options["dpi"] = dpi
    else:
        options |= {"lossless": True, "exact": True, "method": 4}
    file = io.BytesIO()
    PilImage.fromarray(colours).save(file, kind.upper(), **options)
    return file.getvalue()


def _tiff(photo: Photo) -> bytes:
    """Deflate with a predictor; EXIF's own directories are put behind the picture, and its tags point there.

    tifffile writes no tags of these numbers, so that their neighbours hold the place.
    """
    import tifffile

    colours = _colours(photo)
    options: dict[str, Any] = {"photometric": "rgb" if colours.ndim == 3 else "minisblack"}
    if photo.alpha is not None:
        colours = np.dstack([colours, photo.alpha])
        options |= {"extrasamples": ("unassalpha",), "planarconfig": "contig"}
    if options["photometric"] == "rgb":
        options["iccprofile"] = _profile(photo)
    if dpi := _resolution(photo):
        options |= {"resolution": dpi, "resolutionunit": "INCH"}
    exif = _exif(photo) or PilImage.Exif()
    inner = {tag: values for tag in (_EXIF_IFD, _GPS_IFD) if (values := dict(exif.get_ifd(tag)))}
    texts = [(tag, "s", 0, value, True) for tag, value in exif.items() if isinstance(value, str) and value.isascii()]
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        colours,
        compression="zlib",
        predictor=True,
        metadata=None,
        software=False,
        byteorder="<",
        extratags=[*texts, *((tag - 1, "I", 1, 0, True) for tag in inner)],
        **options,
    )
    for tag, values in inner.items():
        offset = file.seek(0, io.SEEK_END) + file.write(b"\0" * (file.tell() % 2))
        file.write(_directory(values, offset))
        _point(file, tag, offset)
    return file.getvalue()


def _directory(values: dict[int, Any], offset: int) -> bytes:
    """A directory of EXIF, with no nested one, as it stands at ``offset`` of a little-endian file."""
    directory = ImageFileDirectory_v2(b"II*\0\0\0\0\0")
    for tag, value in values.items():
        if not isinstance(value, dict):
            directory[tag] = value
    return directory.tobytes(offset)


def _point(file: io.BytesIO, tag: int, offset: int) -> None:
    """Let ``tag`` of the first picture, whose place its neighbour holds, point to ``offset``."""
    import tifffile

    file.seek(0)
    with tifffile.TiffFile(file) as made:
        entry = made.pages.first.tags[tag - 1].offset
    file.seek(entry)
    file.write(tag.to_bytes(2, "little"))
    file.seek(entry + 8)
    file.write(offset.to_bytes(4, "little"))


def _exif(photo: Photo) -> PilImage.Exif | None:
    """EXIF that is true of the pixels as they are: upright, of this size; None where none, or damaged."""
    if not photo.exif:
        return None
    try:
        exif = PilImage.Exif()
        exif.load(photo.exif)
        for tag in _STRUCTURE & set(exif):
            del exif[tag]
        inner = exif.get_ifd(_EXIF_IFD)
        for tag, length in ((_WIDTH, photo.rgb.shape[1]), (_HEIGHT, photo.rgb.shape[0])):
            if tag in inner:
                inner[tag] = length
        _directory(dict(inner), 0)
        _directory(dict(exif.get_ifd(_GPS_IFD)), 0)
        return exif if len(exif) and exif.tobytes() else None
    except Exception:  # damaged EXIF raises anything
        return None


def _resolution(photo: Photo) -> tuple[float, float] | None:
    """Pixels per inch, where they make sense: 1 is what TIFF says where nothing is known."""
    return photo.dpi if photo.dpi and all(math.isfinite(value) and 1 < value < 65536 for value in photo.dpi) else None


def _profile(photo: Photo) -> bytes:
    return photo.icc or _srgb()


@cache
def _srgb() -> bytes:
    """The profile of sRGB, without the date of its making: the same bytes on every run."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    data[24:36], data[84:100] = bytes(12), bytes(16)
    return bytes(data)
