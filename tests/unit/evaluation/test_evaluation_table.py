"""Judging images: scores, caps, harm, severity bins, order, errors that name the sample."""

from __future__ import annotations

import threading

import numpy as np
import polars as pl
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from cea.config import parse
from cea.errors import ConfigError, DataError
from cea.evaluation.cases import Case, Pixels
from cea.evaluation.columns import BINS, IMAGES
from cea.evaluation.config import EvaluationConfig
from cea.evaluation.judge import PSNR_CAP
from cea.evaluation.table import evaluate


def case(number=0, *, height=24, width=30, severity=True, recipe="noise", uniform=True, noise=20, components=None):
    generator = np.random.default_rng(number)
    clean = generator.integers(40, 200, (height, width, 3), dtype=np.uint8)
    degraded = np.clip(clean + generator.normal(0, noise, clean.shape), 0, 255).astype(np.uint8)
    components = components or ("noise", "haze")
    bands = np.linspace(0, 255, len(components) * height * width).reshape(-1, height, width).astype(np.uint8)
    pixels = Pixels(degraded, clean, bands if severity else None)
    name = f"scene{number}-{recipe}-0000"
    return Case(name, recipe, f"scene{number}", components, uniform, lambda: pixels)


def identity(image):
    return image.astype(np.float32) / 255


def run(cases, restore=identity, **options):
    return evaluate(cases, restore, EvaluationConfig(**{"check": True, **options}))


def test_rows_hold_scikit_images_scores_in_the_order_of_the_cases():
    cases = [case(number, height=20 + number) for number in range(7)]
    table = run(cases, lambda image: np.clip(image / 255 + 0.02, 0, 1), workers=3).images
    assert table.schema == pl.Schema(IMAGES)
    assert table["sample_id"].to_list() == [item.sample_id for item in cases]
    for item, row in zip(cases, table.iter_rows(named=True), strict=True):
        pixels = item.read()
        clean, output = pixels.clean / 255, np.clip(pixels.degraded / 255 + 0.02, 0, 1)
        expected = peak_signal_noise_ratio(clean, output, data_range=1)
        assert row["output_psnr"] == pytest.approx(expected, abs=1e-6)
        assert row["input_psnr"] == pytest.approx(peak_signal_noise_ratio(pixels.clean, pixels.degraded), abs=1e-6)
        assert row["output_ssim"] == pytest.approx(
            structural_similarity(clean, output, channel_axis=-1, data_range=1), abs=1e-6
        )
        assert row["gain_psnr"] == pytest.approx(row["output_psnr"] - row["input_psnr"], abs=1e-12)
        assert row["gain_ssim"] == pytest.approx(row["output_ssim"] - row["input_ssim"], abs=1e-12)
        assert (row["check_psnr"], row["check_ssim"]) == (pytest.approx(0, abs=1e-6), pytest.approx(0, abs=1e-6))
        assert (row["height"], row["width"], row["n_components"]) == (*pixels.clean.shape[:2], 2)


def test_a_wrong_score_would_show_in_the_check(monkeypatch):
    monkeypatch.setattr("cea.metrics.protocol.ssim", lambda a, b, window: 0.5)
    table = run([case()]).images
    assert table["check_ssim"][0] > 0.1
    assert run([case()], check=False).images["check_ssim"].to_list() == [None]


def test_perfect_restoration_is_capped_not_infinite():
    item = case()
    table = run([item], lambda image: item.read().clean / 255).images
    assert table["output_psnr"].to_list() == [PSNR_CAP]
    assert np.isfinite(table["gain_psnr"][0])
    clean = Pixels(item.read().clean, item.read().clean)
    same = run([Case("same", "noise", "scene", (), None, lambda: clean)]).images
    assert (same["input_psnr"][0], same["gain_psnr"][0]) == (PSNR_CAP, 0)


def test_severity_means_follow_the_components():
    row = run([case()]).images.row(0, named=True)
    assert row["components"] == ["noise", "haze"]
    assert row["severity"] == pytest.approx([0.25, 0.75], abs=0.01)
    assert run([case(severity=False)]).images["severity"].to_list() == [None]


