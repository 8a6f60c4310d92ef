"""Paired comparisons: numbers by hand, two kinds of doubt, groups that do not mix."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from cea.errors import DataError
from cea.evaluation.comparison import COMPARISON, compare, groups, scenes_interval, seeds_interval


def row(variant: str, seed: int, scene: str, gain: float, **other: Any) -> dict[str, Any]:
    values = {"recipe": "noise", "n_components": 1, "uniform": True, "seen": True} | other
    return {
        "variant": variant,
        "seed": seed,
        "sample_id": f"{scene}-{values['recipe']}",
        "clean_id": scene,
        **values,
        "gain_psnr": gain,
        "output_psnr": 20.0 + gain,
        "output_ssim": 0.5,
    }


def table(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows))


def cell(found: pl.DataFrame, variant: str, by: str = "all", group: str = "all") -> dict[str, Any]:
    (only,) = found.filter(pl.col("variant") == variant, pl.col("by") == by, pl.col("group") == group).to_dicts()
    return only


def two_by_two() -> list[dict[str, Any]]:
    """Two seeds, two photographs; the rival is 1 and 3 dB ahead with the first seed, 2 and 2 with the second."""
    cea = [row("cea", seed, scene, gain) for seed, scene, gain in ((1, "a", 0), (1, "b", 2), (2, "a", -1), (2, "b", 5))]
    ahead = [1.0, 3.0, 2.0, 2.0]
    rival = [one | {"variant": "film", "output_psnr": one["output_psnr"] + by, "gain_psnr": one["gain_psnr"] + by}
             for one, by in zip(cea, ahead, strict=True)]  # fmt: skip
    return [*cea, *rival]


def test_by_hand() -> None:
    found = compare(table(*two_by_two()), "cea")
    assert dict(found.schema) == COMPARISON
    cea, film = cell(found, "cea"), cell(found, "film")
    assert cea["gain_psnr"] == 1.5
    assert cea["gain_psnr_sd"] == pytest.approx(2**-0.5)  # of the seeds' means 1 and 2
    assert cea["harm_rate"] == 0.25
    assert cea["difference"] is None
    assert (film["seeds"], film["images"], film["scenes"]) == (2, 2, 2)
    assert film["difference"] == 2.0
    assert film["difference_sd"] == 0.0
    assert film["ahead"] == 1.0
    assert (film["seeds_low"], film["seeds_high"]) == (2.0, 2.0), "both seeds agree to the last digit"
    assert (film["scenes_low"], film["scenes_high"]) == (1.5, 2.5), "either photograph alone"


def test_pairing_removes_what_images_and_seeds_have_in_common() -> None:
    """Gains that vary by decibels, differences that are always a tenth."""
    random = np.random.default_rng(0)
    rows = []
    for seed in (1, 2, 3):
        for scene in "abcdef":
            gain = float(random.normal(3, 4))
            rows += [row("cea", seed, scene, gain), row("film", seed, scene, gain + 0.1)]
    film = cell(compare(table(*rows), "cea"), "film")
    assert film["gain_psnr_sd"] > 0.5
    for end in ("seeds_low", "seeds_high", "scenes_low", "scenes_high"):
        assert film[end] == pytest.approx(0.1)


def test_seeds_interval_is_students() -> None:
    low, high = seeds_interval(np.array([0.0, 1.0, 2.0]))
    assert (low, high) == pytest.approx((1 - 4.30265 / 3**0.5, 1 + 4.30265 / 3**0.5), abs=1e-4)
    assert seeds_interval(np.array([1.0])) == (None, None)


def test_seeds_interval_holds_what_it_promises() -> None:
    random = np.random.default_rng(1)
    hits = 0
    for _ in range(2000):
        low, high = seeds_interval(random.normal(0.3, 1.0, size=3))
        hits += low is not None and high is not None and low <= 0.3 <= high
    assert 0.935 < hits / 2000 < 0.965


def test_samples_of_one_photograph_stand_together() -> None:
    """A hundred samples of two photographs are two pieces of evidence."""
    few = pl.DataFrame({"clean_id": ["a", "b"], "difference": [0.0, 1.0]})
    many = pl.concat([few] * 50)
    assert scenes_interval(many, ("x",)) == scenes_interval(few, ("x",)) == (0.0, 1.0)
    assert scenes_interval(few.head(1), ("x",)) == (None, None)


def test_many_photographs_narrow_the_interval_as_theory_says() -> None:
    values = np.random.default_rng(2).normal(0.5, 1.0, size=400)
    pairs = pl.DataFrame({"clean_id": [f"{number:03}" for number in range(400)], "difference": values})
    low, high = scenes_interval(pairs, ("x",))
    assert low is not None
    assert high is not None
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.015)


def test_a_seed_that_the_reference_lacks_is_not_compared() -> None:
    rows = [*two_by_two(), row("film", 3, "a", 100.0), row("film", 3, "b", 100.0)]
    film = cell(compare(table(*rows), "cea"), "film")
    assert film["seeds"] == 3
    assert film["difference"] == 2.0


def test_a_variant_that_shares_nothing_has_no_difference() -> None:
    rows = [row("cea", 1, "a", 0.0), row("film", 2, "a", 1.0)]
    assert cell(compare(table(*rows), "cea"), "film")["difference"] is None


def test_order_of_rows_does_not_matter() -> None:
    rows = table(*two_by_two())
    columns = ["difference", "scenes_low", "scenes_high", "seeds_low"]
    shuffled = compare(rows.sample(fraction=1, shuffle=True, seed=5), "cea").sort("by", "group", "variant")
    assert shuffled[columns].to_dicts() == compare(rows, "cea").sort("by", "group", "variant")[columns].to_dicts()


def test_unseen_compositions_change_no_other_number() -> None:
    unseen = [row(v, s, "a", 9.0, recipe="new", n_components=2, seen=False) for v in ("cea", "film") for s in (1, 2)]
    before, after = (compare(table(*rows), "cea") for rows in (two_by_two(), [*two_by_two(), *unseen]))
    assert after.filter(pl.col("group").is_in(["new", "unseen"]).not_()).equals(before)
    assert cell(after, "cea", "composition", "unseen")["gain_psnr"] == 9.0


@pytest.mark.parametrize("column", [None, pl.Series("seen", [None, None], pl.Boolean)])
def test_where_nothing_is_known_all_was_seen(column: pl.Series | None) -> None:
    images = table(row("cea", 1, "a", 0.0), row("cea", 1, "b", 0.0)).drop("seen")
    images = images if column is None else images.with_columns(column)
    assert next((by, name, len(part)) for by, name, part in groups(images)) == ("all", "all", 2)


def test_groups_are_told_apart() -> None:
    rows = [
        row("cea", 1, "a", 1.0),
        row("cea", 1, "b", 2.0, uniform=False),
        row("cea", 1, "c", 3.0, recipe="low_haze", n_components=2),
        row("cea", 1, "d", 4.0, recipe="low_haze", n_components=2, uniform=False),
    ]
    found = {(by, name): part["clean_id"].to_list() for by, name, part in groups(table(*rows))}
    assert found == {
        ("all", "all"): ["a", "b", "c", "d"],
        ("recipe", "noise"): ["a", "b"],
        ("recipe", "low_haze"): ["c", "d"],
        ("degradations", "1"): ["a", "b"],
        ("degradations", "2"): ["c", "d"],
        ("field", "uniform"): ["a", "c"],
        ("field", "uneven"): ["b", "d"],
        ("composed field", "uniform"): ["c"],
        ("composed field", "uneven"): ["d"],
        ("composition", "seen"): ["c", "d"],
    }


def test_mistakes_are_named() -> None:
    with pytest.raises(DataError, match="one image twice"):
        compare(table(*two_by_two(), two_by_two()[0]), "cea")
    with pytest.raises(DataError, match=r"no run of 'moe'.*cea, film"):
        compare(table(*two_by_two()), "moe")
