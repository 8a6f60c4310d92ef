"""Protocols: what each does to an image, and the published figures they must land on."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest

from cea.errors import ConfigError, ImageError
from cea.io.images import read_rgb
from cea.metrics.protocol import PROTOCOLS, centre_crop, find_protocol, luma, noisy, score
from cea.metrics.psnr import psnr


def image(height=40, width=50, seed=0):
    return np.random.default_rng(seed).uniform(0, 1, (height, width, 3))


def test_unknown_protocol_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'promptir'"):
        find_protocol("prompt-ir")


def test_centre_crop_takes_the_middle():
    grid = np.arange(37 * 50).reshape(37, 50)
    cropped = centre_crop(grid, 16)
    assert cropped.shape == (32, 48)
    assert cropped[0, 0] == grid[2, 1]  # rests of 5 and 2: 2 and 1 go at the top and left
    assert centre_crop(grid, 1).shape == grid.shape
    with pytest.raises(ConfigError, match="at least 64"):
        centre_crop(grid, 64)


def test_luma_of_black_white_and_red():
    pixels = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0]]], dtype=np.uint8)
    assert luma(pixels)[0] * 255 == pytest.approx([16, 235, 81.481], abs=1e-9)


def test_predictions_are_clipped_and_rounded_only_where_the_protocol_says_so():
    target = np.full((16, 16, 3), 128, dtype=np.uint8)
    prediction = np.full((16, 16, 3), 128.4 / 255)
    assert score(PROTOCOLS["onerestore"], prediction, target).psnr == np.inf
    assert score(PROTOCOLS["promptir"], prediction, target).psnr == pytest.approx(20 * np.log10(255 / 0.4), abs=1e-6)
    white = np.full((16, 16, 3), 255, dtype=np.uint8)
    assert score(PROTOCOLS["cea"], np.full((16, 16, 3), 1.7), white).psnr == np.inf


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_judges_and_prefers_the_better_image(name):
    target = (image() * 255).astype(np.uint8)
    near, far = (np.clip(target / 255 + step * (image(seed=1) - 0.5), 0, 1) for step in (0.05, 0.2))
    better, worse = score(PROTOCOLS[name], near, target), score(PROTOCOLS[name], far, target)
    assert better.psnr > worse.psnr
    assert better.ssim > worse.ssim


def test_luma_and_rgb_give_different_numbers():
    target, prediction = image(), image(seed=1)
    assert score(PROTOCOLS["derain-y"], prediction, target).psnr > score(PROTOCOLS["cea"], prediction, target).psnr + 1


def test_shapes_are_checked():
    with pytest.raises(ImageError, match="equal shapes"):
        score(PROTOCOLS["cea"], image(40, 50), image(40, 51))


def test_truncated_noise_is_half_a_level_darker():
    # Truncation loses half a grey level on average; rounding loses nothing.
    clean = np.full((300, 300, 3), 128, dtype=np.uint8)
    made = noisy(clean, 25, "truncate", np.random.default_rng(0))
    assert np.mean(made.astype(float) - clean) == pytest.approx(-0.5, abs=0.15)
    rounded = noisy(clean, 25, "round", np.random.default_rng(0))
    assert np.mean(rounded.astype(float) - clean) == pytest.approx(0, abs=0.15)


def expected_squared_error(sigma_255):
    """E[(trunc(clip(c + n)) - c)^2] in grey levels squared for each grey level c, from the normal distribution."""
    edges = np.concatenate([[-np.inf], np.arange(1, 256), [np.inf]])
    grey = np.arange(256)
    below = np.array([[0.5 * (1 + math.erf((edge - c) / (sigma_255 * math.sqrt(2)))) for edge in edges] for c in grey])
    probability = np.diff(below, axis=1)
    return (probability * (grey[None, :] - grey[:, None]) ** 2).sum(axis=1)


def test_cbsd68_at_sigma_25_is_the_known_input(shared):
    # 20.4 dB is quoted in round figures: it is the median photograph. Dark and bright ones, where the clipping bites,
    # lift the mean over images to 20.54. Each image is checked against what the normal distribution predicts for it.
    protocol, table = PROTOCOLS["promptir"], expected_squared_error(25)
    found, predicted = [], []
    for number, path in enumerate(sorted((shared / "data/cbsd68/clean").glob("*.png"))):
        clean = centre_crop(read_rgb(path), protocol.crop_multiple)
        found.append(psnr(noisy(clean, 25, protocol.noise, np.random.default_rng(number)), clean))
        predicted.append(-10 * np.log10(table[clean].mean() / 255**2))
    assert len(found) == 68
    assert found == pytest.approx(predicted, abs=0.06)
    assert np.median(found) == pytest.approx(20.4, abs=0.05)
    assert np.mean(found) == pytest.approx(np.mean(predicted), abs=0.005)


@pytest.mark.parametrize("folder", ["rain100l", "sots_outdoor", "lol_our485_subset", "windshield_raindrops_ccby"])
def test_input_psnr_of_real_pairs(shared, folder):
    rows = list(csv.DictReader((shared / "data/MANIFEST.csv").open()))
    pairs = [row for row in rows if row["set"] == folder and row["psnr_rgb"]]
    assert pairs
    for row in pairs:
        degraded, clean = read_rgb(shared / "data" / row["degraded"]), read_rgb(shared / "data" / row["clean"])
        assert psnr(degraded, clean) == pytest.approx(float(row["psnr_rgb"]), abs=0.001), row["id"]
        assert psnr(luma(degraded), luma(clean)) == pytest.approx(float(row["psnr_y"]), abs=0.001), row["id"]


def test_the_document_says_what_the_code_does(root):
    lines = (root / "docs/protocol.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    rows = [row for row in rows if row[0].strip("`") in PROTOCOLS]
    assert rows == [
        [f"`{p.name}`", p.colour, str(p.crop_multiple), "yes" if p.eight_bit else "no", p.window, p.noise]
        for p in PROTOCOLS.values()
    ]
