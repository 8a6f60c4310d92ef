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
    },
    group="cea.degradations",
)
"""Other packages add families through the entry-point group; params.yaml may also say ``module:Class``."""
