"""Near duplicates are found through resizing, recompression, mirroring and turning; other pictures stay apart."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cea.data import duplicates as module
from cea.data.dead_leaves.images import LeavesConfig, generate
from cea.data.duplicates import MAX_DISTANCE, MIN_CORRELATION, difference_hash, groups, thumbnail


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
    found = groups([thumbnail(image) for image in [*pictures, *copies]]).tolist()
    assert found == [*range(len(pictures))] * 2


def test_different_pictures_stay_apart(pictures):
    assert groups([thumbnail(image) for image in pictures]).tolist() == [*range(len(pictures))]


def test_photographs_of_a_whole_collection_stay_apart(shared):
    files = sorted((shared / "data" / "cbsd68").rglob("*.png"))[:68]
    small = [thumbnail(cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)) for file in files]
    assert len(files) > 40
    assert groups(small).tolist() == [*range(len(small))]


def test_flat_pictures_join_only_where_they_are_equal():
    flat = [thumbnail(np.full((80, 80, 3), level, np.uint8)) for level in (0, 0, 255)]
    assert groups(flat).tolist() == [0, 0, 2]


def test_groups_are_chained_and_named_by_their_first_member(pictures):
    small = [thumbnail(np.ascontiguousarray(image)) for image in (pictures[0], pictures[1], pictures[0][::-1])]
    third = np.ascontiguousarray(np.rot90(pictures[0]))
    assert groups([*small, thumbnail(third)]).tolist() == [0, 1, 0, 0]


def test_nothing_gives_no_groups():
    assert groups([]).tolist() == []


def pair_by_pair(thumbnails: np.ndarray) -> list[int]:
    """Groups by the definition: each pair, in each orientation, one after the other."""
    parent = list(range(len(thumbnails)))
    turned = [
        [np.ascontiguousarray(np.rot90(side, turn)) for side in (small, small[:, ::-1]) for turn in range(4)]
        for small in thumbnails
    ]
    hashes = [[difference_hash(each) for each in turns] for turns in turned]

    def root(index: int) -> int:
        return index if parent[index] == index else root(parent[index])

    for index, small in enumerate(thumbnails):
        for other in range(index):
            near = [turn for turn in range(8) if (hashes[other][turn] ^ hashes[index][0]).bit_count() <= MAX_DISTANCE]
            if any(same_picture(turned[other][turn], small) for turn in near):
                low, high = sorted((root(other), root(index)))
                parent[high] = low
    return [root(index) for index in range(len(parent))]


def same_picture(first: np.ndarray, second: np.ndarray) -> bool:
    if first.min() == first.max() or second.min() == second.max():
        return bool((first == second).all())
    return bool(np.corrcoef(first.ravel(), second.ravel())[0, 1] >= MIN_CORRELATION)


def scene(rng: np.random.Generator, detail: int) -> np.ndarray:
    cells = rng.integers(0, 256, (detail, detail)).astype(np.uint8)
    return cv2.resize(cells, (32, 32), interpolation=cv2.INTER_CUBIC)


def collection(count: int, seed: int) -> np.ndarray:
    """Scenes, and copies of them that are noisier and noisier, until they are copies no more; a burst; flat ones."""
    rng = np.random.default_rng(seed)
    small = [scene(rng, int(rng.integers(3, 9))) for _ in range(count // 2)]
    while len(small) < count - 24:
        original = np.rot90(small[int(rng.integers(len(small)))], int(rng.integers(4)))
        original = original[:, ::-1] if rng.random() < 0.5 else original
        noise = rng.normal(0, rng.uniform(0, 40), original.shape)
        small.append(np.clip(original + noise, 0, 255).astype(np.uint8))
    small += [np.clip(small[0] + rng.normal(0, 2, (32, 32)), 0, 255).astype(np.uint8) for _ in range(20)]
    small += [np.full((32, 32), level, np.uint8) for level in (0, 7, 7, 255)]
    return np.stack(small)[rng.permutation(count)]


@pytest.mark.parametrize("few", [4096, 2])
@pytest.mark.parametrize("seed", [1, 2])
def test_all_pairs_and_buckets_give_the_groups_of_the_definition(monkeypatch, few, seed):
    """Pairs at the very edge are in it: every tenth copy or so correlates between .9 and .96 with its original."""
    monkeypatch.setattr(module, "_FEW", few)
    small = collection(400, seed)
    found = groups(small).tolist()
    assert found == pair_by_pair(small)
    assert 1.2 < len(found) / len(set(found)) < 3


def test_work_per_picture_hardly_grows_with_their_number(monkeypatch):
    """All pairs of four times as many would be sixteen times as many."""
    monkeypatch.setattr(module, "_FEW", 2)
    judged = {}
    for count in (500, 2000):
        looked_at = []
        judge = module._Search.judge

        def counting(self, first, second, turn, judge=judge, looked_at=looked_at):
            looked_at.append(len(first))
            judge(self, first, second, turn)

        monkeypatch.setattr(module._Search, "judge", counting)
        groups(collection(count, 5))
        judged[count] = sum(looked_at)
        monkeypatch.setattr(module._Search, "judge", judge)
    assert judged[2000] < 8 * judged[500]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_hash_sees_order_of_brightness_only(seed):
    """Darkening by a factor that keeps the order of cells keeps the hash, whatever the picture."""
    cells = np.random.default_rng(seed).permutation(72).reshape(8, 9).astype(np.uint8)
    small = cv2.resize(cells * np.uint8(3), (36, 32), interpolation=cv2.INTER_NEAREST)
    assert difference_hash(small) == difference_hash(small // np.uint8(3))
