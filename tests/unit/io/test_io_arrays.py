"""Depth and light maps: (H, W) up to dimensions of 1, colours never guessed at, each refusal says what was found."""

from __future__ import annotations

import io
import time
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cea.degradations.tools.files import read_depth, read_light
from cea.errors import ImageError
from cea.io.arrays import one_channel, read_map

DEPTH = np.linspace(0, 1, 6 * 8, dtype=np.float32).reshape(6, 8)
DEEP = np.rint(DEPTH * 65535).astype(np.uint16)


def npy(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


@pytest.mark.parametrize("shape", [(6, 8), (1, 6, 8), (6, 8, 1), (1, 6, 8, 1)])
def test_dimensions_of_one_are_dropped(tmp_path: Path, shape: tuple[int, ...]):
    (tmp_path / "d.npy").write_bytes(npy(DEPTH.reshape(shape)))
    assert np.array_equal(read_depth(tmp_path / "d.npy", "inverse"), DEPTH)


def test_deep_pictures_and_float_tiffs_are_read_as_they_are(tmp_path: Path):
    cv2.imwrite(str(tmp_path / "d.png"), DEEP)
    assert np.array_equal(one_channel(tmp_path / "d.png"), DEEP)
    metres = (1 + 40 * DEPTH).astype(np.float32)
    tifffile.imwrite(tmp_path / "d.tif", metres)
    assert np.array_equal(one_channel(tmp_path / "d.tif"), metres)
    assert np.isclose(read_depth(tmp_path / "d.tif", "metric")[0, 0], 1)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.zeros((6, 8, 3)), r"shape \(6, 8, 3\)"),
        (np.zeros((2, 6, 8)), r"shape \(2, 6, 8\)"),
        (np.zeros(9), r"shape \(9,\)"),
        (np.zeros((0, 8)), r"shape \(0, 8\)"),
        (np.array([["near", "far"]]), "values of type <U4"),
        (np.zeros((6, 8), complex), "values of type complex128"),
        (2 * DEPTH, r"values in \[0, 2\].*declare the convention 'metric'"),
        (np.full((6, 8), np.nan, np.float32), r"values in \[nan, nan\]"),
    ],
)
def test_what_is_no_depth_map_is_refused_with_what_was_found(tmp_path: Path, values: np.ndarray, says: str):
    (tmp_path / "d.npy").write_bytes(npy(values))
    with pytest.raises(ImageError, match=rf"d\.npy: .*{says}"):
        read_depth(tmp_path / "d.npy", "inverse")


def test_colour_maps_and_transparency_are_refused(tmp_path: Path):
    colours = cv2.applyColorMap((DEPTH * 255).astype(np.uint8), cv2.COLORMAP_JET)
    cv2.imwrite(str(tmp_path / "jet.png"), colours)
    for read in (lambda path: read_depth(path, "inverse"), read_light):
        with pytest.raises(ImageError, match=r"jet\.png: a picture in colours, 8x6"):
            read(tmp_path / "jet.png")
    cv2.imwrite(str(tmp_path / "rgba.png"), np.dstack([colours, np.full((6, 8), 9, np.uint8)]))
    with pytest.raises(ImageError, match="transparent"):
        read_map(tmp_path / "rgba.png")


def exr(path: Path, **channels: np.ndarray) -> None:
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, channels) as file:
        file.write(str(path))


def test_an_exr_of_one_channel_is_read_and_others_are_refused(tmp_path: Path):
    exr(tmp_path / "z.exr", Z=10 * DEPTH)
    assert np.array_equal(one_channel(tmp_path / "z.exr"), 10 * DEPTH)
    exr(tmp_path / "equal.exr", R=DEPTH, G=DEPTH, B=DEPTH)
    assert np.array_equal(one_channel(tmp_path / "equal.exr"), DEPTH)
    exr(tmp_path / "rgb.exr", R=DEPTH, G=DEPTH, B=1 - DEPTH)
    with pytest.raises(ImageError, match=r"rgb\.exr: an EXR with the channels B, G, R; expected one channel"):
        one_channel(tmp_path / "rgb.exr")
    whole = (tmp_path / "z.exr").read_bytes()
    for data in (whole[:100], whole[:-20]):
        (tmp_path / "cut.exr").write_bytes(data)
        with pytest.raises(ImageError, match=r"cut\.exr: .+; expected a \.npy file"):
            one_channel(tmp_path / "cut.exr")


