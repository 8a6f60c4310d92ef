"""docs/images.md says what the code does: every row of its tables is a case here, and every case a row."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image as PilImage

from cea.degradations.tools.files import SUFFIXES
from cea.errors import ImageError
from cea.io import limits
from cea.io import photo as reader
from cea.io.photo import Photo, decode_photo
from cea.io.walk import UNREAD_SUFFIXES
from cea.io.writer import FORMATS, encode_photo
from tests.field.pictures import (
    DEEP,
    FLAT,
    GAMMAS,
    GREY,
    GREY8,
    animated,
    bilevel_tiff,
    chunk,
    deep_png,
    exif,
    in_profile,
    matrix_profile,
    packed_tiff,
    pillow,
    png,
    tiff,
    with_chunk,
)

PAGE = (Path(__file__).resolve().parents[2] / "docs/images.md").read_text(encoding="utf-8")
ADOBE = matrix_profile(*GAMMAS["Adobe RGB"])


def rows(title: str) -> list[list[str]]:
    """The cells of the table whose first cell is ``title``, its own row first."""
    lines = PAGE[PAGE.index(f"| {title} |") :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if not line.startswith("|--")]


def is_picture(photo: Photo, dtype: type = np.uint8, tolerance: float = 0) -> bool:
    wanted = (DEEP if dtype is np.uint16 else FLAT).astype(int)
    return photo.rgb.dtype == dtype and bool(np.abs(photo.rgb.astype(int) - wanted).max() <= tolerance)


def is_grey(photo: Photo, tolerance: int = 0) -> bool:
    return photo.rgb.dtype == np.uint16 and bool(np.abs(photo.rgb[..., 0].astype(int) - GREY).max() <= tolerance)


def is_converted(photo: Photo) -> bool:
    return any("converted from the colour profile" in note for note in photo.notes)


def is_converted_right(photo: Photo) -> bool:
    return is_converted(photo) and is_picture(photo, np.uint8, 12)


def is_first_of_three(photo: Photo) -> bool:
    return "the first of its 3 pictures" in photo.notes


def is_white(photo: Photo) -> bool:
    return int(photo.rgb.min()) == 65535


def unphotometric() -> bytes:
    data = tiff(GREY, photometric="minisblack")
    return data.replace(b"\x06\x01\x03\x00", b"\x07\x01\x03\x00", 1)


def linear() -> np.ndarray:
    """The picture in light, of which its samples are the sRGB curve."""
    unit = DEEP / 65535
    return np.rint(np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4) * 65535).astype(int)


def hdr_avif() -> bytes:
    return imagecodecs.avif_encode(DEEP >> 6, level=95, bitspersample=10, primaries=9, transfer=16, matrix=9)


def small_gif() -> bytes:
    data = bytearray(pillow(GREY8, "GIF"))
    data[6:8] = struct.pack("<H", 99)
    return bytes(data)


PALETTE = pillow(PilImage.fromarray(FLAT).quantize(256), "PNG")
LAB_WORDS = "as Pillow converts them to RGB, 8 bits"
READ: dict[str, list[tuple[bytes, Callable[[Photo], bool] | str]]] = {
    "8 bits per channel": [(pillow(FLAT, "PNG"), is_picture), (tiff(FLAT, photometric="rgb"), is_picture)],
    "9 to 16 bits": [
        (deep_png(DEEP), lambda photo: is_picture(photo, np.uint16)),
        (tiff(DEEP, photometric="rgb", byteorder=">", bigtiff=True), lambda photo: is_picture(photo, np.uint16)),
        (packed_tiff(12), lambda photo: is_grey(photo, 9)),
    ],
    "the greatest value of a PGM or PPM": [(b"P5 1 1 1023 " + b"\x03\xff", is_white)],
    "white is zero (TIFF)": [(tiff(65535 - GREY, photometric="miniswhite"), is_grey)],
    "float16, float32 TIFF": [
        (tiff((DEEP / 65535).astype(np.float32), photometric="rgb"), lambda photo: is_picture(photo, np.uint16, 1)),
        (tiff(DEEP.astype(np.float32), photometric="rgb"), "nothing says which is white"),
        (tiff(np.full_like(DEEP, np.nan, np.float32), photometric="rgb"), "NaN"),
    ],
    "32-bit integers": [(tiff(DEEP.astype(np.int32), photometric="rgb"), "nothing says which is white")],
    "palette, bilevel, CMYK": [
        (PALETTE, lambda photo: is_picture(photo, np.uint8, 40)),
        (bilevel_tiff(white_is_zero=True, reversed_bits=False), lambda photo: photo.grey),
        (pillow(PilImage.fromarray(FLAT).convert("CMYK"), "TIFF"), is_picture),
    ],
    "a TIFF that does not say which value is white": [(unphotometric(), "nothing says which value is white")],
    "EXIF orientation": [
        (
            pillow(np.ascontiguousarray(np.rot90(FLAT, 1)), "PNG", exif=exif(6)),
            is_picture,
        )
    ],
    "alpha, transparent colours": [
        (deep_png(np.dstack([DEEP, DEEP[..., 0]])), lambda photo: np.array_equal(photo.alpha, DEEP[..., 0]))
    ],
    "a colour profile that is not sRGB, 8 bits": [
        (
            pillow(in_profile(ADOBE), "PNG", icc_profile=ADOBE),
            is_converted_right,
        )
    ],
    "the same with 16 bits": [
        (tiff(in_profile(ADOBE).astype(np.uint16) * 257, photometric="rgb", iccprofile=ADOBE), is_converted)
    ],
    "no profile, but code points": [
        (png(DEEP, 16, 2, chunk(b"cICP", bytes([9, 16, 0, 1]))), "primaries 9 and transfer 16 of H.273"),
        (png(DEEP, 16, 2, chunk(b"cICP", bytes([1, 13, 0, 1]))), lambda photo: is_picture(photo, np.uint16)),
        (png(FLAT, 8, 2, chunk(b"cICP", bytes([12, 13, 0, 1]))), "primaries 12 and transfer 13"),
        (hdr_avif(), "primaries 9 and transfer 16"),
    ],
    "no profile, but a gamma": [
        (
            png(linear(), 16, 2, chunk(b"gAMA", struct.pack(">I", 100000))),
            lambda photo: is_picture(photo, np.uint16, 9),
        ),
        (png(FLAT, 8, 2, chunk(b"gAMA", struct.pack(">I", 45455))), is_picture),
        (png(FLAT, 8, 2, chunk(b"gAMA", struct.pack(">I", 100000)), chunk(b"sRGB", b"\0")), is_picture),
        (png(FLAT, 8, 2, chunk(b"gAMA", struct.pack(">I", 0))), is_picture),
    ],
    "an extra channel": [
        (
            tiff(np.dstack([FLAT, FLAT[..., 0]]), photometric="rgb", extrasamples=["unspecified"]),
            lambda photo: is_picture(photo) and photo.alpha is None and "extra channel" in photo.notes[0],
        )
    ],
    "AVIF of 10 or 12 bits": [
        (
            imagecodecs.avif_encode(DEEP >> 6, level=95, bitspersample=10),
            lambda photo: is_picture(photo, np.uint8, 6) and "reduced to 8 bits" in photo.notes[0],
        )
    ],
    "a damaged profile": [
        (pillow(FLAT, "PNG", icc_profile=b"nonsense" * 20), is_picture),
        (with_chunk(pillow(FLAT, "PNG"), b"eXIf", b"\0\x08junk"), is_picture),
    ],
    "several pictures": [(animated(kind), is_first_of_three) for kind in ("PNG", "WEBP")],
    "more than 250 megapixels": [(b"P6 99999 99999 255\n", "set CEA_LARGEST_MEGAPIXELS=10000")],
    "HEIC, JPEG XL": [(b"\0\0\0\x18ftypheic" + bytes(64), "HEIC, which is not read here")],
    "raw samples in a TIFF": [
        (tiff(GREY, photometric="cfa"), "a camera's raw samples"),
        (imagecodecs.jpeg_encode(GREY >> 4, bitspersample=12), "JPEG of 12 bits"),
        (imagecodecs.ljpeg_encode(GREY), "lossless JPEG"),
    ],
    "a GIF whose first picture": [(small_gif(), "a first picture smaller than its screen")],
    "truncated, empty": [
        (b"", "not an image"),
        (b"<!DOCTYPE html>", "not an image"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not an image"),
        (pillow(FLAT, "PNG")[:-40], "truncated|damaged"),
        (deep_png(DEEP)[:-40], "truncated|damaged"),
    ],
}


def test_every_row_on_reading_is_a_case():
    described = [row[0] for row in rows("what a file declares")[1:]]
    assert len(described) == len(READ)
    for row, case in zip(described, READ, strict=True):
        assert row.startswith(case)


@pytest.mark.parametrize("row", READ)
def test_reading_does_what_its_row_says(row: str):
    for data, wanted in READ[row]:
        if isinstance(wanted, str):
            with pytest.raises(ImageError, match=wanted):
                decode_photo(data, "a")
        else:
            assert wanted(decode_photo(data, "a"))


def test_limits_and_names_are_those_of_the_code():
    assert f"more than {limits._LARGEST_MEGAPIXELS} megapixels" in PAGE
    assert f"`{limits.LIMIT}=" in PAGE
    row = next(row[0] for row in rows("what a file declares") if row[0].startswith("HEIC"))
    for name in reader.UNREAD:
        assert name.removesuffix(" raw") in row
    assert {".heic", ".jxl", ".exr", ".cr2", ".dng"} <= UNREAD_SUFFIXES
    assert ".jpg" not in SUFFIXES, "docs/images.md says that cea degrade writes no JPEG"


def held(kind: str) -> dict[str, str]:
    """What a format keeps, in the words of the table."""
    suffix = next(suffix for suffix, name in FORMATS.items() if name == kind)
    alpha = np.full(FLAT.shape[:2], 99, np.uint8)
    deep = decode_photo(encode_photo(Photo(DEEP), suffix)[0], "a")
    transparent = decode_photo(encode_photo(Photo(FLAT, alpha), suffix)[0], "a")
    tags = PilImage.Exif()
    tags[271] = "A camera"
    data, _ = encode_photo(Photo(FLAT, exif=tags.tobytes(), dpi=(300, 300)), suffix)
    opened = PilImage.open(io.BytesIO(data))
    greys = np.repeat(FLAT[..., :1], 3, 2)
    grey = [
        decode_photo(encode_photo(Photo(greys, values, grey=True), suffix)[0], "a").grey for values in (None, alpha)
    ]
    is_same = np.array_equal(decode_photo(data, "a").rgb, FLAT)
    return {
        "16 bits per channel": "kept" if deep.rgb.dtype == np.uint16 else "8 bits, said",
        "alpha": "kept" if transparent.alpha is not None else "over white, said",
        "EXIF": "kept" if opened.getexif().get(271) == "A camera" else "",
        "resolution": "kept" if "dpi" in opened.info else "",
        "colour profile": "written" if "icc_profile" in opened.info else "",
        "pixels read back": "yes" if is_same else "quality 95, 4:4:4",
        "one channel": {(True, True): "yes", (True, False): "without alpha"}.get(tuple(grey), ""),
    }


@pytest.mark.parametrize(("column", "kind"), [(1, "PNG"), (2, "TIFF"), (3, "JPEG"), (4, "WebP")])
def test_writing_does_what_its_column_says(column: int, kind: str):
    lines = PAGE[PAGE.index("| | PNG |") :].split("\n\n")[0].splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if not line.startswith("|--")]
    assert re.fullmatch(kind, table[0][column])
    said = {row[0]: row[column] for row in table[1:]}
    found = held(kind)
    assert len(said) == len(found)
    for name, value in found.items():
        row = next(row for row in said if row.startswith(name))
        assert said[row] == value, row
