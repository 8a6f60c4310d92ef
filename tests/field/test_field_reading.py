"""What trackers of other tools are full of: each file gives its own picture, or one line that says why not."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image as PilImage
from PIL import ImageCms

from cea.errors import ImageError
from cea.io.photo import Photo, decode_photo
from tests.field.pictures import (
    BLACK_WHITE,
    DEEP,
    FLAT,
    GAMMAS,
    GREY,
    GREY8,
    HEIGHT,
    UPRIGHT,
    WIDTH,
    animated,
    bilevel_tiff,
    chunk,
    cmyk_jpeg,
    deep_png,
    exif,
    in_profile,
    matrix_profile,
    packed_tiff,
    pillow,
    png,
    profile,
    tiff,
    with_chunk,
)

GREY3, GREY8_3 = (np.repeat(grey[..., None], 3, axis=2) for grey in (GREY, GREY8))
ALPHA = np.where(np.arange(HEIGHT)[:, None] < 5, 0, np.full((HEIGHT, WIDTH), 65535)).astype(np.uint16)
WHITE_ABOVE = np.where(ALPHA[..., None] == 0, 65535, DEEP).astype(np.uint16)


def rounded(bits: int, top: int = 255) -> np.ndarray:
    """``GREY`` with few levels, over the whole range."""
    levels = (1 << bits) - 1
    return np.repeat(np.rint(np.rint(GREY / 65535 * levels) / levels * top)[..., None], 3, axis=2)


def tiled(**options: object) -> bytes:
    return tiff(DEEP, photometric="rgb", tile=(16, 16), **options)


def netpbm(magic: str, values: np.ndarray, top: int, comment: str = "") -> bytes:
    head = f"{magic}\n{comment}{WIDTH} {HEIGHT}\n{top}\n".encode()
    return head + values.astype(">u2" if top > 255 else np.uint8).tobytes()


def jpeg_in_tiff() -> bytes:
    return pillow(PilImage.fromarray(FLAT).convert("YCbCr"), "TIFF", compression="jpeg", quality=98)


def lab_tiff() -> bytes:
    lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return pillow(ImageCms.profileToProfile(PilImage.fromarray(FLAT), rgb, lab, outputMode="LAB"), "TIFF")


def stereo() -> bytes:
    return pillow(FLAT, "MPO", save_all=True, append_images=[PilImage.fromarray(FLAT[::-1])], quality=98)


def sixteen(image: np.ndarray) -> np.ndarray:
    return image.astype(np.uint16) * 257


Case = tuple[Callable[[], bytes], np.ndarray, float]
"""The file, its picture at the depth of the file, and how far from it, in parts of full scale, a pixel may be."""

EXACT, LOSSY = 1e-9, 0.06

FILES: dict[str, Case] = {
    "png 1 bit": (lambda: png(BLACK_WHITE.astype(int), 1, 0), np.repeat(BLACK_WHITE[..., None] * 255, 3, 2), EXACT),
    **{
        f"png {bits} bits{' interlaced' * woven}": (
            lambda bits=bits, woven=woven: png(
                np.rint(GREY / 65535 * ((1 << bits) - 1)).astype(int), bits, 0, interlaced=woven
            ),
            rounded(bits),
            EXACT,
        )
        for bits in (2, 4, 8)
        for woven in (False, True)
    },
    "png 16 bits": (lambda: png(DEEP, 16, 2), DEEP, EXACT),
    "png 16 bits interlaced": (lambda: png(DEEP, 16, 2, interlaced=True), DEEP, EXACT),
    "png 16 bits grey interlaced": (lambda: png(GREY, 16, 0, interlaced=True), GREY3, EXACT),
    "png 16 bits gAMA": (lambda: png(DEEP, 16, 2, chunk(b"gAMA", struct.pack(">I", 45455))), DEEP, EXACT),
    "png 16 bits sBIT": (lambda: png(DEEP, 16, 2, chunk(b"sBIT", b"\x0c\x0c\x0c")), DEEP, EXACT),
    "png 8 bits sBIT gAMA pHYs": (
        lambda: png(FLAT, 8, 2, chunk(b"gAMA", struct.pack(">I", 45455)), chunk(b"sBIT", b"\5\6\5")),
        FLAT,
        EXACT,
    ),
    "png grey alpha 16": (lambda: png(np.stack([GREY, ALPHA], -1), 16, 4), WHITE_ABOVE[..., :1].repeat(3, 2), EXACT),
    "png rgba 16": (lambda: png(np.dstack([DEEP, ALPHA]), 16, 6), WHITE_ABOVE, EXACT),
    "png tRNS grey 16": (
        lambda: png(GREY, 16, 0, chunk(b"tRNS", struct.pack(">H", int(GREY[7, 0])))),
        np.where(GREY[7, 0] == GREY3, 65535, GREY3),
        EXACT,
    ),
    "png tRNS rgb 16": (
        lambda: png(DEEP, 16, 2, chunk(b"tRNS", struct.pack(">3H", *map(int, DEEP[3, 4])))),
        np.where((DEEP[3, 4] == DEEP).all(-1, keepdims=True), 65535, DEEP),
        EXACT,
    ),
    "png tRNS rgb 8": (
        lambda: png(FLAT, 8, 2, chunk(b"tRNS", struct.pack(">3H", *map(int, FLAT[3, 4])))),
        np.where((FLAT[3, 4] == FLAT).all(-1, keepdims=True), 255, FLAT),
        EXACT,
    ),
    "png palette": (
        lambda: pillow(PilImage.fromarray(GREY8).quantize(256), "PNG"),
        GREY8_3,
        EXACT,
    ),
    "png palette tRNS": (
        lambda: png(
            BLACK_WHITE.astype(int), 1, 3, chunk(b"PLTE", bytes((10, 20, 30, 200, 100, 50))), chunk(b"tRNS", b"\0")
        ),
        np.where(BLACK_WHITE[..., None], (200, 100, 50), 255),
        EXACT,
    ),
    "apng": (lambda: animated("PNG"), FLAT, EXACT),
    "gif": (lambda: pillow(GREY8, "GIF"), GREY8_3, EXACT),
    "animated webp": (lambda: animated("WEBP"), FLAT, EXACT),
    "tiff of three": (lambda: animated("TIFF"), FLAT, EXACT),
    "mpo": (stereo, FLAT, LOSSY),
    "bmp": (lambda: pillow(FLAT, "BMP"), FLAT, EXACT),
    "tga": (lambda: pillow(FLAT, "TGA"), FLAT, EXACT),
    "tga rle": (lambda: pillow(FLAT, "TGA", compression="tga_rle"), FLAT, EXACT),
    "jpeg 2000": (lambda: pillow(FLAT, "JPEG2000"), FLAT, EXACT),
    "jpeg 2000, 16 bits": (lambda: imagecodecs.jpeg2k_encode(DEEP, level=0), DEEP, EXACT),
    "avif": (lambda: pillow(FLAT, "AVIF", quality=95), FLAT, LOSSY),
    "jpeg progressive": (lambda: pillow(FLAT, "JPEG", quality=95, progressive=True), FLAT, LOSSY),
    "jpeg 4:1:1": (lambda: pillow(FLAT, "JPEG", quality=95, subsampling="4:1:1"), FLAT, LOSSY),
    "jpeg 4:4:0": (lambda: imagecodecs.jpeg8_encode(FLAT, level=95, subsampling="440"), FLAT, LOSSY),
    "jpeg as RGB": (lambda: pillow(FLAT, "JPEG", quality=98, keep_rgb=True), FLAT, LOSSY),
    "jpeg grey": (lambda: pillow(GREY8, "JPEG", quality=98), GREY8_3, LOSSY),
    "jpeg cmyk": (lambda: cmyk_jpeg(FLAT), FLAT, LOSSY),
    "jpeg with huge EXIF": (lambda: pillow(FLAT, "JPEG", quality=98, exif=exif(1, padding=60000)), FLAT, LOSSY),
    "jpeg behind spare bytes": (lambda: pillow(FLAT, "JPEG", quality=98) + b"\0" * 4096, FLAT, LOSSY),
    **{
        f"tiff 1 bit, {white}, {order}": (
            lambda white=white, order=order: bilevel_tiff(
                white_is_zero=white == "white 0", reversed_bits=order == "lsb"
            ),
            np.repeat(BLACK_WHITE[..., None] * 255, 3, 2),
            EXACT,
        )
        for white in ("white 0", "white 1")
        for order in ("msb", "lsb")
    },
    **{f"tiff {bits} bits": (lambda bits=bits: packed_tiff(bits), rounded(bits), EXACT) for bits in (2, 4)},
    **{
        f"tiff {bits} bits{', white 0' * negative}": (
            lambda bits=bits, negative=negative: packed_tiff(bits, white_is_zero=negative),
            rounded(bits, 65535),
            1 / 65535,
        )
        for bits in (10, 12, 14)
        for negative in (False, True)
    },
    "tiff tiled": (tiled, DEEP, EXACT),
    "tiff tiled lzw predictor": (lambda: tiled(compression="lzw", predictor=True), DEEP, EXACT),
    "tiff tiled zstd big-endian": (lambda: tiled(compression="zstd", byteorder=">"), DEEP, EXACT),
    "tiff in strips": (lambda: tiff(DEEP, photometric="rgb", rowsperstrip=5, compression="zlib"), DEEP, EXACT),
    "tiff packbits": (lambda: tiff(FLAT, photometric="rgb", compression="packbits"), FLAT, EXACT),
    "tiff big": (lambda: tiff(DEEP, photometric="rgb", bigtiff=True, byteorder=">"), DEEP, EXACT),
    "tiff lzma": (lambda: tiff(DEEP, photometric="rgb", compression="lzma"), DEEP, EXACT),
    "tiff ycbcr jpeg": (jpeg_in_tiff, FLAT, LOSSY),
    "tiff rgb jpeg": (lambda: pillow(FLAT, "TIFF", compression="jpeg", quality=98), FLAT, LOSSY),
    "tiff cmyk 16": (
        lambda: tiff(np.dstack([65535 - DEEP, np.zeros_like(GREY)]), photometric="separated"),
        FLAT,
        1 / 255 + EXACT,
    ),
    "tiff lab": (lab_tiff, FLAT, 0.13),
    "png 16 bits and spare bytes": (lambda: png(DEEP, 16, 2) + b"spare" * 9, DEEP, EXACT),
    "jpeg 2000, 12 bits grey": (
        lambda: imagecodecs.jpeg2k_encode(GREY >> 4, level=0, bitspersample=12),
        rounded(12, 65535),
        2 / 4095,
    ),
    "tiff palette": (lambda: pillow(PilImage.fromarray(GREY8).quantize(256), "TIFF"), GREY8_3, EXACT),
    "tiff alpha 8": (
        lambda: tiff(np.dstack([FLAT, (ALPHA >> 8).astype(np.uint8)]), photometric="rgb", extrasamples=["unassalpha"]),
        np.where(ALPHA[..., None] == 0, 255, FLAT),
        EXACT,
    ),
    "tiff premultiplied alpha 16": (
        lambda: tiff(
            np.dstack([np.where(ALPHA[..., None] == 0, 0, DEEP), ALPHA]), photometric="rgb", extrasamples=["assocalpha"]
        ),
        WHITE_ABOVE,
        EXACT,
    ),
    "tiff grey alpha 16": (
        lambda: tiff(
            np.stack([GREY, ALPHA], -1), photometric="minisblack", extrasamples=["unassalpha"], planarconfig=1
        ),
        WHITE_ABOVE[..., :1].repeat(3, 2),
        EXACT,
    ),
    "tiff float in big-endian": (
        lambda: tiff((DEEP / 65535).astype(np.float32), photometric="rgb", byteorder=">"),
        DEEP,
        1 / 65535,
    ),
    "tiff float16": (lambda: tiff((GREY / 65535).astype(np.float16), photometric="minisblack"), GREY3, 1e-3),
    "pgm with comments": (
        lambda: netpbm("P5", GREY8, 255, "# one\n# two 3 4\n"),
        GREY8_3,
        EXACT,
    ),
    "pgm of maxval 1": (lambda: netpbm("P5", BLACK_WHITE, 1), np.repeat(BLACK_WHITE[..., None] * 255, 3, 2), EXACT),
    "pgm of maxval 1023": (lambda: netpbm("P5", np.rint(GREY / 65535 * 1023), 1023), rounded(10, 65535), 1 / 65535),
    "ppm of 16 bits": (lambda: netpbm("P6", DEEP, 65535), DEEP, EXACT),
    "pbm": (
        lambda: f"P4\n{WIDTH} {HEIGHT}\n".encode() + np.packbits(~BLACK_WHITE, axis=1).tobytes(),
        np.repeat(BLACK_WHITE[..., None] * 255, 3, 2),
        EXACT,
    ),
    "pam": (
        lambda: (
            f"P7\nWIDTH {WIDTH}\nHEIGHT {HEIGHT}\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n".encode() + FLAT.tobytes()
        ),
        FLAT,
        EXACT,
    ),
    "pfm": (
        lambda: f"PF\n{WIDTH} {HEIGHT}\n-1.0\n".encode() + (DEEP[::-1] / 65535).astype("<f4").tobytes(),
        DEEP,
        1 / 65535,
    ),
    "webp lossy": (lambda: pillow(FLAT, "WEBP", quality=95), FLAT, 0.15),
    "webp with alpha": (
        lambda: pillow(np.dstack([FLAT, (ALPHA >> 8).astype(np.uint8)]), "WEBP", lossless=True, exact=True),
        np.where(ALPHA[..., None] == 0, 255, FLAT),
        EXACT,
    ),
}

MAY_BE_REFUSED = {"pam", "pfm", "tiff float16"}
"""Read rightly or refused by name: both are right."""


def far(photo: Photo, wanted: np.ndarray) -> float:
    """The largest difference, in parts of full scale; grey levels of the file's depth."""
    top = np.iinfo(photo.rgb.dtype).max
    full = 65535 if wanted.max() > 255 else 255
    return float(np.abs(photo.over_white() / top - wanted / full).max())


