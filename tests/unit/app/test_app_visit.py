"""What one visitor's photograph becomes, without a browser: the same pixels as the command line makes."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PilImage
from typer.testing import CliRunner

from cea.app.drawing import Wish, drawn, labels_of, recipe_names
from cea.app.limits import Limits
from cea.app.overlays import estimated, routed
from cea.app.visit import ROUTING_SIDE, Visit
from cea.cli.main import app
from cea.degradations import degrade
from cea.degradations.engine.shipped import find
from cea.errors import ConfigError, ImageError
from cea.io.images import encode_png, read_photo, read_rgb, write_image
from cea.io.limits import LIMIT
from cea.levels import to_uint8
from cea.metrics.psnr import psnr
from cea.models.config import ModelConfig
from cea.models.network import build
from cea.restoring.restorer import Restorer
from cea.testing.degradations import picture

CONFIG = ModelConfig(width=8, encoder_blocks=(1,), decoder_blocks=(1,), middle_blocks=1, rank=3, error_gate=True)
RECIPE = "cdd11/low_haze_rain"


def restorer(**changes: object) -> Restorer:
    """One that changes its input: an untrained one returns it."""
    network = build(CONFIG.model_copy(update=changes), 0)
    torch.nn.init.constant_(network.backbone.head.bias, 0.05)
    return Restorer(network.eval(), name="a test's", sha256="0" * 64)


def clean(height: int = 48, width: int = 64) -> np.ndarray:
    return to_uint8(picture((height, width)))


def visit(image: np.ndarray | None = None, name: str = "a photo.png", **changes: object) -> Visit:
    made = Visit(restorer(**changes))
    made.take(encode_png(clean() if image is None else image), name)
    return made


def field() -> np.ndarray:
    values = np.zeros((24, 32), np.uint8)
    values[:, 16:] = 255
    return values


@pytest.mark.parametrize("strength", [0.0, 0.35, 1.0])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_restoration_has_the_pixels_of_the_library_at_every_strength(strength: float, depth: type):
    image = clean().astype(depth) * (257 if depth is np.uint16 else 1)
    one = visit(image)
    one.restore()
    expected, _ = one.restorer.restore_photo(read_photo(encode_png(image)), strength=strength)
    assert one.after(strength).rgb.dtype == depth
    np.testing.assert_array_equal(one.after(strength).rgb, expected.rgb)
    np.testing.assert_array_equal(read_photo(one.png(strength)).rgb, expected.rgb)


def test_grey_stays_grey_and_hidden_pixels_stay():
    image = np.dstack([clean(), np.where(np.arange(64) < 32, 0, 255)[None].repeat(48, 0).astype(np.uint8)])
    file = io.BytesIO()
    PilImage.fromarray(image).save(file, "PNG")
    one = Visit(restorer())
    one.take(file.getvalue(), "a.png")
    one.restore()
    after = read_photo(one.png(1.0))
    np.testing.assert_array_equal(after.rgb[:, :32], image[:, :32, :3])
    assert (after.rgb[:, 32:] != image[:, 32:, :3]).any()
    grey = visit(clean()[..., 0])
    grey.restore()
    assert PilImage.open(io.BytesIO(grey.png(1.0))).mode == "L"
    grey.degrade(Wish("aio3/noise25"))
    grey.restore()
    assert PilImage.open(io.BytesIO(grey.png(1.0))).mode == "RGB"  # the noise has colours


@pytest.mark.parametrize("unevenness", ["even", "random"])
def test_a_recipe_and_a_seed_give_the_pixels_of_the_library(unevenness: str):
    one = visit()
    one.degrade(Wish(RECIPE, 3, unevenness))
    expected = degrade(clean(), RECIPE, 3, uneven=unevenness == "random")
    np.testing.assert_array_equal(one.before.rgb, expected.image)
    assert one.told.record.nodes == expected.record.nodes


def test_a_severity_by_hand_replaces_the_drawn_numbers_of_that_component_alone():
    even = drawn(clean(), "a", Wish(RECIPE, 3)).record
    none = drawn(clean(), "a", Wish(RECIPE, 3, severities={"rain": 0.0})).record
    for before, after in zip(even.nodes, none.nodes, strict=True):
        assert (before == after) == (before.label != "rain")
    errors = []
    for severity in (0.2, 0.5, 1.0):
        one = visit()
        one.degrade(Wish("cdd11/haze", severities={"haze": severity}))
        errors.append(psnr(one.before.rgb, clean()))
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("recipe", recipe_names())
def test_every_shipped_recipe_takes_severities_and_a_field(recipe: str):
    pytest.importorskip("albumentations")
    told = drawn(clean(96, 96), "a", Wish(recipe, 1, "drawn", field=field()))
    assert {node.field.kind for node in told.record.nodes} == {"array"}
    first = told.record.nodes[0].label
    one = visit(clean(96, 96))
    one.degrade(Wish(recipe, 1, "drawn", {first: 0.5}, field()))
    assert one.before.rgb.shape == (96, 96, 3)
    assert first in labels_of(find(recipe)[1])


def test_a_drawn_field_says_where():
    one = visit()
    one.degrade(Wish("cdd11/haze", 3, "drawn", field=field()))
    changed = np.abs(one.before.rgb.astype(int) - clean()).max(axis=2)
    assert changed[:, :24].max() <= 1
    assert changed[:, 44:].mean() > 10
    assert not one.told.record.uniform


def test_a_field_may_drive_one_component():
    told = drawn(clean(), "a", Wish(RECIPE, 3, "drawn", field=field(), driven="haze"))
    assert [node.label for node in told.record.nodes if node.field] == ["haze"]
    with pytest.raises(ConfigError, match="this seed draws no snow; expected one of low, rain, haze"):
        drawn(clean(), "a", Wish(RECIPE, 3, "drawn", field=field(), driven="snow"))
    with pytest.raises(ConfigError, match="no field was drawn"):
        drawn(clean(), "a", Wish(RECIPE, 3, "drawn"))


@pytest.mark.parametrize("unevenness", ["even", "random", "drawn"])
def test_the_record_makes_the_input_again_on_the_command_line(tmp_path: Path, unevenness: str):
    write_image(tmp_path / "clean.png", clean())
    one = Visit(restorer())
    one.take((tmp_path / "clean.png").read_bytes(), "clean.png")
    values = np.random.default_rng(0).integers(0, 256, (20, 31), dtype=np.uint8)
    one.degrade(Wish(RECIPE, 5, unevenness, {"haze": 0.7}, values if unevenness == "drawn" else None))
    one.restore()
    (tmp_path / "r.json").write_text(json.dumps(one.record(0.8)))
    again = tmp_path / "again.png"
    done = CliRunner().invoke(
        app, ["degrade", str(tmp_path / "clean.png"), "--replay", str(tmp_path / "r.json"), "-o", str(again)]
    )
    assert done.exit_code == 0, done.output
    np.testing.assert_array_equal(read_rgb(again), one.before.rgb)


def test_the_record_says_how_the_result_was_made():
    one = visit()
    one.degrade(Wish(RECIPE, 3))
    one.restore()
    told = json.loads(json.dumps(one.record(0.5), allow_nan=False))
    assert told["weights"] == {"name": "a test's", "sha256": "0" * 64}
    assert (told["strength"], told["photograph"], told["width"], told["height"]) == (0.5, "a photo.png", 64, 48)
    gain = one.gain(0.5)
    assert gain.before == psnr(one.before.rgb, clean())
    assert gain.after == psnr(one.after(0.5).rgb, clean())
    assert told["psnr_db"]["gain"] == round(gain.db, 2)
    assert set(told["estimates"]["expected_error"]) == {"grey_levels", "db", "full_scale_grey_levels"}
    plain = visit()
    plain.restore()
    assert plain.record(1.0)["psnr_db"] is None
    assert plain.record(1.0)["degradation"] is None


def test_a_change_lets_go_of_what_it_outdates():
    one = visit()
    one.degrade(Wish(RECIPE, 3))
    one.restore()
    one.degrade(Wish(RECIPE, 4))
    assert one.result is None
    one.restore()
    one.take(encode_png(clean(32, 32)), "b.png")
    assert (one.degraded, one.told, one.result) == (None, None, None)
    with pytest.raises(ConfigError, match="nothing was restored yet"):
        one.png(1.0)
    one.forget()
    with pytest.raises(ConfigError, match="no photograph yet"):
        one.restore()


def test_a_bad_file_leaves_what_was_there():
    one = visit()
    for data, says in ((b"no picture", "not an image"), (b"%PDF-1.4", "PDF, which is not read"), (b"", "b.png")):
        with pytest.raises(ImageError, match=says):
            one.take(data, "b.png")
    assert one.name == "a photo.png"


def test_limits_are_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch):
    limits = Limits(megabytes=1, megapixels=1)
    with pytest.raises(ImageError, match=r"a.png: 1.2 megabytes; expected at most 1; .*cea restore"):
        limits.read(bytes(1_200_000), "a.png")
    large = encode_png(np.zeros((1001, 1000, 3), np.uint8))
    wanted = r"^a.png: 1000x1001 pixels; expected at most 1 megapixels on this page; .*cea restore"
    with pytest.raises(ImageError, match=wanted):
        limits.read(large, "a.png")
    monkeypatch.setenv(LIMIT, "1")  # as the server has it: by the header, before anything is decoded
    with pytest.raises(ImageError, match=wanted):
        limits.read(large, "a.png")
    assert limits.read(encode_png(np.zeros((1000, 1000, 3), np.uint8)), "a.png").rgb.shape == (1000, 1000, 3)


@pytest.mark.parametrize(
    ("name", "stem"), [("../../etc/passwd", "passwd"), ("grüße.jpg", "gr__e"), ("a.b.png", "a_b"), (".png", "_png")]
)
def test_names_become_names_of_files(name: str, stem: str):
    assert visit(name=name).stem == stem


def test_maps_have_the_pictures_shape_and_say_what_they_mean():
    one = visit(severity=("haze", "rain"))
    one.restore()
    maps = one.maps()
    assert list(maps) == ["severity.haze", "severity.rain", "error"]
    assert {values.shape for values in maps.values()} == {(48, 64)}
    shown = estimated(one)
    assert [overlay.title for overlay in shown.values()] == ["Haze", "Rain", "Expected error"]
    mean = one.estimated()["expected_error"]["grey_levels"]
    assert f"{mean:.1f} of 255 levels" in shown["error"].legend
    assert all(overlay.picture.startswith("data:image/webp;base64,") for overlay in shown.values())


def test_routing_is_shown_for_experts_alone_and_of_a_small_copy():
    one = visit(clean(50, 2 * ROUTING_SIDE))
    maps = one.routing()
    assert one.has_routing
    assert {stack.shape[0] for stack in maps.values()} == {3}
    for stack in maps.values():
        assert stack.shape[2] / stack.shape[1] == pytest.approx(2 * ROUTING_SIDE / 50, rel=0.15)
        assert max(stack.shape) <= ROUTING_SIDE
    assert {len(pictures) for pictures in routed(one).values()} == {3}
    plain = visit(adapter="none")
    assert not plain.has_routing
    assert plain.routing() == {}
