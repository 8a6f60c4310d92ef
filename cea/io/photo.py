"""Photographs as files declare them: the one reader of foreign images.

What a file says of itself is believed: sample format and range, photometric interpretation, orientation, alpha, colour
profile, number of pictures. What cannot be read rightly is refused by name; damaged metadata is left out, and never
condemns sound pixels. TIFF goes through tifffile, deep PNG and PNM through OpenCV, all else through Pillow, whose
bundled libjpeg-turbo decodes JPEG the same way on every machine that has the wheel of requirements.lock.
"""

from __future__ import annotations

import io
import logging
import os
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageCms, PngImagePlugin, UnidentifiedImageError

from cea.errors import ImageError
from cea.io.colour_signals import agrees_with_itself, gamma_of, in_srgb_from_gamma, is_deep_avif, is_srgb, signal_of
from cea.io.tiff_directory import check_directory
from cea.levels import to_uint16

_EXPECTED = "a complete PNG, JPEG, TIFF, WebP, AVIF, JPEG 2000, GIF, BMP, TGA, PNM"
_LARGEST_MEGAPIXELS = 250
"""Above this a header is taken for damaged or hostile, and nothing is allocated; `LIMIT` allows more."""

LIMIT = "CEA_LARGEST_MEGAPIXELS"
"""The variable of the environment that allows larger pictures: real panoramas."""

_MOST_CHANNELS = 16
"""Of a TIFF that is decoded at all; more than four are refused afterwards, by what they are."""

_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "AVIF", "JPEG2000", "GIF", "BMP", "TGA", "PPM")
"""What Pillow may open: each of these is tested, and none starts another program, as PostScript does."""

