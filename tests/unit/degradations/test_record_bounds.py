"""Records come from outside: each number has bounds, and whatever is drawn lies within them."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from cea.data.records import to_record
from cea.degradations.contract.base import Degradation, Params
from cea.degradations.contract.ranges import Within
from cea.degradations.contract.registry import FAMILIES
from cea.degradations.engine.draw import draw
from cea.degradations.engine.fields import ADAPTER, DRAWN, draw_field
from cea.degradations.engine.recipes import RecipeConfig
from cea.degradations.engine.records import Record
from cea.degradations.engine.render import render
from cea.degradations.engine.scene import draw_scene
from cea.errors import RecordError
from cea.rng import SampleKey, generator

BUILTIN = tuple(name for name in FAMILIES if FAMILIES.target(name).startswith("cea."))
CLEAN = np.zeros((24, 24, 3), np.uint8)
DRAWS = 200

OUTSIDE = (-1e9, 1e9, float("nan"), float("inf"), -float("inf"), -1e300, 1e300, -(10**9), 10**9, 10**30)


def _record(family: str) -> dict[str, Any]:
    recipe = RecipeConfig(order="listed", nodes={family: {"field": "radial"}})
    key = SampleKey(1, "a" * 64, "r", 0)
    drawn = draw("r", recipe, key, clean_id="i", split="train", crop=None, nonuniform=True)
    found: dict[str, Any] = json.loads(drawn.model_dump_json())
    return found


def _numbers(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of all numbers in a document."""
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _numbers(inner, (*path, key))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield path


