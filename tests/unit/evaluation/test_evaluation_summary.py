"""The summary's arithmetic on a table written by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import polars as pl
import pytest

from cea.errors import DataError
from cea.evaluation.columns import BINS, IMAGES
from cea.evaluation.summary import gain_table, severity_table, spatial_gap, summarise, to_json

ROWS = [
    # recipe, components, uniform, input and output PSNR, input and output SSIM, harmed
    ("noise", ["noise"], True, 20.0, 26.0, 0.50, 0.70, 0.10),
    ("noise", ["noise"], False, 30.0, 28.0, 0.90, 0.80, 0.60),
    ("low_haze", ["low", "haze"], True, 10.0, 15.0, 0.30, 0.60, 0.00),
    ("low_haze", ["low", "haze"], False, 12.0, 100.0, 0.40, 1.00, 0.00),
    ("low_haze", ["low", "haze"], False, 14.0, 21.0, 0.50, 0.60, 0.02),
]


def table(rows=ROWS, **extra):
    records = []
    for number, (recipe, components, uniform, before, after, ssim_before, ssim_after, harmed) in enumerate(rows):
        records.append(
            {
                "protocol": "cea",
                "sample_id": f"s{number}",
                "recipe": recipe,
                "clean_id": f"scene{number % 2}",
                "n_components": len(components),
                "components": components,
                "uniform": uniform,
                "seen": True,
                "height": 10 * (number + 1),
                "width": 10,
                "input_psnr": before,
                "output_psnr": after,
                "gain_psnr": after - before,
                "input_ssim": ssim_before,
                "output_ssim": ssim_after,
                "gain_ssim": ssim_after - ssim_before,
                "severity": [0.5] * len(components),
                "harmed_pixels": harmed,
                "check_psnr": 2e-10 * number,
                "check_ssim": 3e-8,
                **extra,
            }
        )
    return pl.DataFrame(records, schema=IMAGES)


def test_means_over_images():
    summary = summarise(table())
    assert summary["protocol"] == "cea"
    assert summary["images"] == 5
    assert summary["input_psnr"] == pytest.approx(86 / 5)
    assert summary["output_psnr"] == pytest.approx(190 / 5)
    assert summary["gain_psnr"] == pytest.approx(104 / 5)
    assert summary["gain_ssim"] == pytest.approx((0.2 - 0.1 + 0.3 + 0.6 + 0.1) / 5)
    assert summary["harm_rate"] == pytest.approx(1 / 5)
    assert summary["harmed_pixels"] == pytest.approx(0.72 / 5)
    assert summary["identical"] == 1


def test_unseen_compositions_enter_no_headline():
    unseen = table([("rain_snow", ["rain", "snow"], False, 15.0, 14.0, 0.5, 0.4, 0.9)], seen=False)
    unseen = unseen.with_columns(pl.lit("u0").alias("sample_id"))
    bins = pl.DataFrame([(name, "x", 0.0, 1.0, 999, 0.01, 0.001) for name in ("s0", "u0")], schema=BINS, orient="row")
    before, after = (summarise(images, bins=bins) for images in (table(), pl.concat([table(), unseen])))
    for key in ("images", "gain_psnr", "harm_rate", "harmed_pixels", "n_components", "spatial"):
        assert after[key] == before[key], key
    assert after["severity"]["0-1"]["images"] == 1
    assert {name: group["gain_psnr"] for name, group in after["compositions"].items()} == {
        "seen": pytest.approx(104 / 5),
        "seen_composed": pytest.approx(100 / 3, abs=1e-4),
        "unseen": -1.0,
    }
    assert [group["seen"] for group in after["recipes"].values()] == [True, True, False]
    assert after["recipes"]["rain_snow"]["images"] == 1
    assert list(before["compositions"]) == ["seen", "seen_composed"]


def test_where_training_is_unknown_nothing_is_called_seen():
    summary = summarise(table(seen=None))
    assert summary["compositions"] == {}
    assert "seen" not in summary["recipes"]["noise"]
    assert summary["images"] == 5
    assert summarise(table(seen=False))["images"] == 5, "with nothing else, the headline is over what there is"


def test_rounding_is_no_harm():
    rows = [("noise", ["noise"], True, 20.0, 20.0 + change, 0.5, 0.5, 0.0) for change in (-1e-6, -0.02, 0.5, 0.0)]
    assert summarise(table(rows))["harm_rate"] == 0.25


def test_not_pooled_over_pixels_or_recipes():
    # Pooling the squared errors would give 10 log10(2 / (10^-2.6 + 10^-2.8)) = 26.89; weighting by size 27.33.
    assert summarise(table())["recipes"]["noise"]["output_psnr"] == 27.0
    # The mean over recipes would be (2 + 100/3) / 2, not the mean over images.
    assert summarise(table())["gain_psnr"] != pytest.approx((2 + 100 / 3) / 2, abs=0.1)


def test_groups():
    summary = summarise(table())
    assert list(summary["recipes"]) == ["noise", "low_haze"]
    assert summary["recipes"]["noise"]["gain_psnr"] == pytest.approx(2.0)
    assert summary["recipes"]["noise"]["harm_rate"] == 0.5
    assert list(summary["n_components"]) == ["1", "2"]
    assert summary["n_components"]["2"]["input_psnr"] == pytest.approx(12.0)
    assert summary["spatial"]["uniform"]["images"] == 2
    assert summary["spatial"]["nonuniform"]["gain_psnr"] == pytest.approx((-2 + 88 + 7) / 3)
    for group in [*summary["recipes"].values(), *summary["n_components"].values()]:
        assert group["gain_psnr"] == pytest.approx(group["output_psnr"] - group["input_psnr"], abs=2e-4)


def test_the_gap_at_equal_input_is_recovered():
    generator = np.random.default_rng(0)
    rows = []
    for number in range(40):
        uniform, before = bool(number % 2), 15 + 10 * generator.random() + 3 * (number % 2)
        recipe, offset = (("noise", 4.0), ("haze", 7.0))[number % 3 == 0]
        gain = offset - 0.3 * before - (0 if uniform else 1.25)
        rows.append((recipe, [recipe], uniform, before, before + gain, 0.5, 0.6, 0.0))
    assert spatial_gap(table(rows)) == pytest.approx(-1.25, abs=1e-9)
    assert spatial_gap(table([row for row in rows if row[2]])) is None
    assert spatial_gap(table(uniform=None)) is None


def test_adapters_and_check_are_passed_on():
    adapters = {"level0.body": {"effective_rank_a": 6.43219, "effective_rank_d": 7.0, "rank": 8.0}}
    summary = summarise(table(), adapters)
    assert summary["adapters"] == {"level0.body": {"effective_rank_a": 6.4322, "effective_rank_d": 7.0, "rank": 8.0}}
    assert summary["check"] == {"images": 5, "psnr_difference": 1e-9, "ssim_difference": 3e-8}
    assert summarise(table(check_psnr=None))["check"] == {}
    assert summarise(table())["adapters"] == {}


def test_what_is_left_of_clean_images():
    rows = [("clean", [], None, 100.0, after, 1.0, 0.9, harmed) for after, harmed in ((40.0, 0.1), (50.0, 0.2))]
    found = summarise(table(), identity=table(rows))
    assert found["identity"] == {
        **{"images": 2, "output_psnr": 45.0, "lowest_psnr": 40.0, "output_ssim": 0.9},
        **{"harm_rate": 1.0, "harmed_pixels": 0.15},
    }
    assert found["images"] == 5
    assert summarise(table())["identity"] == {}


def test_severity_bins_are_means_over_images_with_enough_pixels():
    rows = [("a", 0.0, 0.5, 1000, 1e-2, 1e-3), ("b", 0.0, 0.5, 9000, 1e-4, 1e-3), ("c", 0.0, 0.5, 10, 1.0, 1.0)]
    rows.append(("a", 0.5, 1.0, 500, 1e-1, 0.0))
    bins = pl.DataFrame([(r[0], "noise", *r[1:]) for r in rows], schema=BINS, orient="row")
    severity = summarise(table(), bins=bins)["severity"]
    assert list(severity) == ["0-0_5", "0_5-1"]
    assert severity["0-0_5"] == {
        **{"low": 0.0, "high": 0.5, "images": 2},
        **{"input_psnr": 30.0, "output_psnr": 30.0, "gain_psnr": 0.0},
    }
    assert severity["0_5-1"]["output_psnr"] == 100.0
    curve = severity_table({"severity": severity})
    assert curve["severity"].to_list() == [0.25, 0.75]
    assert curve["gain_psnr"].to_list() == [0.0, 90.0]
    assert severity_table({"severity": {}}).columns == curve.columns


def test_json_is_finite_and_round_trips():
    summary = summarise(table(), {"site": {"effective_rank_a": 1.0, "rank": 8.0}})
    assert json.loads(to_json(summary)) == summary
    for bad in (math.nan, math.inf):
        with pytest.raises(DataError, match=r"adapters\.site\.effective_rank_a"):
            summarise(table(), {"site": {"effective_rank_a": bad}})
        with pytest.raises(ValueError, match="JSON"):
            to_json({"x": bad})


def test_mixed_protocols_and_empty_tables_are_refused():
    with pytest.raises(DataError, match=r"cea.*promptir"):
        summarise(pl.concat([table(), table(protocol="promptir")]))
    with pytest.raises(DataError, match="no image"):
        summarise(table()[:0])


def test_gain_table_has_a_row_per_recipe():
    gains = gain_table(table())
    assert gains["recipe"].to_list() == ["noise", "low_haze"]
    assert gains["gain_psnr"].to_list() == [2.0, pytest.approx(100 / 3, abs=1e-4)]
    assert gains["images"].to_list() == [2, 3]
    assert gains["seen"].to_list() == [True, True]