UNREAD = {
    "HEIC": re.compile(rb"....ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1)(?!.{0,24}avif)", re.DOTALL),
    "JPEG XL": re.compile(rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n"),
    "OpenEXR": re.compile(rb"v/1\x01"),
    "Photoshop": re.compile(rb"8BPS"),
    "PDF": re.compile(rb"%PDF"),
    "PostScript": re.compile(rb"%!PS"),
    "Radiance HDR": re.compile(rb"#\?R"),
    "Canon raw": re.compile(rb"....ftypcrx ", re.DOTALL),
    "Fuji raw": re.compile(rb"FUJIFILMCCD-RAW"),
}
"""How pictures begin that are refused by name."""

PilImage.MAX_IMAGE_PIXELS = None  # ours is the limit, checked before anything is decoded
logging.getLogger("tifffile").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class Photo:
    """One photograph.

    Attributes:
        rgb: (H, W, 3) sRGB, upright; uint8, or uint16 over its full range.
        alpha: (H, W) of the same dtype, or None where every pixel is opaque.
        grey: whether the file holds one channel.
        icc: the profile of the pixels as they are here, to be written beside them; None for plain sRGB.
        exif: EXIF with its orientation reset; None where there is none, or it is damaged.
        dpi: horizontal and vertical resolution, where stated.
        notes: what was done that one may want to know, a sentence each.
    """

    rgb: NDArray[Any]
    alpha: NDArray[Any] | None = None
    grey: bool = False
    icc: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    notes: tuple[str, ...] = field(default=())

    def over_white(self) -> NDArray[Any]:
        """The picture on white paper, (H, W, 3): what transparent pixels mean where alpha cannot be kept."""
        if self.alpha is None:
            return self.rgb
        top = np.iinfo(self.rgb.dtype).max
        alpha = self.alpha[..., None].astype(np.uint64)
        mixed = (self.rgb * alpha + top * (top - alpha) + top // 2) // top
        return np.asarray(mixed.astype(self.rgb.dtype))


def decode_photo(data: bytes, label: str, *, convert: bool = True) -> Photo:
    """The photograph in the bytes of a file; by content, whatever its suffix says.

    Args:
        data: the file.
        label: its name, for messages.
        convert: whether another colour profile is converted to sRGB; else the numbers are taken as they are.

    Raises:
        ImageError: naming ``label``: truncated, not an image, or one that cannot be read rightly.
    """
    with _foreign(label):
        if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return _tiff(data, convert)
        if data[:2] in (b"P2", b"P3", b"P5", b"P6"):
            return _pnm(data)
        unread = next((name for name, begins in UNREAD.items() if begins.match(data)), None)
        if unread:
            raise _RefusedError(f"{unread}, which is not read here", "convert it to PNG or TIFF")
        return _plain(data, convert)


class _RefusedError(Exception):
    """What cannot be read rightly, with what to do about it."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.remedy = remedy


@contextmanager
def _foreign(label: str) -> Iterator[None]:
    """Whatever a reader raises on foreign bytes becomes one error that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ImageError:
        raise
    except _RefusedError as error:
        raise ImageError(f"{label}: {error}", expected="pixels whose meaning is known", remedy=error.remedy) from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{label}: not an image in a known format", expected=_EXPECTED, remedy="replace or remove the file"
        ) from error
    except Exception as error:  # third-party decoders raise anything on damaged input
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ImageError(f"{label}: {reason}", expected=_EXPECTED, remedy="replace or remove the file") from error


def largest_pixels() -> int:
    """The most pixels that a picture may have to be read."""
    text = os.environ.get(LIMIT, "")
    return (int(text) if text.isdecimal() else _LARGEST_MEGAPIXELS) * 10**6


def _check_size(width: int, height: int) -> None:
    most = largest_pixels()
    if width * height > most:
        raise _RefusedError(
            f"{width}x{height} pixels by its header, and at most {most // 10**6} megapixels are read",
            f"set {LIMIT}={-(-width * height // 10**6)} if they are real",
        )


def _plain(data: bytes, convert: bool) -> Photo:
    """Everything that Pillow reads, and PNG with 16 bits, which it reads for all but the pixels."""
    notes: list[str] = []
    opened = _opened(data, notes)
    if data[:4] == b"GIF8":
        _check_gif(data)
    if opened.format == "JPEG2000":
        _check_jpeg2000(data)
    deep = _deep_png(data)
    deep = _deep_jpeg2000(data, opened) if deep is None else deep
    pixels = _of_opencv(deep) if deep is not None else _of_pillow(opened)
    if opened.format == "AVIF" and not agrees_with_itself(data):
        raise ValueError("a damaged part of the picture")
    if opened.format == "AVIF" and is_deep_avif(data):
        notes.append("reduced to 8 bits, as AVIF is read here")
    photo = replace(pixels, dpi=_dpi(opened), notes=tuple(notes))
    photo = _turned(photo, _orientation(opened))
    profile = opened.info.get("icc_profile")
    photo = _in_srgb(photo, profile, opened.mode) if convert and profile else _as_signalled(photo, data, convert)
    return replace(photo, exif=_exif(opened))


def _as_signalled(photo: Photo, data: bytes, convert: bool) -> Photo:
    """Colours without a profile, by what else the file says of them.

    Raises:
        _RefusedError: a colour space that is not converted, such as those of HDR.
    """
    signal = signal_of(data)
    if convert and signal is not None and not is_srgb(*signal):
        raise _RefusedError(
            "colour primaries {} and transfer {} of H.273, which are not those of sRGB".format(*signal),
            "convert it to sRGB, or give it a colour profile",
        )
    gamma = gamma_of(data) if convert and signal is None else None
    if gamma is None:
        return photo
    said = f"converted from gamma {gamma:.4g} to sRGB"
    return replace(photo, rgb=in_srgb_from_gamma(photo.rgb, gamma), notes=(*photo.notes, said))


def _loaded(data: bytes) -> PilImage.Image:
    opened = PilImage.open(io.BytesIO(data), formats=_FORMATS)
    _check_size(*opened.size)
    opened.load()
    return opened


def _opened(data: bytes, notes: list[str]) -> PilImage.Image:
    """The first picture of the file, loaded; without its metadata where these are damaged."""
    try:
        opened = _loaded(data)
    except _RefusedError:
        raise
    except UnidentifiedImageError:
        kind = _odd_jpeg(data)
        if kind is None:
            raise
        raise _RefusedError(f"{kind}, which is not read here", "convert it to PNG or TIFF") from None
    except Exception:
        bare = _without_metadata(data)
        if bare is None or bare == data:
            raise
        opened = _loaded(bare)
        notes.append("its metadata are damaged and were left out")
    frames = getattr(opened, "n_frames", 1)
    if frames > 1:
        notes.append(f"the first of its {frames} pictures")
    return opened


def _odd_jpeg(data: bytes) -> str | None:
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


def _without_metadata(data: bytes) -> bytes | None:
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


def _deep_png(data: bytes) -> NDArray[Any] | None:
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


def _check_gif(data: bytes) -> None:
    """Refuse a GIF whose first picture has no palette, is not where the blocks before it end (Pillow looks for it),
    does not end where a block begins, or does not fill the screen that it is shown on.

    Raises:
        ValueError: saying which.
        _RefusedError: a smaller picture: what surrounds it is another colour in each program.
    """
    flags = data[10]
    offset = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while data[offset : offset + 1] == b"!":  # an extension: its label, then blocks
        offset = _behind_blocks(data, offset + 2)
    if data[offset : offset + 1] != b"," or len(data) < offset + 11:
        raise ValueError("a damaged part of the picture")
    if data[offset + 5 : offset + 9] != data[6:10]:
        raise _RefusedError(
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


_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT")


def _check_jpeg2000(data: bytes) -> None:
    """Refuse a JPEG 2000 whose colours differ in depth or resolution: what becomes of these depends on the decoder.

    Raises:
        _RefusedError: saying so.
    """
    start = data.find(b"\xff\x4f\xff\x51") + 42  # the components in the marker segment SIZ, three bytes each
    count = min(3, int.from_bytes(data[start - 2 : start], "big"))
    kinds = {data[place : place + 3] for place in range(start, start + 3 * count, 3)}
    if len(kinds) != 1 or kinds.pop()[1:] != b"\1\1":
        raise _RefusedError("channels of different depth or resolution", "save it anew")


def _deep_jpeg2000(data: bytes, opened: PilImage.Image) -> NDArray[Any] | None:
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


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    offset = 8
    while offset + 12 <= len(data):
        length = int.from_bytes(data[offset : offset + 4], "big")
        yield data[offset + 4 : offset + 8], data[offset + 8 : offset + 12 + length]
        offset += 12 + length


def _of_opencv(pixels: NDArray[Any]) -> Photo:
    """(H, W), (H, W, 3) BGR or (H, W, 4) BGRA."""
    if pixels.ndim == 2:
        return Photo(np.repeat(pixels[..., None], 3, axis=2), grey=True)
    alpha = np.ascontiguousarray(pixels[..., 3]) if pixels.shape[2] == 4 else None
    return Photo(np.ascontiguousarray(pixels[..., 2::-1]), _opaque_is_none(alpha))


def _opaque_is_none(alpha: NDArray[Any] | None) -> NDArray[Any] | None:
    return None if alpha is None or int(alpha.min()) == np.iinfo(alpha.dtype).max else alpha


def _of_pillow(picture: PilImage.Image) -> Photo:
    if picture.mode in ("F", "I"):
        raise _RefusedError("32-bit pixels, and nothing says which value is white", "convert it to 16 bits")
    if picture.mode.startswith("I;16"):
        return _of_opencv(np.asarray(picture).astype(np.uint16))
    grey = picture.mode in ("1", "L", "LA")
    if picture.has_transparency_data:
        rgba = np.asarray(picture.convert("RGBA"))
        return Photo(np.ascontiguousarray(rgba[..., :3]), _opaque_is_none(np.ascontiguousarray(rgba[..., 3])), grey)
    return Photo(np.asarray(picture.convert("RGB")), grey=grey)


_TURNS = {1: (), 2: ("lr",), 3: ("180",), 4: ("ud",), 5: ("t",), 6: ("cw",), 7: ("t", "180"), 8: ("ccw",)}


def _turned(photo: Photo, orientation: int) -> Photo:
    """Upright, by EXIF's number."""

    def turn(image: NDArray[Any]) -> NDArray[Any]:
        for step in _TURNS.get(orientation, ()):
            image = {
                "lr": lambda x: x[:, ::-1],
                "ud": lambda x: x[::-1],
                "180": lambda x: x[::-1, ::-1],
                "t": lambda x: x.swapaxes(0, 1),
                "cw": lambda x: np.rot90(x, -1),
                "ccw": lambda x: np.rot90(x, 1),
            }[step](image)
        return np.ascontiguousarray(image)

    if orientation in (0, 1) or orientation not in _TURNS:
        return photo
    return replace(photo, rgb=turn(photo.rgb), alpha=None if photo.alpha is None else turn(photo.alpha))


def _orientation(opened: PilImage.Image) -> int:
    try:
        value = opened.getexif().get(0x0112, 1)
        return int(value) if isinstance(value, int) and 1 <= value <= 8 else 1
    except Exception:  # damaged EXIF raises anything
        return 1


def _exif(opened: PilImage.Image) -> bytes | None:
    try:
        exif = opened.getexif()
        if not exif:
            return None
        exif[0x0112] = 1
        return exif.tobytes()
    except Exception:
        return None


def _dpi(opened: PilImage.Image) -> tuple[float, float] | None:
    value = opened.info.get("dpi")
    try:
        return (float(value[0]), float(value[1])) if value else None
    except (TypeError, ValueError, ZeroDivisionError, IndexError):
        return None


def _in_srgb(photo: Photo, profile: bytes | None, mode: str) -> Photo:
    """Colours of another profile as sRGB, which everything here works in; a damaged profile counts as none.

    Raises:
        _RefusedError: 16 bits per channel in a profile that is not converted.
    """
    if not profile or mode in ("CMYK", "LAB"):
        return photo  # Pillow has made RGB of these already
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = ImageCms.getProfileDescription(source).strip() or "unnamed"
        kind = "L" if source.profile.xcolor_space.strip() == "GRAY" else "RGB"
        convert = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), kind, "RGB")
        probe = _probe().convert(kind)
        same = np.abs(np.asarray(convert.apply(probe), int) - np.asarray(probe.convert("RGB"), int)).max() <= 1
    except Exception:  # a profile that does not parse
        return replace(photo, notes=(*photo.notes, "its colour profile is damaged: taken for sRGB"))
    if same:
        return photo
    said = replace(photo, notes=(*photo.notes, f"converted from the colour profile {name!r} to sRGB"))
    if photo.rgb.dtype != np.uint8:
        return replace(said, rgb=_deep_in_srgb(photo.rgb, profile, name, kind))
    picture = PilImage.fromarray(photo.rgb[..., 0] if kind == "L" else photo.rgb)
    converted = np.asarray(convert.apply(picture))
    return replace(said, rgb=converted)


