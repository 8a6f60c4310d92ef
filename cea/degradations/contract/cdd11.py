"""The names of CDD-11 (Guo et al., OneRestore, ECCV 2024), for recipes, its formation and its test sets alike."""

from __future__ import annotations

ORDER = ("low", "rain", "snow", "haze")
"""In which its components act."""

COMPOSITIONS = (
    *("low", "haze", "rain", "snow"),
    *("low_haze", "low_rain", "low_snow", "haze_rain", "haze_snow"),
    *("low_haze_rain", "low_haze_snow"),
)
"""The eleven kinds of images, as its folders are called."""
