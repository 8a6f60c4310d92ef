"""All degradation families by name. A family is imported when a recipe asks for it, not before."""

from __future__ import annotations

from typing import Any

from cea.degradations.contract.base import Degradation
from cea.registry import Registry


def _family_name(candidate: object) -> str | None:
    """The name of a family that a plug-in defines; None for anything else, base classes included."""
    is_family = isinstance(candidate, type) and issubclass(candidate, Degradation)
    return getattr(candidate, "name", None) if is_family else None


FAMILIES: Registry[type[Degradation[Any, Any]]] = Registry(
    "degradation",
    builtin={
        "noise": "cea.degradations.families.noise:Noise",
        "low": "cea.degradations.families.lowlight:LowLight",
        "haze": "cea.degradations.families.haze:Haze",
        "rain": "cea.degradations.families.rain:Rain",
        "snow": "cea.degradations.families.snow:Snow",
        "raindrop": "cea.degradations.families.raindrop:Raindrop",
        "motion_blur": "cea.degradations.families.motion_blur:MotionBlur",
        "defocus": "cea.degradations.families.defocus:Defocus",
        "varying_blur": "cea.degradations.families.varying_blur:VaryingBlur",
        "vignetting": "cea.degradations.families.vignetting:Vignetting",
        "glare": "cea.degradations.families.glare:Glare",
        "poisson_gaussian": "cea.degradations.families.poisson_gaussian:PoissonGaussian",
        "correlated_noise": "cea.degradations.families.correlated_noise:CorrelatedNoise",
        "resize": "cea.degradations.families.resize:Resize",
        "jpeg": "cea.degradations.families.jpeg:Jpeg",
        "webp": "cea.degradations.families.webp:Webp",
        "albumentations": "cea.degradations.families.albumentations:Albumentations",
    },
    group="cea.degradations",
    plugin=_family_name,
)
"""Other packages add families through the entry-point group; params.yaml may also say ``module:Class``."""
