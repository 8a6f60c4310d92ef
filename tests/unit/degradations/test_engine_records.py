"""Recipes, records, drawing and rendering."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cea.config import parse
from cea.degradations.engine.bounds import input_psnr
from cea.degradations.engine.draw import draw
from cea.degradations.engine.recipes import RecipeConfig, modules_of
from cea.degradations.engine.records import ENGINE_VERSION, Record
from cea.degradations.engine.render import render
from cea.errors import ConfigError, ImageError, RecordError
from cea.rng import SampleKey, generator

CORE: dict[str, Any] = {"low": {}, "rain": {}, "snow": {}, "haze": {}}


def _recipe(nodes: dict[str, Any] | None = None, order: str = "cdd11", **more: Any) -> RecipeConfig:
    return parse(RecipeConfig, {"order": order, "nodes": nodes or CORE, **more}, "recipes.mine")


def _draw(recipe: RecipeConfig, variant: int = 0, *, nonuniform: bool = False, **more: Any) -> Record:
    key = SampleKey(1, "ab", "mine", variant)
    more = {"crop": None, **more}
    return draw("mine", recipe, key, clean_id="img", split="train", nonuniform=nonuniform, **more)


def _photo(height: int = 70, width: int = 90) -> np.ndarray:
    return (generator(8).random((height, width, 3)) * 255).astype(np.uint8)


@pytest.mark.parametrize("order", ["cdd11", "physical", "listed"])
@pytest.mark.parametrize("nonuniform", [False, True])
def test_a_record_survives_json_and_renders_bit_for_bit(order: str, nonuniform: bool) -> None:
    for variant in range(3):
        record = _draw(_recipe(order=order), variant, nonuniform=nonuniform)
        again = Record.model_validate_json(record.model_dump_json())
        assert again == record
        assert again == Record.model_validate_json(json.dumps(json.loads(record.model_dump_json())))
        one, two = render(record, _photo()), render(again, _photo())
        np.testing.assert_array_equal(one.degraded, two.degraded)
        np.testing.assert_array_equal(one.severity, two.severity)
        assert record.uniform is not nonuniform


def test_the_sample_carries_one_severity_per_component_and_labels_on_request() -> None:
    record = _draw(_recipe(), crop=(5, 7, 40, 50))
    clean = _photo()
    rendered = render(record, clean, labels=True)
    assert [node.label for node in record.nodes] == ["low", "rain", "snow", "haze"]
    assert rendered.severity.shape == (4, 40, 50)
    assert rendered.severity.dtype == np.float32
    assert 0 <= rendered.severity.min() <= rendered.severity.max() <= 1
    np.testing.assert_array_equal(rendered.clean, clean[5:45, 7:57])
    expected = {"low/illumination", "low/sigma", "rain/mask", "snow/mask", "haze/transmission", "haze/airlight"}
    assert set(rendered.labels) == expected | {"inverse_depth", "light"}
    assert all(np.isfinite(values).all() and values.shape[:2] == (40, 50) for values in rendered.labels.values())
    assert render(record, clean).labels == {}


def test_draws_of_a_node_do_not_depend_on_its_neighbours() -> None:
    alone, among = _draw(_recipe({"haze": {}})), _draw(_recipe())
    assert alone.nodes[0] == among.nodes[3]
    streams = [node.stream for variant in range(5) for node in _draw(_recipe(), variant).nodes]
    assert len(set(streams)) == len(streams)


def test_two_nodes_of_one_family_get_noise_of_their_own() -> None:
    nodes = {"first": {"family": "noise", "sigma_255": 20}, "second": {"family": "noise", "sigma_255": 20}}
    grey = np.full((200, 200, 3), 128, np.uint8)
    rendered = render(_draw(_recipe(nodes, "listed")), grey)
    assert (rendered.degraded / 1.0 - 128).std() == pytest.approx(20 * 2**0.5, rel=0.03)


def test_physical_order_puts_sensor_noise_last() -> None:
    """Under haze so thick that nothing shows, the published order hides the noise, the physical one keeps it."""
    nodes = {"low": {"sigma": 0.08}, "haze": {"beta": 10, "cap": 1.0, "airlight": 0.5}}
    black_depth = np.zeros((80, 80))
    photo = _photo(80, 80)
    spread = {
        order: render(_draw(_recipe(nodes, order)), photo, inverse_depth=black_depth).degraded.std()
        for order in ("cdd11", "physical")
    }
    assert spread["cdd11"] < 0.5
    assert spread["physical"] == pytest.approx(0.08 * 255, rel=0.05)


def test_cdd11_order_does_not_depend_on_how_the_nodes_are_listed() -> None:
    backwards = dict(reversed(CORE.items()))
    assert _draw(_recipe(backwards)) == _draw(_recipe())


def test_groups_choose_one_or_some() -> None:
    nodes = {
        "air": {"one_of": {"rain": {"weight": 3}, "snow": {}}},
        "rest": {"k": [1, 2], "k_of_n": {"low": {}, "haze": {}, "noise": {}}},
    }
    recipe = _recipe(nodes, "physical")
    drawn = [[node.label for node in _draw(recipe, variant).nodes] for variant in range(300)]
    weather = [label for labels in drawn for label in labels if label in ("rain", "snow")]
    assert len(weather) == 300
    assert weather.count("rain") / 300 == pytest.approx(0.75, abs=0.1)
    assert {len(labels) for labels in drawn} == {2, 3}


def test_probability_is_how_often_a_node_takes_part() -> None:
    recipe = _recipe({"noise": {"probability": 0.3}, "haze": {}}, "physical")
    present = [len(_draw(recipe, variant).nodes) == 2 for variant in range(400)]
    assert np.mean(present) == pytest.approx(0.3, abs=0.08)
    never_empty = _recipe({"noise": {"probability": 0.05}}, "listed")
    assert all(_draw(never_empty, variant).nodes for variant in range(20))


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ({"haze": {"betta": 1}}, r"nodes.haze: unknown key 'betta'.*did you mean 'beta'"),
        ({"haze": {"probabilty": 1}}, "did you mean 'probability'"),
        ({"haze": {"beta": [2, 1]}}, r"nodes.haze.beta = \[2, 1\]; expected low <= high within \[0, 10\]"),
        ({"haze": {"beta": "thick"}}, "a number or "),
        ({"haz": {}}, "did you mean 'haze'"),
        ({"haze": 3}, "expected a mapping"),
        ({"haze": {"field": "spiral"}}, "did you mean"),
        ({"haze": {"field": {"kind": "gradient", "angel_deg": 3}}}, "field.gradient.angel_deg|field.angel_deg"),
        ({"haze": {"field": {"kind": "gradient", "parameter": "bta"}}}, "did you mean 'beta'"),
        ({"haze": {"probability": 0}}, "greater than 0"),
        ({"jpeg": {}}, "no place in the order 'cdd11'"),
        ({"a": {"one_of": {}}}, "expected at least 1"),
        ({"a": {"k": 3, "k_of_n": {"haze": {}, "rain": {}}}}, "expected at least 3"),
        ({"haze": {}, "g": {"one_of": {"haze": {}}}}, "occurs 2 times"),
    ],
)
def test_mistakes_in_a_recipe_are_named(nodes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        _recipe(nodes)
    assert str(caught.value).startswith("recipes.mine")


def test_a_recipe_imports_its_own_families_only() -> None:
    assert modules_of(_recipe({"haze": {}, "rain": {}})) == [
        "cea.degradations.families.haze",
        "cea.degradations.families.rain",
    ]
    code = (
        "import sys; from cea.config import parse; from cea.degradations.engine.recipes import RecipeConfig;"
        "import cea.degradations.engine.records, cea.degradations.engine.render;"
        "parse(RecipeConfig, {'nodes': {'haze': {}}}, 'r');"
        "print(sorted(n.split('.')[-1] for n in sys.modules if n.startswith('cea.degradations.')))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'haze'" in loaded
    for other in ("rain", "snow", "lowlight", "noise", "jpeg", "albumentations_family"):
        assert f"'{other}'" not in loaded


def test_newer_and_incompatible_records_are_refused() -> None:
    record = _draw(_recipe())
    major, minor = map(int, ENGINE_VERSION.split("."))
    for version in (f"{major}.{minor + 1}", f"{major + 1}.0"):
        with pytest.raises(RecordError, match="update cea's clone"):
            render(record.model_copy(update={"engine_version": version}), _photo())
    with pytest.raises(RecordError, match="draw the records again"):
        render(record.model_copy(update={"engine_version": f"{major - 1}.9"}), _photo())


def test_what_cannot_be_rendered_is_said() -> None:
    record = _draw(_recipe())
    with pytest.raises(ImageError, match="crop inside the image"):
        render(record.model_copy(update={"crop": (0, 0, 100, 100)}), _photo())
    with pytest.raises(RecordError, match="own depth map"):
        render(_draw(_recipe(), depth_given=True), _photo())
    with pytest.raises(ImageError, match=r"depth map .* \[0, 80\].*as_inverse_depth"):
        render(record, _photo(), inverse_depth=np.linspace(0, 80, 6300).reshape(70, 90))
    with pytest.raises(ImageError, match="alpha"):
        render(record, np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(ImageError, match="NaN"):
        render(record, np.full((4, 4, 3), np.nan))
    lost = record.nodes[0].model_copy(update={"family": "nowhere:Nothing"})
    with pytest.raises(RecordError, match="cannot be imported"):
        render(record.model_copy(update={"nodes": (lost,)}), _photo())


def test_one_field_may_drive_one_parameter() -> None:
    nodes = {"haze": {"field": {"kind": "gradient", "angle_deg": 0.0, "low": 0.0, "parameter": "beta"}}}
    record = _draw(_recipe(nodes), nonuniform=True)
    field = record.nodes[0].field
    assert field is not None
    assert field.parameter == "beta"
    transmission = render(record, _photo(), inverse_depth=np.zeros((70, 90)), labels=True).labels["haze/transmission"]
    beta = record.nodes[0].params["beta"]
    expected = np.exp(-beta * 0.7 * np.linspace(0, 1, 90))
    np.testing.assert_allclose(transmission[30], expected, atol=0.02)


def test_input_psnr_is_kept_within_bounds() -> None:
    clean = _photo()
    recipe = _recipe({"noise": {"sigma_255": [1, 60]}}, "listed", input_psnr=[18, 24])
    free = _recipe({"noise": {"sigma_255": [1, 60]}}, "listed")
    inside = 0
    for variant in range(12):
        record = _draw(recipe, variant, clean=lambda: clean)
        rendered = render(record, clean)
        assert 18 <= input_psnr(rendered.degraded, rendered.clean) <= 24
        inside += record == _draw(free, variant)
    assert 0 < inside < 12  # first draws that fit are kept, others were drawn again
    with pytest.raises(ConfigError, match="only pixels tell"):
        _draw(recipe)
    with pytest.raises(ConfigError, match="widen input_psnr"):
        _draw(_recipe({"noise": {"sigma_255": 50}}, "listed", input_psnr=[40, 50]), clean=lambda: clean)


def test_deep_float_and_grey_images_are_taken_as_eight_bit_colour() -> None:
    record, photo = _draw(_recipe()), _photo()
    expected = render(record, photo).degraded
    np.testing.assert_array_equal(render(record, photo.astype(np.uint16) * 257).degraded, expected)
    np.testing.assert_array_equal(render(record, photo / 255.0).degraded, expected)
    grey = photo[..., 0]
    np.testing.assert_array_equal(render(record, grey).degraded, render(record, np.stack([grey] * 3, -1)).degraded)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    dtype=st.sampled_from(["uint8", "uint16", "float32", "float64"]),
    channels=st.sampled_from([0, 1, 3]),
    order=st.sampled_from(["cdd11", "physical"]),
    nonuniform=st.booleans(),
    variant=st.integers(0, 1000),
)
def test_any_image_renders_or_is_refused(
    height: int, width: int, dtype: str, channels: int, order: str, nonuniform: bool, variant: int
) -> None:
    shape = (height, width, channels)[: 3 if channels else 2]
    unit = generator(variant).random(shape)
    clean = unit.astype(dtype) if dtype.startswith("float") else (unit * np.iinfo(dtype).max).astype(dtype)
    before = clean.copy()
    rendered = render(_draw(_recipe(order=order), variant, nonuniform=nonuniform), clean, labels=True)
    assert rendered.degraded.shape == rendered.clean.shape == (height, width, 3)
    assert rendered.degraded.dtype == np.uint8
    assert np.isfinite(rendered.severity).all()
    np.testing.assert_array_equal(clean, before)


@pytest.mark.slow
def test_a_twelve_megapixel_image_renders() -> None:
    clean = np.tile(_photo(300, 400), (10, 10, 1))
    rendered = render(_draw(_recipe(), nonuniform=True), clean)
    assert rendered.degraded.shape == (3000, 4000, 3)
    assert np.isfinite(rendered.severity).all()


def test_own_maps_of_any_depth_and_size_are_used() -> None:
    record, photo = _draw(_recipe({"haze": {}})), _photo()
    depth = np.linspace(0, 1, 90)[None].repeat(70, 0)
    expected = render(record, photo, inverse_depth=depth).degraded.astype(int)
    coarse = np.rint(depth[:35, ::2] * 65535).astype(np.uint16)
    found = render(record, photo, inverse_depth=coarse).degraded.astype(int)
    assert np.abs(found - expected).max() <= 3
    assert np.abs(render(record, photo).degraded.astype(int) - expected).max() > 20


def test_a_record_holds_to_the_maps_it_was_drawn_for() -> None:
    photo, recipe = _photo(), _recipe({"low": {}, "haze": {}})
    depth, light = (generator(seed).random((35, 45)) for seed in (1, 2))
    record = _draw(recipe, inverse_depth=depth, light=light)
    assert record == Record.model_validate_json(record.model_dump_json())
    assert record.nodes == _draw(recipe).nodes  # maps do not move the draws
    expected = render(record, photo, inverse_depth=depth, light=light).degraded
    single = render(record, photo, inverse_depth=depth.astype(np.float32), light=light.astype(np.float32))
    np.testing.assert_array_equal(single.degraded, expected)
    for maps, message in (
        ({"inverse_depth": depth, "light": depth}, "a light map with the digest .* draw the sample again"),
        ({"inverse_depth": light, "light": light}, "a depth map with the digest .* pass that depth map"),
        ({"inverse_depth": depth}, "own light map, and none was given"),
        ({"light": light}, "own depth map, and none was given"),
    ):
        with pytest.raises(RecordError, match=message):
            render(record, photo, **maps)


def test_records_of_the_engine_before_map_digests_still_render() -> None:
    record = _draw(_recipe())
    older = json.loads(record.model_dump_json())
    for key in ("depth_sha256", "light_sha256"):
        del older["scene"][key]
    again = Record.model_validate_json(json.dumps(older | {"engine_version": "1.0"}))
    np.testing.assert_array_equal(render(again, _photo()).degraded, render(record, _photo()).degraded)
