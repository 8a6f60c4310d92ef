"""Photographs as they come: each kind of file gives the right pixels, or one line that says why not."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage
from PIL import ImageCms

from cea.errors import ImageError
from cea.io.photo import decode_photo
from tests.field.pictures import (
    DEEP,
    FLAT,
    GREY,
    HEIGHT,
    UPRIGHT,
    WIDTH,
    deep_png,
    exif,
    pillow,
    profile,
    tiff,
    with_chunk,
)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_deep_tiff_stays_deep(order: str, compression: str | None, planar: str):
    values = DEEP if planar == "contig" else np.moveaxis(DEEP, -1, 0)
    data = tiff(values, photometric="rgb", planarconfig=planar, byteorder=order, compression=compression)
    photo = decode_photo(data, "a.tif")
    assert np.array_equal(photo.rgb, DEEP)
    assert photo.rgb.dtype == np.uint16


@pytest.mark.parametrize("values", [GREY, FLAT[..., 0]], ids=["16", "8"])
def test_white_is_zero_is_not_a_negative(values: np.ndarray):
    data = tiff(np.iinfo(values.dtype).max - values, photometric="miniswhite")
    photo = decode_photo(data, "a.tif")
    assert photo.grey
    assert np.array_equal(photo.rgb, np.repeat(values[..., None], 3, 2))


@pytest.mark.parametrize("top", [1, 200, 255, 1023, 4095, 65535])
@pytest.mark.parametrize("magic", [b"P5", b"P6", b"P2", b"P3"])
def test_the_greatest_value_of_a_netpbm_is_white(magic: bytes, top: int):
    channels = 3 if magic in (b"P6", b"P3") else 1
    values = np.rint(DEEP[..., :channels] / 65535 * top).astype(int)
    header = magic + b"\n# a comment\n%d %d\n%d\n" % (WIDTH, HEIGHT, top)
    if magic in (b"P2", b"P3"):
        body = " ".join(map(str, values.ravel())).encode()
    else:
        body = values.astype(">u2" if top > 255 else np.uint8).tobytes()
    photo = decode_photo(header + body, "a.pnm")
    full = 65535 if top > 255 else 255
    assert photo.rgb.dtype == (np.uint16 if top > 255 else np.uint8)
    assert np.abs(photo.rgb / full - values / top).max() <= 0.5 / full + 1e-9
    with pytest.raises(ImageError, match="truncated"):
        decode_photo(header + body[: len(body) // 2], "a.pnm")


@pytest.mark.parametrize("number", UPRIGHT)
@pytest.mark.parametrize("kind", ["png", "png16", "tif16", "tif8", "webp"])
def test_every_format_and_depth_is_turned_upright(kind: str, number: int):
    if kind == "png16":
        data, wanted = with_chunk(deep_png(DEEP), b"eXIf", exif(number)[6:]), DEEP
    elif kind == "tif16":
        data, wanted = tiff(DEEP, photometric="rgb", extratags=[(274, "H", 1, number, True)]), DEEP
    elif kind == "tif8":
        data, wanted = pillow(FLAT, "TIFF", exif=exif(number)), FLAT
    else:
        data, wanted = pillow(FLAT, kind.upper(), exif=exif(number), lossless=True), FLAT
    assert np.array_equal(decode_photo(data, "a").rgb, UPRIGHT[number](wanted))


def test_transparent_pixels_keep_their_alpha_and_are_white_on_paper():
    alpha = np.full((HEIGHT, WIDTH), 65535, np.uint16)
    alpha[:5] = 0
    photo = decode_photo(deep_png(np.dstack([DEEP, alpha])), "a.png")
    assert np.array_equal(photo.alpha, alpha)
    assert (photo.over_white()[:5] == 65535).all()
    assert np.array_equal(photo.over_white()[5:], DEEP[5:])
    assert decode_photo(deep_png(np.dstack([DEEP, np.full_like(alpha, 65535)])), "a.png").alpha is None


def test_floats_are_read_where_their_white_is_known():
    unit = (DEEP / 65535).astype(np.float32)
    assert np.abs(decode_photo(tiff(unit, photometric="rgb"), "a").rgb.astype(int) - DEEP).max() <= 1
    for spoil, says in ((unit * 255, "which is white"), (np.where(unit > 0.5, np.nan, unit), "NaN")):
        with pytest.raises(ImageError, match=says):
            decode_photo(tiff(spoil.astype(np.float32), photometric="rgb"), "a")
    with pytest.raises(ImageError, match="which is white"):
        decode_photo(tiff(DEEP.astype(np.int32), photometric="rgb"), "a")


def test_the_first_of_several_pictures_is_taken_and_said():
    data = tiff(np.stack([GREY, GREY // 2]), photometric="minisblack")
    photo = decode_photo(data, "a.tif")
    assert np.array_equal(photo.rgb[..., 0], GREY)
    assert photo.notes == ("the first of its 2 pictures",)


def test_profiles_srgb_is_left_alone_a_damaged_one_is_said():
    plain = decode_photo(pillow(FLAT, "PNG"), "a")
    assert np.array_equal(decode_photo(pillow(FLAT, "PNG", icc_profile=profile("sRGB")), "a").rgb, plain.rgb)
    damaged = decode_photo(pillow(FLAT, "PNG", icc_profile=b"nonsense" * 20), "a")
    assert np.array_equal(damaged.rgb, plain.rgb)
    assert damaged.notes == ("its colour profile is damaged: taken for sRGB",)


@pytest.mark.parametrize("name", ["adobe.png", "adobe.jpg"])
def test_another_profile_is_converted(shared: Path, name: str):
    data = (shared / "field/in/icc" / name).read_bytes()
    opened = PilImage.open(io.BytesIO(data))
    source = ImageCms.ImageCmsProfile(io.BytesIO(opened.info["icc_profile"]))
    wanted = ImageCms.profileToProfile(opened.convert("RGB"), source, ImageCms.createProfile("sRGB"))
    photo = decode_photo(data, name)
    assert np.abs(photo.rgb.astype(int) - np.asarray(wanted, int)).max() <= 1
    assert "converted from the colour profile" in photo.notes[0]


def test_damaged_metadata_do_not_condemn_sound_pixels():
    wanted = decode_photo(pillow(FLAT, "JPEG", quality=95), "a").rgb
    data = pillow(FLAT, "JPEG", quality=95, exif=exif(1))
    place = data.index(b"Exif\0\0") + 6
    for length in (2, 8, 12):
        spoiled = data[:place] + b"\xff" * length + data[place + length :]
        assert np.array_equal(decode_photo(spoiled, "a.jpg").rgb, wanted)
    assert np.array_equal(decode_photo(with_chunk(pillow(FLAT, "PNG"), b"eXIf", b"\0\x08junk"), "a").rgb, FLAT)


def test_absurd_sizes_are_refused_before_anything_is_allocated():
    with pytest.raises(ImageError, match="99999x99999"):
        decode_photo(b"P6 99999 99999 255\n", "a.ppm")


def test_a_real_panorama_is_allowed_by_name(monkeypatch):
    data = b"P5 16000 16000 255\n"
    with pytest.raises(ImageError, match=r"at most 250 megapixels are read; .*set CEA_LARGEST_MEGAPIXELS=256"):
        decode_photo(data, "a.pgm")
    monkeypatch.setenv("CEA_LARGEST_MEGAPIXELS", "256")
    with pytest.raises(ImageError, match="truncated"):
        decode_photo(data, "a.pgm")


@pytest.mark.parametrize("gamma", [2.19921875])
def test_sixteen_bits_in_another_profile_are_converted_as_eight_are(shared: Path, gamma: float):
    opened = PilImage.open(shared / "field/in/icc/adobe.png")
    values = np.asarray(opened.convert("RGB")).astype(np.uint16) * 257
    data = tiff(values, photometric="rgb", iccprofile=opened.info["icc_profile"])
    photo = decode_photo(data, "a.tif")
    assert photo.rgb.dtype == np.uint16
    assert "converted from the colour profile" in photo.notes[0]
    flat = decode_photo((shared / "field/in/icc/adobe.png").read_bytes(), "a.png").rgb
    assert np.abs(photo.rgb / 257 - flat).max() < 1
    to_xyz = [[0.5767309, 0.1855540, 0.1881852], [0.2973769, 0.6273491, 0.0752741], [0.0270343, 0.0706872, 0.9911085]]
    to_rgb = [
        [3.2404542, -1.5371385, -0.4985314],
        [-0.9692660, 1.8760108, 0.041556],
        [0.0556434, -0.2040259, 1.0572252],
    ]
    linear = np.clip((values / 65535) ** gamma @ np.transpose(to_xyz) @ np.transpose(to_rgb), 0, 1)
    by_hand = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(photo.rgb / 65535 - by_hand).max() < 0.5 / 255


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\0\0\0\x18ftypheic" + bytes(64), "HEIC"),
        (b"\xff\x0a" + bytes(64), "JPEG XL"),
        (b"v/1\x01" + bytes(64), "OpenEXR"),
        (b"8BPS" + bytes(64), "Photoshop"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n" + bytes(64), "PostScript"),
    ],
)
def test_formats_that_are_not_read_are_named(data: bytes, name: str):
    with pytest.raises(ImageError, match=f"a.jpg: {name}, which is not read here.*convert it to PNG or TIFF"):
        decode_photo(data, "a.jpg")


def test_a_tiff_keeps_what_it_says_of_itself():
    data = tiff(
        DEEP,
        photometric="rgb",
        resolution=(300, 300),
        resolutionunit="INCH",
        extratags=[(271, "s", 0, "A camera", True)],
    )
    photo = decode_photo(data, "a.tif")
    tags = PilImage.Exif()
    tags.load(photo.exif)
    assert (tags[271], photo.dpi) == ("A camera", (300, 300))