@pytest.mark.parametrize("name", FILES)
def test_each_file_gives_its_picture(name: str):
    make, wanted, tolerance = FILES[name]
    try:
        photo = decode_photo(make(), f"{name}.x")
    except ImageError:
        if name in MAY_BE_REFUSED:
            return
        raise
    assert photo.rgb.shape == wanted.shape
    assert far(photo, wanted) <= tolerance
    assert (photo.rgb.dtype == np.uint16) == (wanted.max() > 255)


@pytest.mark.parametrize("version", [2, 4])
@pytest.mark.parametrize("name", GAMMAS)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_wide_profiles_are_converted(name: str, kind: str, version: int):
    icc = matrix_profile(*GAMMAS[name], version)
    held = in_profile(icc)
    options = {"lossless": True} if kind == "WEBP" else {}
    photo = decode_photo(pillow(held, kind, icc_profile=icc, **options), "a")
    assert np.abs(photo.rgb.astype(int) - FLAT).max() <= 12  # 8 bits in a wider space are coarse in the dark
    assert np.abs(photo.rgb.astype(int) - FLAT).mean() < 1
    assert any("converted from the colour profile" in note for note in photo.notes)


def test_a_profile_of_another_kind_is_left_out_and_said():
    grey = matrix_profile(*GAMMAS["Adobe RGB"]).replace(b"RGB XYZ ", b"GRAYXYZ ")
    lab = profile("LAB")
    for icc in (grey, lab):
        photo = decode_photo(pillow(FLAT, "PNG", icc_profile=icc), "a")
        assert np.array_equal(photo.rgb, FLAT)
        assert photo.notes


