"""Dead leaves: statistics, depth, and bytes that do not depend on the machine."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from cea.data.dead_leaves import images as module
from cea.data.dead_leaves.images import LeavesConfig, generate
from cea.data.dead_leaves.textures import SIDE, atlas, soften
from cea.rng import generator

CONFIG = LeavesConfig(size=192)


@pytest.fixture(scope="module")
def images() -> list[module.Generated]:
    return [generate(CONFIG, index) for index in range(12)]


def test_shapes_and_types(images):
    assert images[0].rgb.shape == (192, 192, 3)
    assert images[0].rgb.dtype == np.uint8
    assert images[0].inverse_depth.shape == (192, 192)
    assert images[0].inverse_depth.dtype == np.uint16


def test_same_index_same_image_other_index_another(images):
    again = generate(CONFIG, 3)
    assert np.array_equal(again.rgb, images[3].rgb)
    assert np.array_equal(again.inverse_depth, images[3].inverse_depth)
    assert not np.array_equal(images[4].rgb, images[3].rgb)
    assert not np.array_equal(generate(CONFIG.model_copy(update={"seed": 1}), 3).rgb, images[3].rgb)


_PROGRAM = """
import hashlib
from cea.data.dead_leaves.images import LeavesConfig, generate
made = generate(LeavesConfig(size=192), 3)
print(hashlib.sha256(made.rgb.tobytes() + made.inverse_depth.tobytes()).hexdigest())
"""


def test_bytes_do_not_depend_on_the_instruction_set(images):
    """The same image from a process whose NumPy and OpenCV may not use wide vector instructions."""
    available = np._core._multiarray_umath.__cpu_dispatch__  # type: ignore[attr-defined]
    environment = {
        **os.environ,
        "NPY_DISABLE_CPU_FEATURES": " ".join(available),
        "OPENCV_CPU_DISABLE": "AVX512-SKX,AVX2,FMA3",
    }
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    here = hashlib.sha256(images[3].rgb.tobytes() + images[3].inverse_depth.tobytes()).hexdigest()
    assert run.stdout.strip() == here


def test_radii_follow_the_inverse_cube():
    """With density r^-3, 1/r^2 is uniform between its bounds."""
    slab = module._Slab(far=0, near=1, coverage=60, enlarged=1)
    radii = module._radii(generator(1), slab, LeavesConfig(radius_min=4, radius_max=100))
    place = (1 / radii**2 - 1 / 100**2) / (1 / 4**2 - 1 / 100**2)
    assert len(radii) > 5000
    assert place.min() >= 0
    assert place.max() <= 1
    deciles = np.histogram(place, bins=10, range=(0, 1))[0] / len(place)
    assert np.abs(deciles - 0.1).max() < 0.015


def test_colours_are_distributed_like_those_of_photographs(images):
    """Bounds around what 100 photographs measured: spread .20, channel correlation .80-.92, mean |dx| 9.5 of 255."""
    grey = [image.rgb.mean(axis=2) for image in images]
    correlations = [np.corrcoef(image.rgb.reshape(-1, 3).T)[0, 2] for image in images]
    assert 0.3 < np.mean(grey) / 255 < 0.6
    assert 0.12 < np.mean([g.std() for g in grey]) / 255 < 0.3
    assert 0.5 < np.mean(correlations) < 0.97
    assert 5 < np.mean([np.abs(np.diff(g, axis=1)).mean() for g in grey]) < 20


def test_depth_changes_where_leaves_meet_and_nowhere_else():
    """Inverse depth is constant within a leaf, so that without ground its distinct values are few."""
    made = generate(CONFIG, 0)
    assert made.inverse_depth.max() > 0.7 * 65535
    assert made.inverse_depth.min() < 0.45 * 65535
    steps = np.diff(made.inverse_depth.astype(int), axis=1) != 0
    assert 0.01 < steps.mean() < 0.5


def test_depth_is_that_of_the_leaf_painted_last(monkeypatch):
    """Two overlapping squares, the second one nearer: exact depth, near covering far."""
    square = np.array([[0, 0], [100, 0], [100, 100], [0, 100]], np.int32)
    rows = np.zeros((3, 3), np.int32)
    leaves = module._Leaves(
        outline=[square * 4, (square + 50) * 4],
        base=rows + np.array([[0], [200], [100]], np.int32),
        tint=rows,
        shading=rows + np.array([0, 0, 4096 * 16], np.int32),
        texture=np.zeros((3, 5), np.int32),
        inverse_depth=np.array([0, 20000, 40000], np.uint16),
    )
    labels = module._paint(leaves, 200)
    assert labels[20, 20] == 1
    assert labels[75, 75] == 2
    assert labels[180, 20] == 0
    shaded = module._shade(labels, leaves)
    assert shaded[20, 20].tolist() == [200] * 3
    assert shaded[75, 75].tolist() == [100] * 3
    assert shaded[180, 20].tolist() == [0] * 3


def test_an_opaque_slab_hides_what_is_behind_and_an_empty_one_changes_nothing():
    behind = np.full((40, 40, 3), 90, np.uint8)
    full, none = np.ones((80, 80), np.int32), np.zeros((80, 80), np.int32)
    red = np.broadcast_to(np.array([200, 10, 10], np.uint8), (80, 80, 3)).copy()
    assert (module._compose(behind, red, full, 2) == [200, 10, 10]).all()
    assert (module._compose(behind, np.zeros_like(red), none, 2) == behind).all()


def test_textures_are_centred_use_the_range_and_tile_without_seams():
    textures = atlas()
    assert textures.shape[1:] == (SIDE, SIDE)
    assert (np.abs(np.median(textures, axis=(1, 2))) <= 1).all()
    assert (textures.std(axis=(1, 2)) > 15).all()
    inside = np.abs(np.diff(textures, axis=1)).mean(axis=(1, 2))
    seam = np.abs(textures[:, 0] - textures[:, -1]).mean(axis=1)
    assert (seam < 1.6 * inside + 1).all()


def test_soften_keeps_the_mean_and_lowers_the_contrast():
    noise = generator(3).integers(0, 256, (64, 64), dtype=np.uint8)
    assert soften(noise, 0) is noise
    assert abs(soften(noise, 3).mean() - noise.mean()) < 3
    assert soften(noise, 3).std() < 0.3 * noise.std()
