"""Errors, registry, random streams, and files that are written whole or not at all."""

from __future__ import annotations

import errno
import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PilImage

from cea.errors import ConfigError, DataError, ImageError, InputError
from cea.io.images import atomic_path, decode_png, encode_png, pixel_sha256, read_rgb, write_bytes
from cea.levels import as_unit, from_codes, to_codes, to_uint8, to_uint16, unit_float
from cea.registry import Registry
from cea.rng import SampleKey, generator, stream


def test_an_error_says_what_was_expected_and_what_to_do_and_crosses_processes():
    error = ImageError("a.jpg: truncated", expected="a complete JPEG", remedy="replace it")
    assert str(error) == "a.jpg: truncated; expected a complete JPEG; replace it"
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (ImageError, str(error))
    assert isinstance(error, InputError)
    assert isinstance(error, ValueError)


def test_registry_is_lazy_refuses_doubles_and_suggests():
    registry: Registry[object] = Registry("thing", builtin={"path": "pathlib:Path", "gone": "no.such.module:X"})
    assert registry["path"] is Path
    assert registry["pathlib:PurePath"].__name__ == "PurePath"  # type: ignore[attr-defined]
    registry.register("mine")(int)
    with pytest.raises(ConfigError, match="registered twice"):
        registry.register("mine")(str)
    with pytest.raises(ConfigError, match="did you mean 'path'"):
        registry["pth"]
    with pytest.raises(ConfigError, match="cannot be imported"):
        registry["gone"]
    assert list(registry) == ["gone", "mine", "path"]


def test_streams_depend_on_key_and_path_alone():
    key = SampleKey(1, "abc", "haze", 0)
    assert key.stream("node", 0) == SampleKey(1, "abc", "haze", 0).stream("node", 0)
    others = [SampleKey(2, "abc", "haze", 0), SampleKey(1, "abd", "haze", 0), SampleKey(1, "abc", "haze", 1)]
    seeds = {k.stream("node", 0) for k in [key, *others]} | {key.stream("node", 1), key.stream("node", "0")}
    assert len(seeds) == 6
    assert key.generator("a").random() == generator(key.stream("a")).random()


def test_streams_are_the_same_on_every_machine():
    """Pinned: another value here means that every record would draw other numbers."""
    assert stream("a", 1) == 9617701638908543291
    assert generator(7).integers(1 << 62, size=2).tolist() == [2882744023523087010, 4137668341471484581]


def test_neighbouring_streams_are_uncorrelated():
    draws = np.array([generator(stream("k", i)).standard_normal(400) for i in range(40)])
    correlation = np.corrcoef(draws) - np.eye(40)
    assert np.abs(correlation).max() < 5 / np.sqrt(400)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 5, 3), (6, 9)])
def test_png_is_lossless(dtype, shape):
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)
    assert np.array_equal(decode_png(encode_png(image)), image)
    if image.ndim == 3:
        assert np.array_equal(read_rgb(encode_png(image)), image)


def test_pixel_hash_ignores_the_file_format_and_sees_every_pixel():
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    buffer = io.BytesIO()
    PilImage.fromarray(image).save(buffer, "BMP")
    assert pixel_sha256(read_rgb(buffer.getvalue())) == pixel_sha256(image)
    changed = image.copy()
    changed[3, 3, 2] ^= 1
    assert pixel_sha256(changed) != pixel_sha256(image)
    assert pixel_sha256(image.reshape(2, 8, 3)) != pixel_sha256(image)


def test_exif_orientation_grey_and_alpha():
    image = np.zeros((2, 4, 3), np.uint8)
    image[0, 0] = 255
    exif = PilImage.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    buffer = io.BytesIO()
    PilImage.fromarray(image).save(buffer, "PNG", exif=exif)
    turned = read_rgb(buffer.getvalue())
    assert turned.shape == (4, 2, 3)
    assert turned[0, 1].tolist() == [255, 255, 255]
    buffer = io.BytesIO()
    PilImage.fromarray(np.array([[0, 90]], np.uint8)).save(buffer, "PNG")
    assert read_rgb(buffer.getvalue()).tolist() == [[[0] * 3, [90] * 3]]
    buffer = io.BytesIO()
    PilImage.fromarray(np.array([[[9, 9, 9, 0], [9, 9, 9, 255]]], np.uint8)).save(buffer, "PNG")
    assert read_rgb(buffer.getvalue()).tolist() == [[[255] * 3, [9] * 3]]


def test_quantisation_rounds_half_to_even_and_refuses_nan():
    assert to_uint8(np.array([[[-1, 0.5 / 255, 1.5 / 255]]])).tolist() == [[[0, 0, 2]]]
    assert to_uint8(np.full((1, 1, 3), 65535, np.uint16)).max() == 255
    with pytest.raises(ImageError, match="NaN"):
        to_uint8(np.full((1, 1, 3), np.nan))


@pytest.mark.parametrize("data", [b"", b"not an image", encode_png(np.zeros((32, 32, 3), np.uint8))[:60]])
def test_a_broken_file_is_one_clear_error(tmp_path: Path, data: bytes):
    (tmp_path / "photo.png").write_bytes(data)
    with pytest.raises(ImageError, match=r"photo\.png"):
        read_rgb(tmp_path / "photo.png")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    target = tmp_path / "file"
    write_bytes(target, b"old")

    def fill_the_disk() -> None:
        with atomic_path(target) as temporary:
            temporary.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DataError, match="No space left"):
        fill_the_disk()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_psnr_is_one_formula_for_numbers_and_tensors():
    from cea.decibels import psnr_of

    errors = [1.0, 0.25, 1e-4, 3e-7]
    assert [psnr_of(error) for error in errors] == pytest.approx([10 * np.log10(1 / error) for error in errors])
    batch = psnr_of(torch.tensor([errors, errors], dtype=torch.float64))
    assert batch.tolist() == [pytest.approx([psnr_of(error) for error in errors])] * 2
    assert psnr_of(0.0) == float("inf") == psnr_of(torch.zeros(1)).item()


def test_the_two_ways_to_single_precision_are_within_a_bit_and_come_back():
    codes = np.arange(256, dtype=np.uint8).reshape(16, 16)
    divided, multiplied = unit_float(codes), from_codes(codes)
    assert divided.dtype == multiplied.dtype == np.float32
    np.testing.assert_array_max_ulp(divided, multiplied, 1)
    for unit in (divided, multiplied, as_unit(codes)):
        np.testing.assert_array_equal(to_uint8(unit), codes)
        np.testing.assert_array_equal(to_uint16(unit), codes.astype(np.uint16) * 257)
    np.testing.assert_array_equal(to_codes(multiplied), codes)
