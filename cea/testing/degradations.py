"""What every degradation family must hold to, as tests that a plug-in inherits in two lines.

In a test file of the plug-in::

    from cea.testing.degradations import DegradationContract

    class TestFog(DegradationContract): family = "my_fog:Fog"

This is the only file of the package that needs pytest.
"""

from __future__ import annotations

import hashlib
import importlib
import itertools
import json
import pickle
import random
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from typing import Any, ClassVar

import numpy as np
import pytest

from cea.config import parse
from cea.degradations.contract.base import STAGES, Applied, Context, Degradation, Params, Scene
from cea.degradations.contract.registry import FAMILIES
from cea.rng import generator
from cea.types import ImageF, Map

SIZES = ((1, 1), (1, 7), (6, 1), (2, 3), (17, 31), (64, 48))
"""Heights and widths that every family must take; odd, tiny and flat ones break most code."""

SEVERITIES = (0.0, 0.25, 0.5, 0.75, 1.0)

SLACK = 0.02
"""By how much of itself the damage may fall between two severities (random variation of a stream)."""

SPARED = 0.25
"""Share of 32 x 32 px blocks that may stay untouched by a family that is not local: rain and snow have gaps."""

ROUNDING = 1e-6
"""Less than a thousandth of an 8-bit level."""


