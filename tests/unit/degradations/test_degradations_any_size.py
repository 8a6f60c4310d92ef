"""Every registered family at any size and with extreme numbers: finite pixels or a clear error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cea.config import parse
from cea.degradations.contract.base import Context
from cea.degradations.contract.ranges import Within
from cea.degradations.contract.registry import FAMILIES
from cea.errors import ConfigError
from cea.rng import generator
from cea.testing.degradations import check_shapes, picture, ramp, scene_maps

NAMES = [name for name in FAMILIES if name != "albumentations"]
SIDES = st.one_of(st.integers(1, 9), st.integers(1, 150))


def extremes(name):
    """The ranges of a family with each number at the least or the most that is allowed."""
    fields = FAMILIES[name].Ranges.model_fields
    bounds = {key: next((m for m in field.metadata if isinstance(m, Within)), None) for key, field in fields.items()}
    return st.fixed_dictionaries(
        {key: st.sampled_from([bound.least, bound.most]) for key, bound in bounds.items() if bound is not None}
    )


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data(), height=SIDES, width=SIDES, uneven=st.booleans())
@settings(max_examples=12, deadline=None)
def test_extreme_numbers_at_any_size(name, data, height, width, uneven):
    kind = FAMILIES[name]
    family = kind(parse(kind.Ranges, data.draw(extremes(name)), name))
    params = family.sample(generator(data.draw(st.integers(0, 2**64 - 1))))
    size = (height, width)
    context = Context(scene_maps(size), data.draw(st.integers(0, 2**64 - 1)), ramp(size) if uneven else None)
    result = family.apply(picture(size), params, context)
    if name in ("noise", "low", "correlated_noise", "rain"):  # these may leave [0, 1] by far; the chain clips
        assert np.isfinite(result.image).all()
        assert result.image.shape == (*size, 3)
    else:
        check_shapes(result, size)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_twelve_megapixels(name):
    size = (3000, 4000)
    image = np.broadcast_to(np.linspace(0, 1, 4000, dtype=np.float32)[None, :, None], (*size, 3)).copy()
    family = FAMILIES[name](FAMILIES[name].Ranges())
    result = family.apply(image, family.at(0.7), Context(scene_maps(size), 5))
    assert result.image.shape == (*size, 3)
    assert np.isfinite(result.image[::97, ::97]).all()


@pytest.mark.parametrize("name", NAMES)
def test_numbers_out_of_range_name_the_key(name):
    bounded = [
        key for key, f in FAMILIES[name].Ranges.model_fields.items() if any(isinstance(m, Within) for m in f.metadata)
    ]
    for key in bounded:
        with pytest.raises(ConfigError, match=key):
            parse(FAMILIES[name].Ranges, {key: [-1e9, 1e9]}, name)
        with pytest.raises(ConfigError, match=key):
            parse(FAMILIES[name].Ranges, {key: float("nan")}, name)