def test_harmed_pixels_are_those_made_worse_by_over_a_grey_level():
    item = case(noise=0)

    def spoil_a_quarter(image):
        output = image / 255
        output[:12, :15] += 0.01  # 2.55 grey levels
        output[12:, 15:] += 0.003  # less than one
        return output

    assert run([item], spoil_a_quarter).images["harmed_pixels"][0] == pytest.approx(0.25)
    assert run([item]).images["harmed_pixels"][0] == 0


def test_bins_split_the_pixels_and_their_errors():
    evaluation = run([case(1), case(2)], severity_edges=(0.0, 0.3, 0.7, 1.0))
    bins = evaluation.bins
    assert bins.schema == pl.Schema(BINS)
    for number in (1, 2):
        item = case(number)
        pixels = item.read()
        local = pixels.severity.max(axis=0) / 255
        squared = ((pixels.degraded / 255 - pixels.clean / 255) ** 2).mean(axis=2)
        part = bins.filter(pl.col("sample_id") == item.sample_id)
        assert part["pixels"].sum() == 24 * 30
        for row in part.iter_rows(named=True):
            inside = (local >= row["low"]) & ((local < row["high"]) | (row["high"] == 1.0))
            assert row["pixels"] == inside.sum()
            assert row["input_mse"] == pytest.approx(squared[inside].mean(), rel=1e-5)
            assert row["output_mse"] == pytest.approx(row["input_mse"], rel=1e-4)


def test_pixels_outside_all_bins_are_left_out():
    bins = run([case()], severity_edges=(0.6, 0.8)).bins
    local = case().read().severity.max(axis=0) / 255
    assert bins["pixels"].to_list() == [((local >= 0.6) & (local <= 0.8)).sum()]


def test_the_protocol_crops_before_restoration():
    seen = []

    def spy(image):
        seen.append(image.shape)
        return identity(image)

    table = run([case(height=37, width=50)], spy, protocol="promptir").images
    assert seen == [(32, 48, 3)]
    assert (table["protocol"][0], table["height"][0], table["width"][0]) == ("promptir", 32, 48)


def test_restoring_stays_in_the_calling_thread_and_reading_ahead_is_bounded():
    alive, peak, caller = [0], [0], threading.get_ident()

    def counted(item):
        def read():
            alive[0] += 1
            peak[0] = max(peak[0], alive[0])
            return item.read()

        return Case(item.sample_id, item.recipe, item.clean_id, item.components, item.uniform, read)

    def restore(image):
        assert threading.get_ident() == caller
        alive[0] -= 1
        return identity(image)

    run([counted(case(number)) for number in range(40)], restore, workers=2, check=False)
    assert peak[0] <= 8


@pytest.mark.parametrize(
    ("restore", "says"),
    [
        (lambda image: identity(image)[:-1], "scene3-noise-0000: images of shapes"),
        (lambda image: np.full(image.shape, np.nan), "scene3-noise-0000: an image with NaN"),
    ],
)
def test_bad_output_names_the_sample(restore, says):
    with pytest.raises(DataError, match=says):
        run([case(3)], restore)


def test_tiny_images_and_empty_sets_are_refused_with_words():
    with pytest.raises(DataError, match="at least 7x7"):
        run([case(height=6)])
    with pytest.raises(DataError, match="nothing to evaluate"):
        run([])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"protocol": "psnr"}, "one of cea, promptir"),
        ({"severity_edges": [0.0, 0.5, 0.5]}, "rising"),
        ({"severity_edges": [0.0, 1.5]}, "rising"),
        ({"protocl": "cea"}, "did you mean 'protocol'"),
        ({"workers": 0}, "greater than or equal to 1"),
    ],
)
def test_bad_parameters(values, says):
    with pytest.raises(ConfigError, match=says):
        parse(EvaluationConfig, values, "evaluate")