class DegradationContract:
    """Subclass it, name the family, and pytest runs every test below on it.

    Attributes:
        family: a registered name or ``module:Class``.
        ranges: what params.yaml would say under the family; empty for its defaults.
    """

    family: ClassVar[str]
    ranges: ClassVar[Mapping[str, Any]] = {}

    def make(self) -> Degradation[Any, Any]:
        """The family with its ranges."""
        return make(self.family, self.ranges)

    def test_declares_itself(self) -> None:
        """A name, a stage of the formation, and a documented unit for every number."""
        family = self.make()
        assert family.name, "a family needs a name"
        assert family.stage in STAGES, f"unknown stage {family.stage!r}"
        for model in (type(family).Ranges, type(family).Params):
            bare = [key for key, entry in model.model_fields.items() if not entry.description]
            assert not bare, f"{model.__name__}: no docstring under {', '.join(bare)}"

    def test_draws_follow_the_generator_alone(self) -> None:
        """The same seed gives the same numbers; neither NumPy's nor Python's global state is read or moved."""
        family = self.make()
        before = global_state()
        first = family.sample(generator(5))
        assert global_state() == before, "sample moved a global generator"
        random.random()
        np.random.random()
        assert family.sample(generator(5)) == first, "sample is not a function of its generator"

    def test_params_survive_json(self) -> None:
        """A record is JSON: every number comes back exactly, and the pixels with it."""
        family = self.make()
        for params in (*drawn(family), *(family.at(severity) for severity in SEVERITIES)):
            again = type(family).Params.model_validate_json(json.dumps(json.loads(params.model_dump_json())))
            assert again == params, f"{params!r} came back as {again!r}"
            assert digest(self.run(again)) == digest(self.run(params))

    @pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
    def test_takes_every_size(self, size: tuple[int, int]) -> None:
        """Shape and dtype are kept, nothing becomes NaN, severity stays in [0, 1], with and without a field."""
        family = self.make()
        for params in (*drawn(family), family.at(1.0)):
            check_shapes(self.run(params, size), size)
            check_shapes(self.run(params, size, strength=ramp(size)), size)

    @pytest.mark.parametrize("level", [0.0, 1.0])
    def test_takes_black_and_white(self, level: float) -> None:
        """A constant image at either end of the range gives finite numbers."""
        family = self.make()
        image = np.full((24, 32, 3), level, np.float32)
        check_shapes(family.apply(image, family.at(1.0), context((24, 32))), (24, 32))

    def test_leaves_its_input_alone(self) -> None:
        """Neither the image nor the maps of the scene nor the strength map change."""
        family = self.make()
        image, scene, strength = picture((40, 56)), scene_maps((40, 56)), ramp((40, 56))
        before = [array.copy() for array in (image, scene.inverse_depth, scene.light, strength)]
        result = family.apply(image, family.at(1.0), Context(scene, 3, strength))
        after = (image, scene.inverse_depth, scene.light, strength)
        for name, old, new in zip(("image", "inverse_depth", "light", "strength"), before, after, strict=True):
            assert np.array_equal(old, new), f"apply changed {name}"
        assert result.image.shape == image.shape

    def test_same_params_same_bytes(self) -> None:
        """Twice the same pixels, also after another stream, and for both layouts of the image in memory."""
        family = self.make()
        params = drawn(family)[0]
        first = digest(self.run(params))
        self.run(params, stream=4)
        assert digest(self.run(params)) == first, "apply keeps a state"
        assert digest(self.run(params, planar=True)) == first, "apply depends on the memory layout"

    def test_stream_is_the_only_randomness(self) -> None:
        """apply reads no global generator, and moves none."""
        params = self.make().at(1.0)
        before = global_state()
        first = digest(self.run(params))
        assert global_state() == before, "apply moves a global generator"
        random.random()
        np.random.random()
        assert digest(self.run(params)) == first, "apply reads a global generator"

    def test_severity_zero_is_the_identity(self) -> None:
        """No pixel moves by more than rounding, and the severity map says so; strength 0 does so to any parameters."""
        family = self.make()
        image = picture((40, 56))
        zero = family.apply(image, family.at(0.0), context((40, 56)))
        assert np.abs(zero.image - image).max() < ROUNDING, "at(0) changes the image"
        assert not zero.severity.any(), "at(0) has a severity"
        off = family.apply(image, family.at(1.0), Context(scene_maps((40, 56)), 3, np.zeros((40, 56), np.float32)))
        assert np.abs(off.image - image).max() < ROUNDING, "strength 0 changes the image"
        assert not off.severity.any(), "strength 0 leaves a severity"

    def test_full_strength_changes_nothing(self) -> None:
        """A strength map of ones acts as no map (to half an 8-bit level)."""
        params = self.make().at(0.8)
        plain, full = (self.run(params, strength=s).image for s in (None, np.ones((40, 56), np.float32)))
        assert float(np.abs(np.clip(plain, 0, 1) - np.clip(full, 0, 1)).max()) < 0.5 / 255

    def test_damage_grows_with_severity(self) -> None:
        """Mean absolute error and mean severity rise from 0 to 1."""
        family = self.make()
        results = [self.run(family.at(severity), (96, 128)) for severity in SEVERITIES]
        damage = [float(np.abs(np.clip(r.image, 0, 1) - picture((96, 128))).mean()) for r in results]
        marked = [float(r.severity.mean()) for r in results]
        for name, values in (("error", damage), ("severity", marked)):
            assert values[-1] > 0, f"no {name} at severity 1"
            assert all(b >= a * (1 - SLACK) for a, b in itertools.pairwise(values)), f"{name} falls: {values}"

    def test_strength_field_weakens(self) -> None:
        """Half the strength does less damage than the whole."""
        params = self.make().at(1.0)
        image = picture((40, 56))
        errors = [
            float(
                np.abs(np.clip(self.run(params, strength=np.full((40, 56), s, np.float32)).image, 0, 1) - image).mean()
            )
            for s in (0.5, 1.0)
        ]
        assert errors[0] < errors[1], f"half strength does as much damage as full: {errors}"

    def test_severity_is_true(self) -> None:
        """No severity where nothing changes, some where something does; a family that spares whole areas is local."""
        family, size = self.make(), (192, 256)
        image = picture(size)
        result = family.apply(image, family.at(1.0), context(size))
        change = blocks(np.abs(np.clip(result.image, 0, 1) - image).max(axis=2))
        severity = blocks(result.severity)
        unmarked = (severity == 0) & (change > 2 / 255)
        assert not unmarked.any(), "apply changes areas to which it gives no severity"
        spared = (change < 0.5 / 255).mean()
        marked = ((severity > 0.25) & (change < 0.5 / 255)).mean()
        assert marked < SPARED, f"severity marks areas that apply leaves alone ({marked:.0%} of the picture)"
        assert family.local or spared < SPARED, f"{spared:.0%} of the picture stays untouched: say local = True"

    def test_pickles(self) -> None:
        """Family and parameters go through pickle, as they must to reach workers."""
        family, params = pickle.loads(pickle.dumps((self.make(), drawn(self.make())[0])))
        assert digest(family.apply(picture((40, 56)), params, context((40, 56)))) == digest(self.run(params))

    def test_runs_in_a_worker(self) -> None:
        """A fresh process that knows only the family's address and the record's JSON makes the same pixels."""
        params = drawn(self.make())[0]
        target = FAMILIES.target(self.family)
        task = _workers().submit(render_elsewhere, target, params.model_dump_json())
        assert task.result(timeout=120) == digest(self.run(params)), "another process makes other pixels"

    def run(
        self,
        params: Params,
        size: tuple[int, int] = (40, 56),
        *,
        stream: int = 3,
        strength: Map | None = None,
        planar: bool = False,
    ) -> Applied:
        """Apply the family to the test picture."""
        image = picture(size)
        if planar:
            image = np.ascontiguousarray(image.transpose(2, 0, 1)).transpose(1, 2, 0)
        return self.make().apply(image, params, Context(scene_maps(size), stream, strength))


