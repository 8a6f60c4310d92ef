"""Every registered family, found through the registry, against the contract that ships with the package."""

from __future__ import annotations

import numpy as np
import pytest

from cea.config import parse
from cea.degradations.contract.base import Applied
from cea.degradations.contract.functions import FunctionFamily, family
from cea.degradations.contract.registry import FAMILIES
from cea.degradations.contract.strength import severity_map
from cea.degradations.engine.draw import draw
from cea.degradations.engine.recipes import RecipeConfig
from cea.degradations.engine.render import render
from cea.rng import SampleKey
from cea.testing.degradations import DegradationContract, picture

for _name in FAMILIES:
    _title = f"Test_{_name}"
    globals()[_title] = type(_title, (DegradationContract,), {"family": _name, "__module__": __name__})


def sample(rng):
    return {"radius": 40}


def apply(image, values, rng):
    image[: values["radius"], : values["radius"]] = 1 - image[: values["radius"], : values["radius"]]
    return image


Blob = family("Blob", sample, apply, local=True)
Undeclared = family("Undeclared", sample, apply)


class Painted(FunctionFamily):
    """A family that calls its blob severe everywhere."""

    name, stage, local, pair = "painted", "sensor", True, Blob.pair

    def apply(self, image, params, context):
        result = super().apply(image, params, context)
        return Applied(result.image, severity_map(image, params.amount, context.strength))


class TestBlob(DegradationContract):
    family = f"{__name__}:Blob"


@pytest.mark.parametrize(
    ("dishonest", "message"), [("Undeclared", "say local = True"), ("Painted", "severity marks areas")]
)
def test_a_plugin_with_false_labels_fails_the_suite(dishonest: str, message: str):
    suite = DegradationContract()
    suite.family = f"{__name__}:{dishonest}"  # type: ignore[misc]
    with pytest.raises(AssertionError, match=message):
        suite.test_severity_is_true()


def test_a_local_degradation_is_labelled_where_it_is_and_never_counts_as_uniform():
    recipe = parse(RecipeConfig, {"nodes": {"blob": {"family": f"{__name__}:Blob"}}}, "recipes.spot")
    clean = (picture((128, 160)) * 255).astype(np.uint8)
    record = draw(
        "spot", recipe, SampleKey(1, "0" * 64, "spot", 0), clean_id="a", split="test", crop=None, nonuniform=False
    )
    assert not record.uniform
    (severity,) = render(record, clean).severity
    assert severity[:40, :40].min() == 1
    assert not severity[50:].any()
    assert not severity[:, 50:].any()