def test_deep_pictures_in_another_profile_are_not_taken_for_srgb():
    icc = matrix_profile(*GAMMAS["ProPhoto"])
    data = tiff(in_profile(icc).astype(np.uint16) * 257, photometric="rgb", iccprofile=icc)
    photo = decode_photo(data, "a.tif")
    assert photo.rgb.dtype == np.uint16
    assert far(photo, sixteen(FLAT)) <= 12 / 255  # the values given have 8 bits, which are coarse in the dark


@pytest.mark.parametrize("number", range(2, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF", "deep PNG", "deep TIFF", "white 0", "alpha"])
def test_every_orientation_in_every_format(kind: str, number: int):
    plain = {
        "deep PNG": lambda: with_chunk(deep_png(DEEP), b"eXIf", exif(number)[6:]),
        "deep TIFF": lambda: tiff(DEEP, photometric="rgb", extratags=[(274, "H", 1, number, True)]),
        "white 0": lambda: tiff(65535 - GREY, photometric="miniswhite", extratags=[(274, "H", 1, number, True)]),
        "alpha": lambda: with_chunk(deep_png(np.dstack([DEEP, ALPHA])), b"eXIf", exif(number)[6:]),
    }.get(kind, lambda: pillow(FLAT, kind, exif=exif(number), **({"lossless": True} if kind == "WEBP" else {})))
    wanted = {"white 0": GREY3, "alpha": WHITE_ABOVE, "deep PNG": DEEP, "deep TIFF": DEEP}.get(kind, FLAT)
    photo = decode_photo(plain(), "a")
    assert photo.rgb.shape == UPRIGHT[number](wanted).shape
    assert far(photo, UPRIGHT[number](wanted)) <= (0.2 if kind in ("JPEG", "AVIF") else EXACT)


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (2, 1), (3, 3), (17, 15), (7, 6)])
@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "TGA", "WEBP", "deep PNG", "deep TIFF"])
def test_any_size(size: tuple[int, int], kind: str):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    deep = sixteen(image)
    data = {"deep PNG": lambda: deep_png(deep), "deep TIFF": lambda: tiff(deep, photometric="rgb")}.get(
        kind, lambda: pillow(image, kind, **({"lossless": True} if kind == "WEBP" else {}))
    )()
    assert np.array_equal(decode_photo(data, "a").rgb, deep if kind.startswith("deep") else image)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", "exr", "", "JPEG"])