def make(family: str, ranges: Mapping[str, Any]) -> Degradation[Any, Any]:
    """The family of that name with its ranges, as a recipe makes it."""
    kind = FAMILIES[family]
    return kind(parse(kind.Ranges, dict(ranges), family))


def drawn(family: Degradation[Any, Any]) -> list[Params]:
    """Three draws."""
    return [family.sample(generator(seed)) for seed in range(3)]


def picture(size: tuple[int, int]) -> ImageF:
    """A picture with edges and colours at all scales, as photographs have; (H, W, 3) float32 in [.05, .95]."""
    rng, image = generator(11), np.full((*size, 3), 0.5)
    for side in (1, 2, 4, 8, 16, 32):
        blocks = rng.uniform(-0.12, 0.12, (size[0] // side + 1, size[1] // side + 1, 3))
        image += blocks.repeat(side, axis=0).repeat(side, axis=1)[: size[0], : size[1]]
    return np.clip(image, 0.05, 0.95).astype(np.float32)


def scene_maps(size: tuple[int, int]) -> Scene:
    """Depth that comes nearer downwards, light from the left."""
    y, x = (np.linspace(0, 1, n, dtype=np.float32) for n in size)
    return Scene(np.repeat(y[:, None], size[1], axis=1), np.repeat((1 - 0.7 * x)[None], size[0], axis=0))


def context(size: tuple[int, int]) -> Context:
    """The scene and stream of the tests, full strength."""
    return Context(scene_maps(size), 3)


def global_state() -> bytes:
    """The state of Python's and of NumPy's global generator."""
    return pickle.dumps((random.getstate(), np.random.get_state()))


def blocks(values: Map, side: int = 32) -> Map:
    """Maxima over blocks of ``side`` pixels."""
    height, width = (length // side for length in values.shape)
    return values[: height * side, : width * side].reshape(height, side, width, side).max(axis=(1, 3))


def ramp(size: tuple[int, int]) -> Map:
    """Strength from 0 on the left to 1 on the right."""
    return np.repeat(np.linspace(0, 1, size[1], dtype=np.float32)[None], size[0], axis=0)


def check_shapes(result: Applied, size: tuple[int, int]) -> None:
    """Everything about a result that can be checked without knowing the family."""
    assert result.image.shape == (*size, 3), f"image is {result.image.shape}, not {(*size, 3)}"
    assert result.image.dtype == np.float32, f"image is {result.image.dtype}, not float32"
    assert np.isfinite(result.image).all(), "image has NaN or infinity"
    assert float(np.abs(result.image).max()) < 8, "image is far outside [0, 1]"
    assert result.severity.shape == size, f"severity is {result.severity.shape}, not {size}"
    assert result.severity.dtype == np.float32, f"severity is {result.severity.dtype}, not float32"
    assert 0 <= float(result.severity.min()) <= float(result.severity.max()) <= 1, "severity leaves [0, 1]"
    for name, label in result.labels.items():
        assert label.shape[:2] == size, f"label {name} is {label.shape}"
        assert np.isfinite(label).all(), f"label {name} has NaN or infinity"


def digest(result: Applied) -> str:
    """A hash of every byte of the image and of the severity."""
    arrays = (np.ascontiguousarray(result.image), np.ascontiguousarray(result.severity))
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def render_elsewhere(target: str, params: str) -> str:
    """What a worker does: find the class, read the record, make the pixels, hash them. It does not know the ranges."""
    module, _, name = target.partition(":")
    kind: type[Degradation[Any, Any]] = getattr(importlib.import_module(module), name)
    family = kind(kind.Ranges())
    return digest(family.apply(picture((40, 56)), kind.Params.model_validate_json(params), context((40, 56))))


@cache
def _workers() -> ProcessPoolExecutor:
    # Spawned, not forked: a fork would inherit the very state that the test wants to be without.
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))
