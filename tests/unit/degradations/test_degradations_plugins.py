"""Families from outside: functions, module:Name, registration, entry points."""

from __future__ import annotations

import numpy as np
import pytest

from cea.degradations.contract.base import Applied, Context
from cea.degradations.contract.functions import family
from cea.degradations.contract.registry import FAMILIES
from cea.errors import ConfigError
from cea.registry import Registry
from cea.testing.degradations import DegradationContract, context, make, picture, scene_maps


def draw(rng):
    return {"period": int(rng.integers(2, 5)), "loss": float(rng.uniform(0.2, 0.6)), "names": ["a", None]}


def darken(image, values, rng):
    """Every so many lines lose light, each by a share of its own."""
    image[:: values["period"]] *= 1 - values["loss"] * rng.random((len(image[:: values["period"]]), 1, 1))
    return image


Lines = family("Lines", draw, darken, stage="sensor")
Cropped = family("Cropped", draw, lambda image, values, rng: image[1:])
Undefined = family("Undefined", draw, lambda image, values, rng: image * np.nan)
TARGET = f"{__name__}:Lines"


class TestLines(DegradationContract):
    family = TARGET


def test_function_family_reads_its_own_docstring_and_stage():
    assert Lines.__doc__ == darken.__doc__
    assert Lines.stage == "sensor"
    assert FAMILIES[TARGET] is Lines


def test_strength_blends_a_function_linearly():
    lines, image = make(TARGET, {}), picture((30, 40))
    full = lines.apply(image, lines.at(1.0), context((30, 40))).image
    half = lines.apply(image, lines.at(1.0), Context(scene_maps((30, 40)), 3, np.full((30, 40), 0.5, np.float32))).image
    np.testing.assert_allclose(half, (image + full) / 2, atol=1e-6)


@pytest.mark.parametrize("kind", [Cropped, Undefined])
def test_function_that_breaks_the_image_is_named(kind):
    broken = kind(kind.Ranges())
    with pytest.raises(ConfigError, match=kind.__name__):
        broken.apply(picture((8, 8)), broken.at(1.0), context((8, 8)))


def test_contract_catches_what_it_is_for():
    """The suite must fail on a family that breaks it: each breach is caught by the test named after it."""
    state = []

    def stateful(image, values, rng):
        state.append(1)
        return np.clip(image + 0.01 * len(state), 0, 1)

    def global_randomness(image, values, rng):
        return np.clip(image + 0.1 * np.random.random(), 0, 1)

    breaches = {
        "test_same_params_same_bytes": stateful,
        "test_stream_is_the_only_randomness": global_randomness,
    }
    for test, apply in breaches.items():
        kind = family("Broken", lambda rng: {}, apply)
        contract = type("Contract", (DegradationContract,), {"make": lambda self, kind=kind: kind(kind.Ranges())})()
        with pytest.raises(AssertionError):
            getattr(contract, test)()


class InDoublePrecision(Lines):
    def apply(self, image, params, context):
        result = super().apply(image, params, context)
        return Applied(result.image.astype(np.float64), result.severity)


class Overwriting(Lines):
    def apply(self, image, params, context):
        image *= np.float32(0.5)
        return super().apply(image, params, context)


class NeverOff(Lines):
    def apply(self, image, params, context):
        return super().apply(image - np.float32(0.01), params, context)


class Milder(Lines):
    def at(self, severity):
        return super().at(1 - severity)


class Stubborn(Lines):
    def apply(self, image, params, context):
        return super().apply(image, params, Context(context.scene, context.stream))


@pytest.mark.parametrize(
    ("kind", "test", "arguments"),
    [
        (InDoublePrecision, "test_takes_every_size", ((17, 31),)),
        (Overwriting, "test_leaves_its_input_alone", ()),
        (NeverOff, "test_severity_zero_is_the_identity", ()),
        (Milder, "test_damage_grows_with_severity", ()),
        (Stubborn, "test_strength_field_weakens", ()),
    ],
)
def test_contract_fails_each_flaw(kind, test, arguments):
    contract = type("Contract", (DegradationContract,), {"make": lambda self: kind(kind.Ranges())})()
    with pytest.raises(AssertionError):
        getattr(contract, test)(*arguments)


def test_decorator_registers_once():
    registry = Registry("degradation")
    registry.register("lines")(Lines)
    assert registry["lines"] is Lines
    with pytest.raises(ConfigError, match="registered twice"):
        registry.register("lines")(Cropped)


def test_entry_point_of_an_installed_package_is_found_by_name(tmp_path, monkeypatch):
    metadata = tmp_path / "lines_plugin-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: lines-plugin\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[cea.degradations]\nlines = {TARGET}\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry("degradation", group="cea.degradations")
    assert "lines" in registry
    assert list(registry) == ["lines"]
    assert registry["lines"].name == "Lines"


def test_unknown_family_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'motion_blur'"):
        FAMILIES["motion_blurr"]
    with pytest.raises(ConfigError, match="cannot be imported"):
        FAMILIES["nowhere_at_all:Thing"]


def test_an_address_is_used_without_being_registered():
    names = list(FAMILIES)
    assert FAMILIES[TARGET] is Lines
    assert list(FAMILIES) == names
