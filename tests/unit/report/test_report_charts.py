"""Axes, curves, dots and colours."""

from __future__ import annotations

import base64
import math

import cv2
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cea.io.images import reduced
from cea.report.charts import line_chart, mean_curve, round_steps, scale, spell, thin, training_charts
from cea.report.distribution import gain_rows
from cea.report.images import affinity_colours, data_uri, severity_colours


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e6))
def test_grid_lines_are_few_round_and_cover_the_start(low, span):
    steps = round_steps(low, low + span)
    assert 2 <= len(steps) <= 12
    gap = steps[1] - steps[0]
    assert np.diff(steps) == pytest.approx(np.full(len(steps) - 1, gap), rel=1e-6)
    assert f"{gap:.5e}"[:7] in {"1.00000", "2.00000", "5.00000"}
    assert steps[0] <= low + 1e-6 * span
    assert steps[-1] > low + span - 1.001 * gap


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30))
def test_every_value_lies_on_its_axis(values):
    axis = scale(values, 0, 100)
    places = [axis(value) for value in values]
    assert all(0 <= place <= 100 for place in places)
    assert all(0 <= tick.at <= 100 for tick in axis.ticks)
    assert np.argsort(places, kind="stable").tolist() == np.argsort(np.round(places, 2), kind="stable").tolist()


def test_labels_have_as_many_decimals_as_needed():
    assert [spell(value, [0, 0.5, 1]) for value in (0, 0.5)] == ["0.0", "0.5"]
    assert spell(-10, [-10, 0]) == "\u221210"
    assert spell(20_000, [0, 20_000]) == "20k"
    assert spell(0.0002, [0, 0.0002]) == "0.0002"


def test_a_straight_line_is_drawn_straight_up():
    chart = line_chart("gain", {"val": [(0, 0.0), (50, 5.0), (100, 10.0)]})
    points = [tuple(map(float, point.split(","))) for point in chart.lines[0].points.split()]
    assert points[0] == (chart.left, chart.bottom)
    assert points[2] == (chart.right, chart.top)
    assert points[1] == ((chart.left + chart.right) / 2, (chart.bottom + chart.top) / 2)
    assert chart.lines[0].last == "10"


def test_nothing_finite_is_nothing_drawn():
    assert line_chart("loss", {}) is None
    assert line_chart("loss", {"loss": [(0, math.nan)]}) is None
    assert line_chart("loss", {"loss": [(0, 1.0), (1, math.inf)]}).lines[0].last == "1"


def test_thinning_keeps_the_mean_and_robust_axes_ignore_spikes():
    curve = [(float(step), math.sin(step / 100)) for step in range(1000)]
    thinned = thin(curve, 100)
    assert len(thinned) == 100
    assert np.mean([y for _, y in thinned]) == pytest.approx(np.mean([y for _, y in curve]))
    spiky = [(0.0, 1000.0)] + [(float(step), 1.0 + step / 300) for step in range(1, 200)]
    assert line_chart("loss", {"loss": spiky}, robust=True).y_ticks[-1].label != "1000"
    assert line_chart("loss", {"loss": spiky}).y_ticks[-1].label == "1000"


def test_training_curves_fall_into_charts():
    curve = [(1, 1.0), (2, 2.0)]
    names = ["train/loss", "val/gain_psnr", "val/gain_psnr/haze", "train/lr"]
    names += [f"adapters/level{level}/effective_rank_{letter}" for level in (0, 1) for letter in "ad"]
    charts = {chart.title: chart for chart in training_charts(dict.fromkeys(names, curve))}
    assert list(charts) == [
        *("Training loss", "Validation gain, dB", "Effective rank of A", "Effective rank of D", "Learning rate"),
    ]
    assert [(line.name, line.kind) for line in charts["Validation gain, dB"].lines] == [
        ("haze", "detail"),
        ("gain_psnr", "main"),
    ]
    assert [line.kind for line in charts["Effective rank of A"].lines] == ["detail", "detail", "main"]
    assert training_charts({}) == []
    assert mean_curve([[(1, 1.0), (2, 4.0)], [(2, 6.0)]]) == [(1, 1.0), (2, 5.0)]


def test_dots_are_placed_by_gain():
    frame = pl.DataFrame(
        {
            "recipe": ["a", "a", "b"],
            "sample_id": ["x", "y", "z"],
            "gain_psnr": [-2.0, 8.0, 3.0],
            "input_psnr": [20.0, 20.0, 20.0],
            "output_psnr": [18.0, 28.0, 23.0],
            "uniform": [True, False, None],
        }
    )
    chart = gain_rows(frame)
    assert {recipe: [(dot.x, dot.harmed, dot.uniform) for dot in dots] for recipe, dots in chart.rows.items()} == {
        "a": [(0, True, True), (100, False, False)],
        "b": [(50, False, None)],
    }
    assert chart.zero == 20
    assert chart.rows["a"][0].label == "x: 20.00 → 18.00 dB"
    assert gain_rows(None) is None
    assert len(gain_rows(pl.concat([frame] * 500)).rows["a"]) <= 300


def decode(uri):
    data = base64.b64decode(uri.partition("base64,")[2])
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def test_data_uris_keep_the_colours():
    image = np.zeros((20, 30, 3), np.uint8)
    image[...] = (200, 100, 30)
    shown = decode(data_uri(image, 95))
    assert shown.shape == (20, 30, 3)
    assert np.abs(shown[10, 15].astype(int) - (30, 100, 200)).max() < 12


def test_severity_is_opacity():
    band = np.linspace(0, 255, 64).astype(np.uint8).reshape(1, 64).repeat(8, axis=0)
    coloured = severity_colours(band)
    assert (coloured[..., 3] == band).all()
    assert decode(data_uri(coloured, 80)).shape == (8, 64, 4)


def test_affinities_are_warm_above_zero_and_cold_below():
    stack = np.zeros((2, 10, 10), np.float16)
    stack[0, :5], stack[1, 5:] = 2.0, -1.0
    first, second = affinity_colours(stack, 96)
    assert first[0, 0, 0] > first[0, 0, 2]
    assert second[9, 9, 0] < second[9, 9, 2]
    assert (first[0, 0, 3], first[9, 9, 3]) == (255, 0)
    assert second[9, 9, 3] == 128
    assert affinity_colours(np.zeros((1, 4, 4)), 96)[0][..., 3].max() == 0


def test_fitting_keeps_the_shape():
    assert reduced(np.zeros((100, 50, 3), np.uint8), 40).shape == (40, 20, 3)
    image = np.zeros((30, 20, 3), np.uint8)
    assert reduced(image, 30) is image
