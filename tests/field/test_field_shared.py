"""The reference files of the field, kept outside the project: what each gives, in one table.

They lie in ``field/`` of the folder that CEA_SHARED names; all tests here are skipped where it is not there. Nothing is
written into it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cea.cli.main import app
from cea.errors import ImageError
from cea.io.images import read_photo
from cea.models.checkpoint import save_weights
from cea.models.config import ModelConfig
from cea.models.network import build

SRGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
ADOBE_TO_XYZ = np.array(
    [[0.5767309, 0.1855540, 0.1881852], [0.2973769, 0.6273491, 0.0752741], [0.0270343, 0.0706872, 0.9911085]]
)


@dataclass(frozen=True)
class Right:
    """What a file gives.

    Attributes:
        picture: ``colour`` is base.png, ``grey`` its BT.601 luma, ``red`` its first channel, ``dots`` black and white
            dots whose local means are the luma, ``adobe`` the numbers of base.png taken as Adobe RGB.
        bits: per channel.
        largest: difference of a pixel that is not transparent, in levels of 255.
        mean: the same on average, for codecs that lose colour at edges.
        alpha: whether there are transparent pixels.
        turned: whether its EXIF turns it clockwise (orientation 6).
        note: what is said of it.
    """

    picture: str = "colour"
    bits: int = 8
    largest: float = 0.5
    mean: float = 0.5
    alpha: bool = False
    turned: bool = False
    note: str = ""


LOSSY = Right(largest=90, mean=2.2)
TURNED = replace(LOSSY, turned=True)
FIRST = "the first of its 3 pictures"
EXPECTED: dict[str, Right | str] = {
    "base.png": Right(),
    "base.jpg": LOSSY,
    **dict.fromkeys(("anim/three.png", "anim/three.tif", "anim/three.webp"), Right(note=FIRST)),
    "anim/three.gif": Right(largest=6, note=FIRST),
    "anim/stereo.jpg": Right(largest=95, mean=3.6, note=FIRST),
    "broken/bad_crc.png": "broken data stream",
    "broken/empty.jpg": "not an image",
    "broken/html.jpg": "not an image",
    "broken/lfs_pointer.png": "not an image",
    **dict.fromkeys(
        (f"broken/{name}" for name in ("trunc.gif", "trunc.tif", "truncated.jpg", "truncated.png")), "truncated"
    ),
    **dict.fromkeys(
        (f"cont/{n}" for n in ("UPPER.JPG", "jpeg_named.png", "photo.jfif", "photo.jpe", "prog.jpg", "sub411.jpg")),
        LOSSY,
    ),
    "cont/photo.avif": LOSSY,
    **dict.fromkeys(("cont/photo.jp2", "cont/photo.tga", "cont/png_named.jpg"), Right()),
    "cont/fake.heic": "HEIC, which is not read here",
    **dict.fromkeys((f"exif/{name}.jpg" for name in ("orient_99", "orient_ascii", "truncated")), LOSSY),
    **dict.fromkeys(
        (
            f"exif/{name}.jpg"
            for name in ("ascii_res", "double_header", "far_offset", "gps_far", "short_res", "utf16_bytes")
        ),
        TURNED,
    ),
    "exif/bad_png_exif.png": Right(),
    "fmt/bilevel.tif": Right("dots"),
    "fmt/cmyk.jpg": Right(largest=8),
    "fmt/cmyk.tif": Right(),
    "fmt/exif6.jpg": TURNED,
    "fmt/exif6.tif": Right(turned=True),
    "fmt/exif6.webp": TURNED,
    "fmt/float32.tif": Right("red", 16),
    "fmt/float32_nan.tif": "NaN or infinite values",
    "fmt/float32_rgb.tif": Right(bits=16),
    "fmt/gray10.pgm": Right("grey", 16, largest=1.2),
    **dict.fromkeys(("fmt/gray16.png", "fmt/gray16.tif"), Right("grey", 16, largest=0.6)),
    "fmt/gray16_exif6.tif": Right("grey", 16, largest=0.6, turned=True),
    "fmt/gray8.jpg": Right("grey", largest=7),
    "fmt/gray8.png": Right("grey", largest=0.6),
    "fmt/int32.tif": "nothing says which is white",
    "fmt/lab.tif": Right(largest=7, mean=0.6),
    "fmt/palette_trns.png": Right(largest=20, mean=1.7, alpha=True),
    **dict.fromkeys(("fmt/rgb16.png", "fmt/rgb16.ppm", "fmt/rgb16.tif"), Right(bits=16)),
    "fmt/rgb16_trns.png": Right(bits=16, alpha=True),
    "fmt/rgb16_exif6.png": Right(bits=16, turned=True),
    "fmt/rgb8_exif6.png": Right(turned=True),
    "fmt/rgb8_trns.png": Right(alpha=True),
    "fmt/rgba.png": Right(alpha=True),
    "fmt/rgba.webp": replace(LOSSY, alpha=True),
    "fmt/rgba16.png": Right(bits=16, alpha=True),
    "fmt/ycbcr.tif": Right(largest=4, mean=1.5),
    "fmt/ztxt_huge.png": Right(),
    "icc/adobe.icc": "not an image",
    "icc/adobe.png": Right("adobe", largest=2, note="converted from the colour profile"),
    "icc/adobe.jpg": Right("adobe", largest=160, mean=3.3, note="converted from the colour profile"),
    "icc/srgb.png": Right(),
    "icc/broken_icc.png": Right(note="its colour profile is damaged: taken for sRGB"),
    "tif/be_gray16.tif": Right("grey", 16, largest=0.6),
    "tif/bigtiff_rgb8.tif": Right(),
    "tif/cmyk16.tif": Right(),
    "tif/float16.tif": Right(bits=16),
    "tif/gray16_alpha.tif": Right("grey", 16, largest=0.6),
    "tif/gray16_miniswhite.tif": Right("grey", 16, largest=0.6),
    "tif/gray8_miniswhite.tif": Right("grey", largest=0.6),
    **dict.fromkeys(("tif/rgb16_deflate_pred.tif", "tif/rgb16_lzw.tif"), Right(bits=16)),
    "tif/rgba16.tif": Right(bits=16),
    "tif/stack3_gray16.tif": Right("grey", 16, largest=0.6, note=FIRST),
}
"""File below ``in/`` -> what it gives, or the words it is refused with."""

SIZES = {
    f"size/{w}x{h}.png": (h, w)
    for w, h in (
        (1, 1),
        (2, 1),
        (2, 2),
        (3, 3),
        (5, 5),
        (7, 6),
        (7, 7),
        (17, 15),
        (33, 31),
        (101, 97),
        (1, 400),
        (400, 1),
        (900, 2),
    )
}
FLAT = {"flat/black.png": 0, "flat/grey.png": None, "flat/white.png": 255}

SETS: dict[str, tuple[int, str]] = {
    **{
        f"{name}/input": (0, f"{name} (plain layout): {count} pair{'s' * (count != 1)}")
        for name, count in (
            ("lolv2", 2),
            ("suffix_gt", 1),
            ("suffix_x4", 1),
            ("nfd", 1),
            ("upper", 1),
            ("apple", 2),
            ("ident", 2),
            ("gray", 1),
        )
    },
    "basicsr_upper/LQ": (0, "basicsr_upper (plain layout): 2 pairs"),
    "titlecase/Input": (0, "titlecase (plain layout): 2 pairs"),
    "onemany/hazy": (0, "onemany (plain layout): 2 pairs"),
    "avifset/input": (0, "avifset (plain layout): 2 pairs"),
    "sots/hazy": (2, "1400_1.png is 118x86, "),
    "tiny/input": (2, "at least 7x7"),
    "small15/input": (0, "1 pair"),
    "trunc/input": (2, "input/2.jpg"),
    "wrongpair/input": (2, "1 without a target: img_2.png"),
    "exif/input": (2, "orientation"),
}
"""Folder below ``ev/`` -> exit status of ``cea eval`` of its inputs as outputs, and words of what it says."""


@pytest.fixture(scope="module")
def field(shared: Path) -> Path:
    if not (shared / "field/in").is_dir():
        pytest.skip(f"no field/in in {shared}")
    return shared / "field"


@pytest.fixture(scope="module")
def pictures(field: Path) -> dict[str, np.ndarray]:
    """The pictures of `Right.picture`, (H, W, 3) or (H, W, 1), in levels of 255."""
    base = read_photo(field / "in/base.png").rgb.astype(float)
    grey = base @ [0.299, 0.587, 0.114]
    linear = (base / 255) ** 2.19921875 @ ADOBE_TO_XYZ.T @ np.linalg.inv(SRGB_TO_XYZ).T
    linear = np.clip(linear, 0, 1)
    adobe = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return {"colour": base, "grey": grey[..., None], "red": base[..., :1], "adobe": adobe}


def test_every_file_has_a_row_and_every_row_a_file(field: Path):
    files = {path.relative_to(field / "in").as_posix() for path in (field / "in").rglob("*") if path.is_file()}
    assert files == {*EXPECTED, *SIZES, *FLAT}
    folders = {path.name for path in (field / "ev").iterdir()}
    assert folders == {name.split("/")[0] for name in SETS}


@pytest.mark.parametrize("name", [name for name, wanted in EXPECTED.items() if isinstance(wanted, Right)])
def test_a_file_gives_its_picture(field: Path, pictures: dict[str, np.ndarray], name: str):
    wanted = EXPECTED[name]
    photo = read_photo(field / "in" / name)
    assert photo.rgb.dtype == (np.uint16 if wanted.bits == 16 else np.uint8)
    assert (photo.alpha is not None) == wanted.alpha
    assert photo.grey == (wanted.picture in ("grey", "red", "dots"))
    assert (wanted.note in " ".join(photo.notes)) if wanted.note else not photo.notes
    found = photo.rgb * (255 / np.iinfo(photo.rgb.dtype).max)
    if wanted.picture == "dots":
        assert set(np.unique(photo.rgb)) == {0, 255}
        found, right = (_blocks(image) for image in (found, pictures["grey"]))
        assert np.abs(found - right).mean() < 12
        assert np.abs(found - (255 - right)).mean() > 40, "its negative would be further away"
        return
    right = np.broadcast_to(pictures[wanted.picture], (96, 128, 3))
    right = np.rot90(right, -1) if wanted.turned else right
    assert found.shape == right.shape, "upright"
    seen = slice(None) if photo.alpha is None else photo.alpha == np.iinfo(photo.alpha.dtype).max
    far = np.abs(found - right)[seen]
    assert far.max() <= wanted.largest
    assert far.mean() <= wanted.mean
    for turned in (found[::-1], found[:, ::-1], found[::-1, ::-1]):
        assert np.abs(turned - right)[seen].mean() > 2 * wanted.mean, "no other way up would do"


def _blocks(image: np.ndarray) -> np.ndarray:
    """Means of blocks of 16 pixels."""
    return image[..., 0].reshape(6, 16, 8, 16).mean((1, 3))


@pytest.mark.parametrize("name", [name for name, wanted in EXPECTED.items() if isinstance(wanted, str)])
def test_what_is_not_read_says_why(field: Path, name: str):
    with pytest.raises(ImageError, match=str(EXPECTED[name])) as refused:
        read_photo(field / "in" / name)
    assert "\n" not in str(refused.value)
    assert name in str(refused.value)


def test_sizes_and_flat_pictures(field: Path):
    assert {name: read_photo(field / "in" / name).rgb.shape[:2] for name in SIZES} == SIZES
    for name, level in FLAT.items():
        values = set(np.unique(read_photo(field / "in" / name).rgb))
        assert len(values) == 1
        assert level in (None, *values)


@pytest.mark.slow
def test_all_through_restore(field: Path, tmp_path: Path):
    config = ModelConfig(width=4, encoder_blocks=(1,), decoder_blocks=(1,), middle_blocks=1, rank=1)
    save_weights(tmp_path / "w.safetensors", build(config), config, {})
    before = sorted(field.rglob("*"))
    words = ["restore", field / "in", "-o", tmp_path / "out", "--weights", tmp_path / "w.safetensors"]
    done = CliRunner().invoke(app, [*map(str, words)])
    assert done.exit_code == 2, done.output
    refused = {name for name, wanted in EXPECTED.items() if isinstance(wanted, str)} - {"icc/adobe.icc"}
    named = {line.split(": ")[1] for line in done.stderr.splitlines() if line.startswith("left out: ")}
    assert named == refused
    assert "icc/adobe.icc" in done.stderr
    written = list((tmp_path / "out").rglob("*.png"))
    assert len(written) == len(EXPECTED) + len(SIZES) + len(FLAT) - len(refused) - 1
    deep = {
        name.rsplit(".", 1)[0] for name, wanted in EXPECTED.items() if isinstance(wanted, Right) and wanted.bits == 16
    }
    stems = {
        path.relative_to(tmp_path / "out").as_posix().removesuffix(".png")
        for path in written
        if read_photo(path).rgb.dtype == np.uint16
    }
    assert {
        stem.removesuffix("_png").removesuffix("_tif").removesuffix("_ppm").removesuffix("_pgm") for stem in stems
    } == deep
    assert sorted(field.rglob("*")) == before


@pytest.mark.parametrize("name", SETS)
def test_pairs(field: Path, tmp_path: Path, name: str):
    status, says = SETS[name]
    data = field / "ev" / name.split("/")[0]
    outputs = ["--outputs", str(field / "ev" / name)] if name != "empty" else []
    done = CliRunner().invoke(app, ["eval", "--data", str(data), *outputs, "-o", str(tmp_path / "out")])
    assert done.exit_code == status, done.output
    assert says in done.output
    if name == "ident/input":
        assert "identical" in done.output
        assert json.loads((tmp_path / "out/summary.json").read_text())["identical"] >= 1


def test_the_hazy_picture_of_the_cropped_set_is_the_corner_of_its_target(field: Path, tmp_path: Path):
    scores = {}
    for crop in ("center", "top-left"):
        words = ["eval", "--data", field / "ev/sots", "--outputs", field / "ev/sots/hazy", "-o", tmp_path / crop]
        done = CliRunner().invoke(app, [*map(str, words), "--crop", crop])
        assert done.exit_code == 0, done.output
        scores[crop] = json.loads((tmp_path / crop / "summary.json").read_text())["input_ssim"]
    assert scores["top-left"] > 0.9 > scores["center"]