def test_content_decides_not_the_suffix(suffix: str):
    for data in (pillow(FLAT, "PNG"), tiff(FLAT, photometric="rgb"), pillow(FLAT, "WEBP", lossless=True)):
        assert np.array_equal(decode_photo(data, f"a.{suffix}").rgb, FLAT)


def spoiled(data: bytes, code: int, place: int, value: int, width: int = 4) -> bytes:
    """A little-endian TIFF whose tag ``code`` has another number at ``place`` of its entry."""
    start = next(at for at in range(10, len(data), 12) if data[at : at + 2] == struct.pack("<H", code))
    return data[: start + place] + value.to_bytes(width, "little") + data[start + place + width :]


def plain_tiff() -> bytes:
    return tiff(DEEP, photometric="rgb", rowsperstrip=5)


def torn_gif() -> bytes:
    """Its blocks of pixels run into each other."""
    data = pillow(GREY8, "GIF")
    return data[:-20] + data[-40:-20] + data[-20:]


def jp2_of_odd_channels() -> bytes:
    data = bytearray(imagecodecs.jpeg2k_encode(FLAT, level=0))
    start = data.find(b"\xff\x4f\xff\x51") + 42
    data[start + 1 : start + 3] = b"\2\2"
    return bytes(data)


REFUSED: dict[str, Callable[[], bytes]] = {
    "tiff, bits counted wrongly": lambda: spoiled(bilevel_tiff(white_is_zero=True, reversed_bits=False), 258, 4, 220),
    "tiff, compression of another type": lambda: spoiled(plain_tiff(), 259, 2, 12, 2),
    "tiff, more strips than there are": lambda: spoiled(plain_tiff(), 273, 4, 17),
    "tiff, one strip for all rows": lambda: spoiled(plain_tiff(), 278, 8, 24),
    "tiff, no lengths of tiles": lambda: spoiled(tiled(), 325, 0, 327, 2),
    "tiff, taller than its pixels": lambda: spoiled(tiff(DEEP, photometric="rgb"), 257, 8, 600),
    "tiff, a strip beyond the file": lambda: spoiled(tiff(DEEP, photometric="rgb", compression="lzw"), 279, 8, 1 << 24),
    "gif without an end": torn_gif,
    "jp2 of odd channels": jp2_of_odd_channels,
    "empty": lambda: b"",
    "one byte": lambda: b"\x89",
    "html": lambda: b"<!DOCTYPE html><html><head><title>404</title></head></html>",
    "json": lambda: b'{"error": "not found"}',
    "lfs pointer": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "heic": lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64,
    "zeros": lambda: b"\0" * 5000,
    "png cut": lambda: pillow(FLAT, "PNG")[:-200],
    "png 16 cut": lambda: deep_png(DEEP)[:-200],
    "jpeg cut": lambda: pillow(FLAT, "JPEG")[:-100],
    "webp cut": lambda: pillow(FLAT, "WEBP", lossless=True)[:-100],
    "gif cut": lambda: pillow(GREY8, "GIF")[:-100],
    "tiff cut": lambda: tiff(DEEP, photometric="rgb")[:-500],
    "bmp cut": lambda: pillow(FLAT, "BMP")[:-500],
    "tga cut": lambda: pillow(FLAT, "TGA")[:-500],
    "jp2 cut": lambda: pillow(FLAT, "JPEG2000")[:-300],
    "ppm cut": lambda: pillow(FLAT, "PPM")[:-1],
    "only a png's signature": lambda: b"\x89PNG\r\n\x1a\n",
    "only a jpeg's start": lambda: b"\xff\xd8\xff\xe0\0\x10JFIF\0",
    "int32 tiff": lambda: tiff(DEEP.astype(np.int32), photometric="rgb"),
    "uint32 tiff": lambda: tiff(DEEP.astype(np.uint32), photometric="rgb"),
    "int16 tiff": lambda: tiff((GREY // 4).astype(np.int16), photometric="minisblack"),
    "float64 to 255": lambda: tiff(FLAT.astype(np.float64), photometric="rgb"),
    "float NaN": lambda: tiff(np.where(FLAT > 9, np.nan, 0).astype(np.float32), photometric="rgb"),
    "complex tiff": lambda: tiff(GREY.astype(np.complex64), photometric="minisblack"),
    "five channels": lambda: tiff(np.dstack([DEEP, GREY, GREY]), photometric="rgb"),
    "npy": lambda: b"\x93NUMPY" + b"\1\0" + b"\0" * 200,
    "svg": lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "pdf": lambda: b"%PDF-1.4\n%%EOF\n",
    "zip": lambda: b"PK\3\4" + b"\0" * 60,
    "bomb": lambda: png(np.zeros((1, 1), int), 8, 0).replace(
        struct.pack(">II", 1, 1), struct.pack(">II", 99999, 99999)
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_rightly_is_one_line(name: str):
    with pytest.raises(ImageError) as refused:
        decode_photo(REFUSED[name](), "holiday.x")
    assert str(refused.value).startswith("holiday.x: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_damaged_exif_does_not_condemn_sound_pixels(kind: str):
    lossless = {"lossless": True} if kind == "WEBP" else {}
    intact = decode_photo(pillow(FLAT, kind, **lossless), "a").rgb
    for body in (b"", b"MM", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40):
        if kind == "TIFF":
            data = tiff(FLAT, photometric="rgb", extratags=[(34665, "I", 1, 99999999, True)])
        else:
            data = pillow(FLAT, kind, exif=b"Exif\0\0" + body, **lossless)
        assert np.array_equal(decode_photo(data, "a").rgb, intact)


def test_the_independent_reader_agrees_on_deep_tiff():
    for data in (tiled(), packed_tiff(12)):
        raw = tifffile.imread(io.BytesIO(data))
        photo = decode_photo(data, "a.tif")
        top = 65535 if raw.ndim == 3 else 4095
        assert np.abs(photo.rgb[..., 0] / 65535 - (raw[..., 0] if raw.ndim == 3 else raw) / top).max() < 1e-4
