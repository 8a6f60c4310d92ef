"""Blur kernels of every kind, for tests."""

from __future__ import annotations

import numpy as np

from cea.degradations.exact import psf
from cea.degradations.families.motion_blur import trajectory
from cea.rng import generator

KERNELS = {
    "disc": psf.disc(3.7),
    "small disc": psf.disc(0.4),
    "gaussian": psf.gaussian(4.0, 1.5, 0.6),
    "trajectory": psf.trace(trajectory(generator(1), 0.5) * 40),
    "point": psf.trace(np.zeros(5, np.complex128)),
}
