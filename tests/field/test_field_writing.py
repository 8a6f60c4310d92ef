"""What a photograph had is still there when it has been written, or it is said why not."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as PilImage
from PIL import ImageCms

from cea.errors import DataError, ImageError
from cea.io.photo import Photo, decode_photo
from cea.io.walk import find_pictures
from cea.io.writer import FORMATS, LOSSLESS_SUFFIXES, encode_photo, write_photo

HEIGHT, WIDTH = 24, 32
DEEP = np.random.default_rng(0).integers(0, 65536, (HEIGHT, WIDTH, 3), dtype=np.uint16)
FLAT = (DEEP >> 8).astype(np.uint8)
SUFFIXES = sorted(set(FORMATS) - {".pgm"})


def exif() -> bytes:
    tags = PilImage.Exif()
    tags[0x010F], tags[0x0112], tags[0x0131] = "A camera", 1, "Its program"
    tags.get_ifd(0x8769).update({0x829A: 0.005, 0x9003: "2026:11:25 12:00:00", 0xA002: 999, 0xA003: 999})
    tags.get_ifd(0x8825).update({1: "N", 2: (50.0, 5.0, 0.0)})
    return tags.tobytes()


def opened(data: bytes) -> PilImage.Image:
    picture = PilImage.open(io.BytesIO(data))
    picture.load()
    return picture


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("rgb", [FLAT, DEEP], ids=["8", "16"])
@pytest.mark.parametrize("grey", [False, True], ids=["colour", "grey"])
@pytest.mark.parametrize("has_alpha", [False, True], ids=["opaque", "alpha"])
def test_depth_alpha_and_grey_are_kept_or_it_is_said(suffix: str, rgb: np.ndarray, grey: bool, has_alpha: bool):
    rgb = np.repeat(rgb[..., :1], 3, 2) if grey else rgb
    photo = Photo(rgb, rgb[..., 1] // 2 if has_alpha else None, grey=grey)
    data, notes = encode_photo(photo, suffix)
    again = decode_photo(data, "a")
    kind = FORMATS[suffix]
    said = {note.split(":")[0] for note in notes}
    lost_depth, lost_alpha = rgb.dtype == np.uint16 and kind in ("JPEG", "WebP"), has_alpha and kind in ("JPEG", "PNM")
    assert said == ({"reduced to 8 bits"} if lost_depth else set()) | ({"laid over white"} if lost_alpha else set())
    assert again.rgb.dtype == (np.uint8 if lost_depth else rgb.dtype)
    assert (again.alpha is not None) == (has_alpha and not lost_alpha)
    if suffix in LOSSLESS_SUFFIXES and not lost_depth:
        assert np.array_equal(again.rgb, photo.over_white() if lost_alpha else rgb)
        if again.alpha is not None:
            assert np.array_equal(again.alpha, photo.alpha)
    if grey and not has_alpha and suffix not in (".ppm", ".webp"):
        assert again.grey
    assert data == encode_photo(photo, suffix)[0]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp"])
@pytest.mark.parametrize("rgb", [FLAT, DEEP], ids=["8", "16"])
def test_exif_resolution_and_profile_are_kept(suffix: str, rgb: np.ndarray):
    data, _ = encode_photo(Photo(rgb, exif=exif(), dpi=(300.0, 150.0)), suffix)
    picture = opened(data)
    tags = picture.getexif()
    assert tags[0x010F] == "A camera"
    assert tags.get(0x0112, 1) == 1
    assert tags.get_ifd(0x8769)[0x9003] == "2026:11:25 12:00:00"
    assert float(tags.get_ifd(0x8769)[0x829A]) == pytest.approx(0.005)
    assert tags.get_ifd(0x8769)[0xA002] == WIDTH
    assert [float(value) for value in tags.get_ifd(0x8825)[2]] == [50, 5, 0]
    if suffix != ".webp":
        assert np.allclose(np.array(picture.info["dpi"], float), (300, 150), atol=0.1)
    profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.info["icc_profile"]))
    assert "sRGB" in ImageCms.getProfileDescription(profile)
    assert np.array_equal(decode_photo(data, "a").rgb, decode_photo(encode_photo(Photo(rgb), suffix)[0], "a").rgb)


def test_tags_of_the_old_file_do_not_describe_the_new_one():
    tags = PilImage.Exif()
    tags[0x0112], tags[256], tags[259], tags[273], tags[305] = 6, 9999, 5, 8, "program"
    data, _ = encode_photo(Photo(DEEP, exif=tags.tobytes()), ".tif")
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        assert page.imagewidth == WIDTH
        assert "Orientation" not in page.tags
        assert page.tags["Software"].value == "program"
    assert np.array_equal(decode_photo(data, "a").rgb, DEEP)


@pytest.mark.parametrize("damaged", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"nonsense" * 9])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp"])
def test_damaged_exif_and_absurd_resolutions_are_left_out(damaged: bytes, suffix: str):
    for dpi in (None, (float("inf"), 1.0), (0.0, 0.0), (float("nan"), 72.0)):
        data, _ = encode_photo(Photo(FLAT, exif=damaged, dpi=dpi), suffix)
        assert decode_photo(data, "a").rgb.shape == FLAT.shape


def test_a_converted_photograph_is_written_as_what_its_pixels_are(shared: Path):
    photo = decode_photo((shared / "field/in/icc/adobe.png").read_bytes(), "adobe.png")
    for suffix in (".png", ".tif", ".webp"):
        again = decode_photo(encode_photo(photo, suffix)[0], "a")
        assert np.array_equal(again.rgb, photo.rgb)
        assert not again.notes


def test_what_cannot_be_written_is_refused_in_one_line(tmp_path: Path):
    wide = Photo(np.zeros((1, 16384, 3), np.uint8))
    with pytest.raises(ImageError, match=r"w\.webp: 16384x1 pixels; expected at most 16383 on a side.*write \.png"):
        write_photo(tmp_path / "w.webp", wide)
    with pytest.raises(ImageError, match=r"a\.xyz: a format that is not written here"):
        write_photo(tmp_path / "a.xyz", wide)
    with pytest.raises(ImageError, match=r"a colour picture; expected a grey one"):
        write_photo(tmp_path / "a.pgm", Photo(FLAT))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="expected a folder, and a part of the path is a file"):
        write_photo(tmp_path / "file/a.png", wide)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert write_photo(tmp_path / f"{'影' * 82}.png", wide) == ()


@pytest.mark.parametrize("suffix", sorted(FORMATS))
def test_what_is_written_is_found_again(tmp_path: Path, suffix: str):
    grey = Photo(np.repeat(FLAT[..., :1], 3, 2), grey=True)
    write_photo(tmp_path / f"a{suffix}", grey)
    assert [path.name for path in find_pictures(tmp_path).pictures] == [f"a{suffix}"]
    (tmp_path / f"a{suffix}").rename(tmp_path / "a")
    assert bool(find_pictures(tmp_path).pictures) == (FORMATS[suffix] != "PNM")


def test_suffixes_that_are_looked_for_are_read():
    bits = PilImage.fromarray(FLAT[..., 0]).convert("1")
    file = io.BytesIO()
    bits.save(file, "PPM")
    assert file.getvalue()[:2] == b"P4"
    assert np.array_equal(decode_photo(file.getvalue(), "a.pbm").rgb[..., 0] > 0, np.asarray(bits))
