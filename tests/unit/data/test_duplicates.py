"""Near duplicates are found through resizing, recompression, mirroring and turning; other pictures stay apart."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cea.data.dead_leaves.images import LeavesConfig, generate
from cea.data.duplicates import difference_hash, groups, thumbnail


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    return [generate(LeavesConfig(size=192), index).rgb for index in range(10)]


def _jpeg(image: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=40)
    return np.asarray(Image.open(buffer).convert("RGB"))


VERSIONS = {
    "smaller": lambda image: cv2.resize(image, (120, 90), interpolation=cv2.INTER_AREA),
    "larger": lambda image: cv2.resize(image, (400, 300), interpolation=cv2.INTER_CUBIC),
    "recompressed": _jpeg,
    "mirrored": lambda image: image[:, ::-1],
    "upside down": lambda image: image[::-1],
    "turned": lambda image: np.rot90(image),
    "transposed": lambda image: image.transpose(1, 0, 2),
    "brighter": lambda image: np.minimum(image.astype(int) * 5 // 4, 255).astype(np.uint8),
    "grey": lambda image: np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2),
}


@pytest.mark.parametrize("change", VERSIONS)
def test_a_changed_copy_joins_its_original(pictures, change):
    copies = [np.ascontiguousarray(VERSIONS[change](image)) for image in pictures]
    found = groups([thumbnail(image) for image in [*pictures, *copies]])
    assert found == [*range(len(pictures))] * 2


def test_different_pictures_stay_apart(pictures):
    assert groups([thumbnail(image) for image in pictures]) == [*range(len(pictures))]


def test_photographs_of_a_whole_collection_stay_apart(shared):
    files = sorted((shared / "data" / "cbsd68").rglob("*.png"))[:68]
    small = [thumbnail(cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)) for file in files]
    assert len(files) > 40
    assert groups(small) == [*range(len(small))]


def test_flat_pictures_join_only_where_they_are_equal():
    flat = [thumbnail(np.full((80, 80, 3), level, np.uint8)) for level in (0, 0, 255)]
    assert groups(flat) == [0, 0, 2]


def test_groups_are_chained_and_named_by_their_first_member(pictures):
    small = [thumbnail(np.ascontiguousarray(image)) for image in (pictures[0], pictures[1], pictures[0][::-1])]
    third = np.ascontiguousarray(np.rot90(pictures[0]))
    assert groups([*small, thumbnail(third)]) == [0, 1, 0, 0]


def test_nothing_gives_no_groups():
    assert groups([]) == []


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_hash_sees_order_of_brightness_only(seed):
    """Darkening by a factor that keeps the order of cells keeps the hash, whatever the picture."""
    cells = np.random.default_rng(seed).permutation(72).reshape(8, 9).astype(np.uint8)
    small = cv2.resize(cells * np.uint8(3), (36, 32), interpolation=cv2.INTER_NEAREST)
    assert difference_hash(small) == difference_hash(small // np.uint8(3))