def _with(document: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    changed = place = copy.deepcopy(document)
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return changed


def _of_params(family: str) -> list[tuple[Any, ...]]:
    return [path for path in _numbers(_record(family)) if path[:3] == ("nodes", 0, "params")]


CASES = [(family, path) for family in BUILTIN for path in _of_params(family)]


@pytest.mark.parametrize(("family", "path"), CASES, ids=lambda part: part if isinstance(part, str) else str(part[3:]))
def test_a_number_out_of_bounds_is_refused_in_one_line(family: str, path: tuple[Any, ...]) -> None:
    record = _record(family)
    for value in OUTSIDE:
        with pytest.raises(RecordError) as refused:
            render(to_record(_with(record, path, value)), CLEAN)
        said = str(refused.value)
        assert str(path[3]) in said
        assert "\n" not in said


def test_every_family_has_a_number() -> None:
    assert {family for family, _ in CASES} == set(BUILTIN)


@pytest.mark.parametrize("kind", [*DRAWN, "constant"])
def test_a_field_out_of_bounds_is_refused(kind: str) -> None:
    record, spec = _record("noise"), draw_field(kind, generator(3))
    record["nodes"][0]["field"] = json.loads(ADAPTER.dump_json(spec))
    render(to_record(record), CLEAN)
    for path in _numbers(record["nodes"][0]["field"]):
        limit = 10 if path == ("stream",) else 0
        for value in OUTSIDE[limit - 1 :] if limit else OUTSIDE:
            with pytest.raises(RecordError):
                to_record(_with(record, ("nodes", 0, "field", *path), value))


@pytest.mark.parametrize(
    "centres", [[], [[0.5, 0.5]], [[0.5, 0.5, 0.2, 1.0]], [[0.5, 0.5, 0.0]], [[0.5, 0.5, 0.2]] * 257]
)
def test_patches_are_some_and_whole(centres: list[list[float]]) -> None:
    record = _record("noise")
    record["nodes"][0]["field"] = {"kind": "blobs", "low": 0.0, "high": 1.0, "parameter": None, "centres": centres}
    with pytest.raises(RecordError):
        to_record(record)


def test_a_scene_out_of_bounds_is_refused() -> None:
    record = _record("noise")
    for path in _numbers(record["scene"]):
        for value in OUTSIDE[-1:] if path == ("stream",) else OUTSIDE:
            with pytest.raises(RecordError):
                to_record(_with(record, ("scene", *path), value))


@pytest.mark.parametrize(("family", "parameter"), [("resize", "factor"), ("correlated_noise", "size_px")])
@pytest.mark.parametrize("high", [0.0, 1e-300, 1e-9])
def test_a_number_that_a_field_drives_to_nothing(family: str, parameter: str, high: float) -> None:
    """A factor of 0 would enlarge without end; grains of size 0 are white noise."""
    record = _record(family)
    record["nodes"][0]["field"] = {"kind": "constant", "low": 0.0, "high": high, "parameter": parameter}
    if family == "resize":
        with pytest.raises(RecordError, match="raise the field's low"):
            render(to_record(record), CLEAN)
    else:
        assert render(to_record(record), CLEAN).degraded.std() > 0


class _Extreme(np.random.Generator):
    """Draws at an end: the smallest or largest number that ``random`` may give, and normal ones far out."""

    def __init__(self, unit: float, normal: float) -> None:
        super().__init__(np.random.PCG64(0))
        self.unit, self.normal = unit, normal

    def random(self, *arguments: Any, **options: Any) -> Any:  # type: ignore[override]
        return self.unit

    def standard_normal(self, *arguments: Any, **options: Any) -> Any:  # type: ignore[override]
        return self.normal


def _corners(family: str) -> Iterator[Degradation[Any, Any]]:
    """The family with its own ranges, and with each range at an end, over everything, or just below its top."""
    kind = FAMILIES[family]
    yield kind(kind.Ranges())
    bounds = {
        name: (limits[0].least, limits[0].most)
        for name, entry in kind.Ranges.model_fields.items()
        if (limits := [each for each in entry.metadata if isinstance(each, Within)])
    }
    ends = [lambda low, high: low, lambda low, high: high, lambda low, high: [low, high]]
    ends.append(lambda low, high: [high * (1 - 1e-13), high])
    ends.append(lambda low, high: [low + 0.1 * (high - low), high])
    choices = itertools.product(ends, repeat=len(bounds)) if len(bounds) < 4 else ([end] * len(bounds) for end in ends)
    for chosen in choices:
        ranges = {name: end(*bounds[name]) for (name, end) in zip(bounds, chosen, strict=True)}
        yield kind(kind.Ranges.model_validate(ranges))


def _all_drawn(family: Degradation[Any, Any]) -> Iterator[Params]:
    rng = generator(11)
    yield from (family.sample(rng) for _ in range(DRAWS))
    for unit, normal in ((0.0, -14.0), (1 - 2.0**-53, 14.0), (1 - 2.0**-52, 0.0), (0.5, 14.0)):
        yield family.sample(_Extreme(unit, normal))
    yield from (family.at(severity) for severity in (0.0, 1e-9, 0.5, 1.0))


@pytest.mark.parametrize("family", BUILTIN)
def test_whatever_is_drawn_lies_within_the_bounds(family: str) -> None:
    kind = FAMILIES[family]
    for degradation in _corners(family):
        for params in _all_drawn(degradation):
            for part in (params, *(part for _, part in degradation.parts(params))):
                told = json.loads(part.model_dump_json())
                assert kind.Params.model_validate(told) == part


def test_fields_and_scenes_that_are_drawn_lie_within_the_bounds() -> None:
    for rng in (generator(1), *(_Extreme(unit, 0.0) for unit in (0.0, 1 - 2.0**-53))):
        for _ in range(DRAWS):
            scene = draw_scene(rng)
            assert type(scene).model_validate_json(scene.model_dump_json()) == scene
            for kind in DRAWN:
                spec = draw_field(kind, rng)
                assert ADAPTER.validate_json(ADAPTER.dump_json(spec)) == spec


def test_the_ends_are_within() -> None:
    record = _record("haze")
    for name, ends in {"beta": (0, 10), "unevenness": (0.0, 1.0), "cap": (0.0, 1.0)}.items():
        for end in ends:
            changed = Record.model_validate(to_record(_with(record, ("nodes", 0, "params", name), end)))
            assert render(changed, CLEAN).degraded.shape == CLEAN.shape