def _deep_in_srgb(rgb: NDArray[Any], profile: bytes, name: str, kind: str) -> NDArray[Any]:
    """(H, W, 3) uint16 in another profile as sRGB; Pillow's Little CMS has 8 bits, that of imagecodecs 16.

    Raises:
        _RefusedError: a profile that it does not convert from.
    """
    import imagecodecs

    refused = _RefusedError(f"16 bits per channel in the colour profile {name!r}", "convert it to sRGB, or to 8 bits")
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


def _pnm(data: bytes) -> Photo:
    """Netpbm; the greatest value of the header is white."""
    header = re.match(rb"P[2356](?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)\s", data)
    if header is None:
        raise ValueError("a header that is not Netpbm's")
    width, height, top = (int(group) for group in header.groups())
    _check_size(width, height)
    if not 1 <= top <= 65535 or not width * height:
        raise ValueError(f"a greatest value of {top}")
    channels = 3 if data[1:2] in b"36" else 1
    count = width * height * channels
    if data[1:2] in b"23":
        values = np.array(data[header.end() :].split()[:count], np.int64)
    else:
        kind = np.dtype(">u2") if top > 255 else np.dtype(np.uint8)
        body = data[header.end() : header.end() + count * kind.itemsize]
        values = np.frombuffer(body[: len(body) // kind.itemsize * kind.itemsize], kind).astype(np.int64)
    if len(values) < count:
        raise ValueError("image file is truncated")
    if values.max(initial=0) > top:
        raise ValueError(f"a value above the greatest one of its header, {top}")
    full = 65535 if top > 255 else 255
    scaled = ((values * full + top // 2) // top).astype(np.uint16 if top > 255 else np.uint8)
    pixels = scaled.reshape(height, width, channels)
    return Photo(np.ascontiguousarray(np.repeat(pixels, 3 // channels, axis=2)), grey=channels == 1)


def _tiff(data: bytes, convert: bool) -> Photo:
    """TIFF and BigTIFF by their tags; what tifffile has no sure reading of goes to Pillow, or is refused."""
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page, count = file.pages.first, len(file.pages)
        _check_size(page.imagewidth, page.imagelength * max(1, page.imagedepth))
        if page.samplesperpixel > _MOST_CHANNELS:
            raise _RefusedError(f"{page.samplesperpixel} channels", "save one picture with at most one extra channel")
        check_directory(data, file)
        notes = (f"the first of its {count} pictures",) if count > 1 else ()
        if 262 not in page.tags:
            raise _RefusedError(
                "no tag PhotometricInterpretation, so nothing says which value is white", "save it anew"
            )
        kind = page.photometric.name if hasattr(page.photometric, "name") else str(page.photometric)
        if kind in ("CFA", "LINEAR_RAW"):
            raise _RefusedError("a camera's raw samples, which are not read here", "develop it to TIFF or PNG")
        if kind not in ("MINISBLACK", "MINISWHITE", "RGB") or page.bitspersample < 8:
            return _plain(data, convert)
        if not all(page.databytecounts):
            raise ValueError("parts of the picture are missing")
        pixels = _full_range(page.asarray(), page)
        orientation = int(page.tags["Orientation"].value) if "Orientation" in page.tags else 1
        profile = page.tags["InterColorProfile"].value if "InterColorProfile" in page.tags else None
        photo = _of_channels(pixels, page, kind)
    exif, dpi = _of_tags(data)
    photo = _turned(replace(photo, notes=(*notes, *photo.notes), exif=exif, dpi=dpi), orientation)
    return _in_srgb(photo, profile if convert else None, "RGB")


def _of_tags(data: bytes) -> tuple[bytes | None, tuple[float, float] | None]:
    """EXIF and resolution of a TIFF, as Pillow reads them; None each where it does not know the kind of samples."""
    try:
        opened = PilImage.open(io.BytesIO(data), formats=("TIFF",))
    except Exception:  # damaged tags raise anything
        return None, None
    return _exif(opened), _dpi(opened)


def _full_range(values: NDArray[Any], page: Any) -> NDArray[Any]:
    """Samples as uint8 or uint16 over their full range.

    Raises:
        _RefusedError: samples whose white is not known.
    """
    if values.dtype in (np.uint8, np.uint16):
        bits = int(page.bitspersample)
        if bits in (8, 16):
            return values
        return np.asarray((values.astype(np.uint32) * 65535 + (1 << bits) // 2) // ((1 << bits) - 1)).astype(np.uint16)
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise _RefusedError("NaN or infinite values", "replace them")
        if values.min() < 0 or values.max() > 1:
            raise _RefusedError(
                f"float values from {values.min():g} to {values.max():g}, and nothing says which is white",
                "scale it to [0, 1], or convert it to 16 bits",
            )
        return to_uint16(values)
    raise _RefusedError(f"samples of type {values.dtype}, and nothing says which is white", "convert it to 16 bits")


def _of_channels(values: NDArray[Any], page: Any, kind: str) -> Photo:
    """Channels last, white high, alpha apart."""
    if values.ndim > 2 and page.planarconfig == 2 and values.shape[0] == page.samplesperpixel:
        values = np.moveaxis(values, 0, -1)
    values = values if values.ndim == 3 else values[..., None]
    colours = 3 if kind == "RGB" else 1
    if values.ndim != 3 or values.shape[-1] not in (colours, colours + 1):
        raise _RefusedError(f"an array of shape {values.shape}", "save one picture with at most one extra channel")
    extra = values[..., colours] if values.shape[-1] > colours else None
    is_alpha = extra is not None and any(int(each) in _ALPHA for each in page.extrasamples or ())
    picture, alpha = values[..., :colours], extra if is_alpha else None
    if kind == "MINISWHITE":
        picture = np.iinfo(values.dtype).max - picture
    if alpha is not None and page.extrasamples and int(page.extrasamples[0]) == 1:
        top = np.iinfo(values.dtype).max
        grown = picture.astype(np.uint64) * top // np.maximum(alpha[..., None], 1)
        picture = np.minimum(grown, top).astype(values.dtype)
    rgb = np.ascontiguousarray(np.repeat(picture, 3 // colours, axis=2))
    notes = () if extra is None or is_alpha else ("its extra channel, of unknown meaning, was left out",)
    return Photo(rgb, _opaque_is_none(alpha), grey=colours == 1, notes=notes)


_ALPHA = (1, 2)
"""ExtraSamples that are transparency: multiplied in, and not."""

PngImagePlugin.MAX_TEXT_CHUNK = 1 << 26
PngImagePlugin.MAX_TEXT_MEMORY = 1 << 26