def test_the_scale_is_declared(tmp_path: Path):
    (tmp_path / "m.npy").write_bytes(npy(40 * DEPTH))
    (tmp_path / "i.npy").write_bytes(npy(np.rint(1000 * DEPTH).astype(np.int64)))
    for name, scale in (("m.npy", 40), ("i.npy", 1000)):
        for read in (lambda path, scale=None: read_depth(path, "inverse", scale), read_light):
            with pytest.raises(ImageError, match=rf"{name}: .*scale"):
                read(tmp_path / name)
            assert np.allclose(read(tmp_path / name, scale), DEPTH, atol=1e-3)


def test_a_header_that_promises_too_much_is_refused_at_once(tmp_path: Path):
    data = npy(np.zeros((64, 64), np.float32))
    (tmp_path / "d.npy").write_bytes(data.replace(b"(64, 64), }    ", b"(64000, 64000)}"[:15].ljust(15)))
    with pytest.raises(ImageError, match=r"d\.npy: an array of shape \(64000, 64000\)"):
        read_map(tmp_path / "d.npy")


@pytest.mark.parametrize("data", [b"", b"\x93NUMPY", b"not an array", npy(DEPTH)[:40], npy(np.array({}, object))])
def test_broken_arrays_are_one_clear_error(tmp_path: Path, data: bytes):
    (tmp_path / "d.npy").write_bytes(data)
    with pytest.raises(ImageError, match=r"d\.npy: "):
        read_map(tmp_path / "d.npy")


WHOLE = npy(DEPTH)


@settings(max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, len(WHOLE) - 1), flip=st.integers(1, 255), cut=st.booleans())
def test_mutated_arrays_are_read_or_refused_in_one_line(tmp_path: Path, place: int, flip: int, cut: bool):
    data = bytearray(WHOLE[:place] if cut else WHOLE)
    if not cut:
        data[place] ^= flip
    (tmp_path / "d.npy").write_bytes(data)
    message = "read"
    try:
        assert read_map(tmp_path / "d.npy").ndim == 2
    except ImageError as error:
        message = str(error)
    assert len(message.splitlines()) == 1


def test_an_exr_of_gigabytes_is_refused_by_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    exr(tmp_path / "z.exr", Z=np.zeros((900, 1200), np.float32))
    assert (tmp_path / "z.exr").stat().st_size < 100_000
    monkeypatch.setenv("CEA_LARGEST_MEGAPIXELS", "0")
    with pytest.raises(ImageError, match=r"1080000 values by its header, and at most 0 are read"):
        read_map(tmp_path / "z.exr")


def test_modules_beside_a_picture_are_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An EXR is read in a process of its own; the current folder is no place to look for its libraries."""
    exr(tmp_path / "z.exr", Z=DEPTH)
    for name in ("OpenEXR", "numpy", "cv2"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(tmp_path)
    assert np.array_equal(read_map(Path("z.exr")), DEPTH)
    assert not (tmp_path / "ran").exists()


def test_a_tiff_of_thousands_of_channels_is_refused_by_its_tags(tmp_path: Path):
    tifffile.imwrite(tmp_path / "c.tif", np.zeros((4, 4, 300), np.uint8), photometric="minisblack", planarconfig=1)
    with pytest.raises(ImageError, match=r"c\.tif: 300 channels"):
        read_map(tmp_path / "c.tif")


def test_a_tiff_that_promises_millions_of_strips_is_refused_at_once(tmp_path: Path):
    """Each missing one would be looked for: seconds, for 400 bytes."""
    file = io.BytesIO()
    tifffile.imwrite(file, DEPTH)
    with tifffile.TiffFile(io.BytesIO(file.getvalue())) as tif:
        entry = tif.pages.first.tags["ImageLength"].valueoffset
    data = bytearray(file.getvalue())
    data[entry : entry + 4] = (2_500_000).to_bytes(4, "little")
    (tmp_path / "m.tif").write_bytes(data)
    start = time.process_time()
    with pytest.raises(ImageError, match=r"m\.tif: "):
        read_map(tmp_path / "m.tif")
    assert time.process_time() - start < 2
