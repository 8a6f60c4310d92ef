"""Moments and correlations of the noises."""

from __future__ import annotations

import numpy as np
import pytest

from cea.degradations.exact import transfer
from cea.degradations.families.correlated_noise import (
    CorrelatedNoise,
    CorrelatedNoiseParams,
    CorrelatedNoiseRanges,
    grain,
)
from cea.degradations.families.poisson_gaussian import PoissonGaussian, PoissonGaussianParams, PoissonGaussianRanges
from cea.rng import generator
from cea.testing.degradations import context


@pytest.mark.parametrize("level", [0.45, 0.6, 0.8])
@pytest.mark.parametrize(("shot", "read"), [(2e-3, 1e-5), (1e-4, 4e-4)])
def test_variance_is_shot_times_light_plus_read(level, shot, read):
    image = np.full((256, 256, 3), level, np.float32)
    light = float(transfer.linear(image)[0, 0, 0])
    result = PoissonGaussian(PoissonGaussianRanges()).apply(
        image, PoissonGaussianParams(shot=shot, read=read), context((256, 256))
    )
    noisy = transfer.linear(result.image).astype(np.float64)
    expected = light * shot + read
    count = noisy.size
    assert abs(noisy.mean() - light) < 4 * np.sqrt(expected / count)
    assert abs(noisy.var() / expected - 1) < 4 * np.sqrt(2 / count) + 0.002
    np.testing.assert_allclose(result.labels["sigma"], np.sqrt(expected), rtol=1e-3)


def test_sensor_noise_is_white_and_independent_between_channels():
    image = np.full((256, 256, 3), 0.6, np.float32)
    params = PoissonGaussianParams(shot=1e-3, read=1e-5)
    noise = PoissonGaussian(PoissonGaussianRanges()).apply(image, params, context((256, 256))).image - 0.6
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]) < 0.02


def test_read_noise_follows_shot_noise_as_in_brooks_et_al():
    family = PoissonGaussian(PoissonGaussianRanges())
    draws = [family.sample(generator(seed)) for seed in range(400)]
    shot, read = np.log([p.shot for p in draws]), np.log([p.read for p in draws])
    rest = read - (2.18 * shot + 1.20)
    assert abs(rest.mean()) < 4 * 0.26 / 20
    assert abs(rest.std() - 0.26) < 0.04
    assert np.log(1e-4) <= shot.min() < shot.max() <= np.log(1.2e-2)


@pytest.mark.parametrize("size_px", [0.7, 1.5, 3.0])
def test_autocorrelation_is_the_stated_gaussian(size_px):
    noise = grain(7, (512, 512), size_px, 0.0)[..., 0].astype(np.float64)
    assert abs(noise.mean()) < 0.05
    assert abs(noise.std() - 1) < 0.04
    for lag in (1, 2, 4):
        for a, b in ((noise[:, lag:], noise[:, :-lag]), (noise[lag:], noise[:-lag])):
            assert abs((a * b).mean() / noise.var() - np.exp(-(lag**2) / (4 * size_px**2))) < 0.05


@pytest.mark.parametrize("common", [0.0, 0.3, 1.0])
def test_channels_share_the_stated_variance(common):
    noise = grain(8, (256, 256), 0.7, common)
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 2].ravel())[0, 1] - common) < 0.03
    assert abs(noise.std() - 1) < 0.03


def test_correlated_noise_has_its_sigma_up_to_the_border():
    image = np.full((200, 200, 3), 0.5, np.float32)
    params = CorrelatedNoiseParams(sigma_255=20, size_px=2.0, common=0.2)
    noise = CorrelatedNoise(CorrelatedNoiseRanges()).apply(image, params, context((200, 200))).image - 0.5
    assert abs(noise.std() * 255 - 20) < 1
    border = np.concatenate([noise[:2].ravel(), noise[-2:].ravel(), noise[:, :2].ravel(), noise[:, -2:].ravel()])
    assert abs(border.std() * 255 - 20) < 2
