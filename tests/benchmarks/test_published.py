"""The published formation that the engine is timed against is the published formation."""

import numpy as np

from benchmarks.degradations import published
from cea.degradations.tools import cdd11
from cea.rng import generator


class NoNoise:
    """In place of a generator: the formation of this package then takes none, too."""

    @staticmethod
    def normal(mean, sigma, shape):
        return np.zeros(shape)


def test_published_equals_the_formation_that_parity_is_tested_of():
    rng = generator(1)
    image = rng.integers(0, 256, (41, 53, 3), np.uint8)
    maps = {"light": rng.random((41, 53)), "rain": rng.random((41, 53, 3)), "inverse_depth": rng.random((41, 53, 3))}
    maps["inverse_depth"] = maps["inverse_depth"][..., :1].repeat(3, axis=2)
    formed = cdd11.form(image, "low_haze_rain", **maps, gamma=2.5, beta=1.5, airlight=0.75)
    np.testing.assert_allclose(published(image, maps, NoNoise()), formed, rtol=0, atol=1e-9)
