"""Photographs as files declare them: the one reader of foreign images.

What a file says of itself is believed: sample format and range, photometric interpretation, orientation, alpha, colour
profile, number of pictures. What cannot be read rightly is refused by name; damaged metadata is left out, and never
condemns sound pixels. TIFF goes through tifffile, deep PNG and PNM through OpenCV, all else through Pillow, whose
bundled libjpeg-turbo decodes JPEG the same way on every machine that has the wheel of requirements.lock.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import PngImagePlugin, UnidentifiedImageError

from cea.errors import ImageError
from cea.io.colour_profiles import in_srgb
from cea.io.colour_signals import agrees_with_itself, gamma_of, in_srgb_from_gamma, is_deep_avif, is_srgb, signal_of
from cea.io.containers import (
    check_gif,
    check_jpeg2000,
    deep_jpeg2000,
    deep_png,
    odd_jpeg,
    without_metadata,
)
from cea.io.limits import RefusedError, check_size
from cea.io.tiff_directory import check_directory, full_range

_EXPECTED = "a complete PNG, JPEG, TIFF, WebP, AVIF, JPEG 2000, GIF, BMP, TGA, PNM"

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
            raise RefusedError(f"{unread}, which is not read here", "convert it to PNG or TIFF")
        return _plain(data, convert)


@contextmanager
def _foreign(label: str) -> Iterator[None]:
    """Whatever a reader raises on foreign bytes becomes one error that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ImageError:
        raise
    except RefusedError as error:
        raise ImageError(f"{label}: {error}", expected="pixels whose meaning is known", remedy=error.remedy) from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{label}: not an image in a known format", expected=_EXPECTED, remedy="replace or remove the file"
        ) from error
    except Exception as error:  # third-party decoders raise anything on damaged input
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ImageError(f"{label}: {reason}", expected=_EXPECTED, remedy="replace or remove the file") from error


def _plain(data: bytes, convert: bool) -> Photo:
    """Everything that Pillow reads, and PNG with 16 bits, which it reads for all but the pixels."""
    notes: list[str] = []
    opened = _opened(data, notes)
    if data[:4] == b"GIF8":
        check_gif(data)
    if opened.format == "JPEG2000":
        check_jpeg2000(data)
    deep = deep_png(data)
    deep = deep_jpeg2000(data, opened) if deep is None else deep
    pixels = _of_opencv(deep) if deep is not None else _of_pillow(opened)
    if opened.format == "AVIF" and not agrees_with_itself(data):
        raise ValueError("a damaged part of the picture")
    if opened.format == "AVIF" and is_deep_avif(data):
        notes.append("reduced to 8 bits, as AVIF is read here")
    photo = replace(pixels, dpi=_dpi(opened), notes=tuple(notes))
    photo = _turned(photo, _orientation(opened))
    profile = opened.info.get("icc_profile")
    photo = _converted(photo, profile, opened.mode) if convert and profile else _as_signalled(photo, data, convert)
    return replace(photo, exif=_exif(opened))


def _as_signalled(photo: Photo, data: bytes, convert: bool) -> Photo:
    """Colours without a profile, by what else the file says of them.

    Raises:
        RefusedError: a colour space that is not converted, such as those of HDR.
    """
    signal = signal_of(data)
    if convert and signal is not None and not is_srgb(*signal):
        raise RefusedError(
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
    check_size(*opened.size)
    opened.load()
    return opened


def _opened(data: bytes, notes: list[str]) -> PilImage.Image:
    """The first picture of the file, loaded; without its metadata where these are damaged."""
    try:
        opened = _loaded(data)
    except RefusedError:
        raise
    except UnidentifiedImageError:
        kind = odd_jpeg(data)
        if kind is None:
            raise
        raise RefusedError(f"{kind}, which is not read here", "convert it to PNG or TIFF") from None
    except Exception:
        bare = without_metadata(data)
        if bare is None or bare == data:
            raise
        opened = _loaded(bare)
        notes.append("its metadata are damaged and were left out")
    frames = getattr(opened, "n_frames", 1)
    if frames > 1:
        notes.append(f"the first of its {frames} pictures")
    return opened


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
        raise RefusedError("32-bit pixels, and nothing says which value is white", "convert it to 16 bits")
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


def _converted(photo: Photo, profile: bytes | None, mode: str) -> Photo:
    """The photograph in sRGB; Pillow has made RGB of CMYK and LAB already."""
    if not profile or mode in ("CMYK", "LAB"):
        return photo
    rgb, said = in_srgb(photo.rgb, profile)
    return photo if said is None else replace(photo, rgb=rgb, notes=(*photo.notes, said))


def _pnm(data: bytes) -> Photo:
    """Netpbm; the greatest value of the header is white."""
    header = re.match(rb"P[2356](?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)\s", data)
    if header is None:
        raise ValueError("a header that is not Netpbm's")
    width, height, top = (int(group) for group in header.groups())
    check_size(width, height)
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
        check_size(page.imagewidth, page.imagelength * max(1, page.imagedepth))
        if page.samplesperpixel > _MOST_CHANNELS:
            raise RefusedError(f"{page.samplesperpixel} channels", "save one picture with at most one extra channel")
        check_directory(data, file)
        notes = (f"the first of its {count} pictures",) if count > 1 else ()
        if 262 not in page.tags:
            raise RefusedError("no tag PhotometricInterpretation, so nothing says which value is white", "save it anew")
        kind = page.photometric.name if hasattr(page.photometric, "name") else str(page.photometric)
        if kind in ("CFA", "LINEAR_RAW"):
            raise RefusedError("a camera's raw samples, which are not read here", "develop it to TIFF or PNG")
        if kind not in ("MINISBLACK", "MINISWHITE", "RGB") or page.bitspersample < 8:
            return _plain(data, convert)
        if not all(page.databytecounts):
            raise ValueError("parts of the picture are missing")
        pixels = full_range(page.asarray(), page)
        orientation = int(page.tags["Orientation"].value) if "Orientation" in page.tags else 1
        profile = page.tags["InterColorProfile"].value if "InterColorProfile" in page.tags else None
        photo = _of_channels(pixels, page, kind)
    exif, dpi = _of_tags(data)
    photo = _turned(replace(photo, notes=(*notes, *photo.notes), exif=exif, dpi=dpi), orientation)
    return _converted(photo, profile if convert else None, "RGB")


def _of_tags(data: bytes) -> tuple[bytes | None, tuple[float, float] | None]:
    """EXIF and resolution of a TIFF, as Pillow reads them; None each where it does not know the kind of samples."""
    try:
        opened = PilImage.open(io.BytesIO(data), formats=("TIFF",))
    except Exception:  # damaged tags raise anything
        return None, None
    return _exif(opened), _dpi(opened)


def _of_channels(values: NDArray[Any], page: Any, kind: str) -> Photo:
    """Channels last, white high, alpha apart."""
    if values.ndim > 2 and page.planarconfig == 2 and values.shape[0] == page.samplesperpixel:
        values = np.moveaxis(values, 0, -1)
    values = values if values.ndim == 3 else values[..., None]
    colours = 3 if kind == "RGB" else 1
    if values.ndim != 3 or values.shape[-1] not in (colours, colours + 1):
        raise RefusedError(f"an array of shape {values.shape}", "save one picture with at most one extra channel")
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
