"""albumentations both ways."""

from __future__ import annotations

import sys
from typing import ClassVar

import numpy as np
import pytest

from cea.config import parse
from cea.degradations.contract.base import Context
from cea.degradations.engine.bounds import input_psnr
from cea.degradations.engine.draw import draw
from cea.degradations.engine.recipes import RecipeConfig
from cea.degradations.engine.records import Record
from cea.degradations.engine.render import render
from cea.degradations.families.albumentations import Albumentations, AlbumentationsRanges, library
from cea.errors import ConfigError
from cea.levels import to_uint8
from cea.rng import SampleKey
from cea.testing.degradations import DegradationContract, context, picture, scene_maps


class TestGaussNoise(DegradationContract):
    family = "albumentations"
    ranges: ClassVar = {"transform": "GaussNoise", "arguments": {"std_range": [0.1, 0.2]}}


def noise_of(stream, transform="GaussNoise"):
    family = Albumentations(AlbumentationsRanges(transform=transform))
    image = np.full((48, 64, 3), 0.5, np.float32)
    return family.apply(image, family.at(1.0), Context(scene_maps((48, 64)), stream)).image - image


def test_draws_are_those_of_the_transform_seeded_with_the_stream():
    image = picture((40, 56))
    family = Albumentations(AlbumentationsRanges(transform="ISONoise"))
    transform = library().ISONoise()
    transform.set_random_seed(3)
    expected = transform(image=to_uint8(image), force_apply=True)["image"]
    np.testing.assert_array_equal(to_uint8(family.apply(image, family.at(1.0), context((40, 56))).image), expected)


def test_two_nodes_draw_independently():
    recipe = parse(
        RecipeConfig,
        {
            "order": "listed",
            "nodes": {
                "first": {"family": "albumentations", "transform": "GaussNoise"},
                "second": {"family": "albumentations", "transform": "GaussNoise"},
            },
        },
        "recipes.twice",
    )
    record = draw(
        "twice", recipe, SampleKey(1, "sha", "twice", 0), clean_id="x", split="train", crop=None, nonuniform=False
    )
    assert record.nodes[0].stream != record.nodes[1].stream
    first, second = (noise_of(node.stream) for node in record.nodes)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.05
    # Which is what a seeded Compose does not give: its children share one seed.
    A = library()
    compose = A.Compose([A.GaussNoise(p=1), A.GaussNoise(p=1)], seed=5)
    grey = np.full((48, 64, 3), 128, np.uint8)
    once, twice = (t(image=grey)["image"].astype(int) - 128 for t in compose.transforms)
    assert np.corrcoef(once.ravel(), twice.ravel())[0, 1] > 0.99


def test_record_replays_the_transform():
    recipe = parse(RecipeConfig, {"nodes": {"albumentations": {"transform": "Posterize"}}}, "recipes.p")
    key = SampleKey(1, "sha", "p", 0)
    record = draw("p", recipe, key, clean_id="x", split="train", crop=None, nonuniform=False)
    image = to_uint8(picture((40, 56)))
    again = Record.model_validate_json(record.model_dump_json())
    np.testing.assert_array_equal(render(record, image).degraded, render(again, image).degraded)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"transform": "GausNoise"}, "pixel-level transform"),
        ({"transform": "HorizontalFlip"}, "moves no pixels"),
        ({"transform": "GaussNoise", "arguments": {"std_rage": [0.1, 0.2]}}, "std_rage"),
        ({"transform": "GaussNoise", "arguments": {"p": 0.5}}, "probability"),
    ],
)
def test_mistakes_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        parse(AlbumentationsRanges, settings, "recipes.x.nodes.albumentations")


def test_transform_that_changes_the_type_is_refused():
    family = Albumentations(AlbumentationsRanges(transform="ToFloat"))
    with pytest.raises(ConfigError, match="keeps size and type"):
        family.apply(picture((8, 8)), family.at(1.0), context((8, 8)))


def degrade(*args, **kwargs):
    from cea.degradations.tools.albumentations import Degrade

    return Degrade(*args, **kwargs)


def test_ours_runs_inside_a_pipeline_and_is_seeded_by_it():
    A = library()
    image = to_uint8(picture((96, 96)))

    def run(seed):
        pipeline = A.Compose([A.RandomCrop(64, 64), degrade({"haze": {}, "noise": {"sigma_255": 20}}, p=1)], seed=seed)
        return pipeline(image=image)["image"]

    assert run(1).shape == (64, 64, 3)
    assert run(1).dtype == np.uint8
    np.testing.assert_array_equal(run(1), run(1))
    assert (run(1) != run(2)).mean() > 0.5


def test_ours_takes_a_shipped_recipe_by_its_name():
    A = library()
    image = to_uint8(picture((48, 64)))
    transform = degrade("cdd11/low_haze_rain", p=1)
    assert (A.Compose([transform], seed=1)(image=image)["image"] != image).any()
    record = Record.model_validate_json(transform.params["record"])
    assert [node.label for node in record.nodes] == ["low", "rain", "haze"]  # the order of CDD-11, not "physical"
    assert A.from_dict(A.to_dict(transform)).nodes == "cdd11/low_haze_rain"
    with pytest.raises(ConfigError, match="low_haze_rain"):
        degrade("cdd11/low_haze_rian")


def test_without_albumentations_the_extra_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "cea.degradations.tools.albumentations", raising=False)
    monkeypatch.setattr("cea.extras.find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[albumentations\]'"):
        degrade({"haze": {}})


def test_two_of_ours_in_one_seeded_compose_differ():
    A = library()
    pipeline = A.Compose(
        [degrade({"noise": {"sigma_255": 20}}, p=1), degrade({"noise": {"sigma_255": 21}}, p=1)], seed=1
    )
    grey = np.full((64, 64, 3), 128, np.uint8)
    first, second = (t(image=grey)["image"].astype(int) - 128 for t in pipeline.transforms)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.05


def test_ours_keeps_floats_and_its_record_and_survives_serialisation():
    A = library()
    transform = degrade({"noise": {"sigma_255": 20}}, nonuniform=True, p=1)
    image = picture((40, 56))
    result = transform(image=image)["image"]
    assert result.dtype == np.float32
    record = Record.model_validate_json(transform.params["record"])
    np.testing.assert_array_equal(to_uint8(result), render(record, image).degraded)
    assert not record.uniform
    again = A.from_dict(A.to_dict(transform))
    assert (again.nodes, again.order, again.nonuniform) == (transform.nodes, "physical", True)


def test_ours_keeps_the_input_psnr_within_bounds():
    A = library()
    image = to_uint8(picture((64, 80)))
    bounded = degrade({"noise": {"sigma_255": [1, 60]}}, input_psnr=(20, 24), p=1)
    found = [input_psnr(A.Compose([bounded], seed=seed)(image=image)["image"], image) for seed in range(8)]
    assert 20 <= min(found) <= max(found) <= 24
    assert A.from_dict(A.to_dict(bounded)).input_psnr == (20, 24)


def test_ours_refuses_a_wrong_recipe():
    with pytest.raises(ConfigError, match="sigma_255"):
        degrade({"noise": {"sigma_25": 20}})
