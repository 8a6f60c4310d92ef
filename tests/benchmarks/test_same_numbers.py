"""The check of continuous integration fails where a number changed, and only there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.same_numbers import differences

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "dvc.lock").read_text(encoding="utf-8")
SUMMARY = json.loads((ROOT / "metrics/summary.json").read_text(encoding="utf-8"))


def against(lock: str = LOCK, **changes: object) -> list[str]:
    return differences((LOCK, json.dumps(SUMMARY)), (lock, json.dumps(SUMMARY | changes)))


def test_the_committed_results_are_as_they_are():
    assert against() == []


def test_a_changed_shard_is_named():
    path = LOCK.index("path: data/shards/test/haze\n")
    start = LOCK.index("md5: ", LOCK.index("md5\n", path)) + 5
    (said,) = against(LOCK[:start] + "0" * 32 + LOCK[start + 32 :])
    assert said.startswith("data/shards/test/haze: ")


@pytest.mark.parametrize(
    ("off", "fails"), [(0.2, False), (-0.2, False), (0.6, True), (-0.6, True), (float("nan"), True)]
)
def test_gains_may_differ_as_they_do_between_processors(off: float, fails: bool):
    assert bool(against(gain_psnr=SUMMARY["gain_psnr"] + off)) == fails


def test_a_recipe_that_is_gone_is_named():
    recipes = dict(SUMMARY["recipes"])
    recipes.pop("haze")
    (said,) = against(recipes=recipes)
    assert said.startswith("recipes.haze: ")
