"""All degradation families by name. A family is imported when a recipe asks for it, not before."""

from __future__ import annotations

from typing import Any

from cea.degradations.base import Degradation
from cea.registry import Registry

FAMILIES: Registry[type[Degradation[Any, Any]]] = Registry(
    "degradation",
    builtin={
        "noise": "cea.degradations.noise:Noise",
        "low": "cea.degradations.lowlight:LowLight",
        "haze": "cea.degradations.haze:Haze",
        "rain": "cea.degradations.rain:Rain",
        "snow": "cea.degradations.snow:Snow",
        "raindrop": "cea.degradations.raindrop:Raindrop",
        "motion_blur": "cea.degradations.motion_blur:MotionBlur",
        "defocus": "cea.degradations.defocus:Defocus",
        "varying_blur": "cea.degradations.varying_blur:VaryingBlur",
        "vignetting": "cea.degradations.vignetting:Vignetting",
        "glare": "cea.degradations.glare:Glare",
        "poisson_gaussian": "cea.degradations.poisson_gaussian:PoissonGaussian",
        "correlated_noise": "cea.degradations.correlated_noise:CorrelatedNoise",
        "resize": "cea.degradations.resize:Resize",
        "jpeg": "cea.degradations.jpeg:Jpeg",
        "webp": "cea.degradations.webp:Webp",
        "albumentations": "cea.degradations.albumentations_family:Albumentations",
    },
    group="cea.degradations",
)
"""Other packages add families through the entry-point group; params.yaml may also say ``module:Class``."""
