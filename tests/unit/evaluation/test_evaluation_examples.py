"""Pictures: the choice ignores results, scenes take turns, files are what the report expects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cea.errors import DataError
from cea.evaluation.cases import Case, Pixels
from cea.evaluation.config import EvaluationConfig, ExamplesConfig
from cea.evaluation.examples import choose, reduced, write_pictures
from cea.evaluation.pictures import read_pictures
from cea.evaluation.table import evaluate
from cea.io.images import read_rgb


def cases(scenes=3, recipes=("noise", "haze"), height=24, width=40):
    found = []
    for recipe in recipes:
        for scene in range(scenes):
            generator = np.random.default_rng(scene)
            clean = generator.integers(30, 220, (height, width, 3), dtype=np.uint8)
            noise = generator.normal(0, 10 + 5 * scene, clean.shape)
            pixels = Pixels(
                np.clip(clean + noise, 0, 255).astype(np.uint8), clean, np.full((2, height, width), 99, np.uint8)
            )
            found.append(
                Case(f"s{scene}-{recipe}", recipe, f"s{scene}", ("a", "b"), True, lambda pixels=pixels: pixels)
            )
    return found


def restore(image):
    return np.clip(image / 255 + 0.1, 0, 1)


def table(items):
    return evaluate(items, restore, EvaluationConfig(check=False)).images


def test_choice_depends_on_inputs_only():
    images = table(cases())
    other = images.with_columns(
        pl.col("output_psnr").reverse(), pl.Series("gain_psnr", np.random.default_rng(0).normal(size=len(images)))
    )
    config = ExamplesConfig(worst=0)
    assert choose(images, config) == choose(other, config)


def test_typical_images_come_from_different_scenes_and_worst_ones_follow():
    images = table(cases())
    typical = choose(images, ExamplesConfig(per_recipe=2, worst=0))
    assert [sample for sample, _ in typical][:1] == ["s1-noise"]  # the median of three
    scenes = [sample.split("-")[0] for sample, _ in typical]
    assert len(typical) == 4
    assert len(set(scenes)) == 3
    chosen = choose(images, ExamplesConfig(per_recipe=1, worst=2))
    left = images.filter(~pl.col("sample_id").is_in([sample for sample, _ in chosen[:2]]))
    assert [worst for _, worst in chosen] == [False, False, True, True]
    assert [sample for sample, _ in chosen[2:]] == left.sort("gain_psnr", "sample_id")["sample_id"].to_list()[:2]


def test_files_and_index(tmp_path: Path):
    items = cases()
    images = table(items)
    maps = {"level0": np.random.default_rng(0).normal(size=(8, 30, 50)).astype(np.float32)}
    config = ExamplesConfig(worst=1, affinity=1, affinity_side=25, max_side=64)
    written = write_pictures(tmp_path, items, images, config, restore, lambda image: maps)
    assert read_pictures(tmp_path) == written
    assert len(written) == 3
    for picture in written:
        folder = tmp_path / picture.sample_id
        case = next(item for item in items if item.sample_id == picture.sample_id)
        assert (read_rgb(folder / "input.png") == case.read().degraded).all()
        assert (read_rgb(folder / "clean.png") == case.read().clean).all()
        assert (read_rgb(folder / "severity.png")[..., 0] == 99).all()
        assert read_rgb(folder / "severity.png").shape[:2] == (48, 40)
        assert (folder / "affinity.npz").exists() == picture.affinity
    assert sum(picture.affinity for picture in written) == 1
    with np.load(tmp_path / written[0].sample_id / "affinity.npz") as stacks:
        assert stacks["level0"].shape == (8, 15, 25)
        assert stacks["level0"].mean() == pytest.approx(maps["level0"].mean(), abs=1e-2)


@pytest.mark.parametrize("affinity", [None, lambda image: {}])
def test_networks_without_experts_have_no_maps(tmp_path: Path, affinity):
    items = cases(1)
    written = write_pictures(tmp_path, items, table(items), ExamplesConfig(), restore, affinity)
    assert not any(picture.affinity for picture in written)
    assert not list(tmp_path.rglob("*.npz"))


def test_large_images_are_reduced_to_the_longer_side():
    image = np.zeros((100, 300, 3), np.uint8)
    assert reduced(image, 90).shape == (30, 90, 3)
    assert reduced(image, 300) is image
    assert reduced(np.zeros((1000, 2), np.uint8), 100).shape == (100, 1)


def test_a_folder_without_index_has_no_pictures_and_a_broken_one_is_refused(tmp_path: Path):
    assert read_pictures(tmp_path) == []
    (tmp_path / "pictures.json").write_text('[{"sample_id": 1}]')
    with pytest.raises(DataError, match="not an index of pictures"):
        read_pictures(tmp_path)
