"""The recipes that ship with the package."""

from __future__ import annotations

import numpy as np
import pytest

from cea.degradations.engine.draw import draw
from cea.degradations.engine.render import render
from cea.degradations.engine.shipped import find, settings
from cea.errors import ConfigError
from cea.levels import to_uint8
from cea.rng import SampleKey
from cea.testing.degradations import picture

CLEAN = to_uint8(picture((72, 96)))


def samples(name, count, *, nonuniform=False):
    label, recipe = find(name)
    keys = [SampleKey(1, "sha", label, variant) for variant in range(count)]
    common = {"clean_id": "x", "split": "train", "crop": None, "nonuniform": nonuniform, "clean": lambda: CLEAN}
    return [draw(label, recipe, key, **common) for key in keys]


@pytest.mark.parametrize("name", settings())
def test_draws_and_renders(name):
    for record in (*samples(name, 3), *samples(name, 2, nonuniform=True)):
        rendered = render(record, CLEAN)
        assert rendered.degraded.shape == CLEAN.shape
        assert (rendered.degraded != CLEAN).any()


def test_the_sets_are_complete():
    names = list(settings())
    assert sum(name.startswith("cdd11/") for name in names) == 11
    assert {"aio3/noise15", "aio3/noise25", "aio3/noise50", "aio3/rain", "aio3/haze"} <= set(names)
    assert {f"aio5/{kind}" for kind in ("noise25", "rain", "haze", "blur", "low")} <= set(names)
    assert sum(name.startswith("real/") for name in names) >= 4


def test_cdd11_order_is_the_published_one():
    for name in (name for name in settings() if name.startswith("cdd11/")):
        (record,) = samples(name, 1)
        labels = [node.label for node in record.nodes]
        assert labels == [label for label in ("low", "rain", "snow", "haze") if label in labels]
        assert sorted(labels) == sorted(name.split("/")[1].split("_"))


def test_aio_noise_levels_are_fixed():
    for sigma in (15, 25, 50):
        assert {record.nodes[0].params["sigma_255"] for record in samples(f"aio3/noise{sigma}", 3)} == {sigma}


def test_real_web_degrades_twice():
    records = samples("real/web", 40)
    families = [[node.family for node in record.nodes] for record in records]
    assert np.mean([sum(f in ("jpeg", "webp") for f in row) == 2 for row in families]) == 1
    assert np.mean([row.count("resize") == 2 for row in families]) > 0.1


def test_real_mixed_is_in_the_order_of_formation_and_varied():
    stages = ("scene", "weather", "optics", "sensor", "codec")
    from cea.degradations.contract.registry import FAMILIES

    seen = set()
    for record in samples("real/mixed", 40):
        ranks = [stages.index(FAMILIES[node.family].stage) for node in record.nodes]
        assert ranks == sorted(ranks)
        seen |= {node.family for node in record.nodes}
    assert len(seen) >= 12


def test_names_are_found_short_and_long_and_own_ones_first():
    assert find("cdd11/low_haze")[0] == "cdd11_low_haze"
    assert find("low_haze")[0] == "cdd11_low_haze"
    own = {"low_haze": {"nodes": {"noise": {}}}}
    name, recipe = find("low_haze", own)
    assert name == "low_haze"
    assert list(recipe.nodes) == ["noise"]


def test_unknown_name_gets_a_suggestion():
    with pytest.raises(ConfigError, match="did you mean 'real/weather'"):
        find("real/wether")
