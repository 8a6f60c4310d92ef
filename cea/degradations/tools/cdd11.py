"""The formation of CDD-11 (Guo et al., OneRestore, ECCV 2024), exactly as published, in float64.

Order low -> rain -> snow -> haze. The equations are those of the families; here they run without tables.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cea.degradations.contract.cdd11 import COMPOSITIONS
from cea.degradations.exact import elementary
from cea.degradations.exact.maps import resized
from cea.degradations.exact.normal import noise_planes
from cea.degradations.exact.planes import grey
from cea.degradations.exact.portable import portable
from cea.degradations.families.haze import distance, veil
from cea.degradations.families.lowlight import illumination, relight
from cea.degradations.families.rain import add_rain
from cea.degradations.families.snow import cover
from cea.errors import ConfigError, ImageError
from cea.levels import as_unit
from cea.types import Image, Map

_NEEDS = {
    "low": ("light", "gamma"),
    "rain": ("rain",),
    "snow": ("snow",),
    "haze": ("inverse_depth", "beta", "airlight"),
}

F64 = NDArray[np.float64]


@portable()
def form(  # the published inputs, by name
    image: Image,
    composition: str,
    *,
    light: Map | None = None,
    inverse_depth: Map | None = None,
    rain: Map | None = None,
    snow: Map | None = None,
    gamma: float | None = None,
    sigma: float | None = None,
    noise: Image | None = None,
    beta: float | None = None,
    airlight: float | None = None,
) -> F64:
    """Degrade ``image`` by ``composition``; (H, W, 3) float64 RGB, clipped where the published code clips.

    Args:
        image: (H, W, 3) RGB, uint8 or float in [0, 1].
        composition: one of ``COMPOSITIONS``.
        light: (H, W) or (H, W, 3) illumination map; uint8 or [0, 1]; needed by ``low``.
        inverse_depth: (H, W) or (H, W, 3), near = bright; needed by ``haze``.
        rain: (H, W) or (H, W, 3) streaks, added; resized bilinearly to the image; needed by ``rain``.
        snow: (H, W) or (H, W, 3) opacity; resized likewise; needed by ``snow``.
        gamma: exponent of the light, published range [2, 3].
        sigma: standard deviation of the noise in [0, 1], published range [.03, .08]; its noise is that of stream 0.
        noise: (H, W, 3) RGB noise added as it is, in place of ``sigma``; with neither there is none.
        beta: scattering coefficient, published range [1, 2].
        airlight: published range [.6, .9].

    Raises:
        ConfigError: unknown composition or a missing input.
        ImageError: an input that is no image.
    """
    given = {"light": light, "inverse_depth": inverse_depth, "rain": rain, "snow": snow}
    numbers = {"gamma": gamma, "beta": beta, "airlight": airlight}
    _check(composition, {**given, **numbers})
    x = _unit(image)
    if x.ndim != 3 or x.shape[2] != 3:
        raise ImageError(f"an image of shape {x.shape}", expected="(H, W, 3) RGB", remedy="convert it first")
    parts = composition.split("_")
    size = x.shape[:2]
    if "low" in parts:
        x = _low(x, _unit(light), float(gamma or 1), _noise(noise, sigma, x.shape))
    if "rain" in parts:
        x = add_rain(x, _fit(_unit(rain), size))
    if "snow" in parts:
        x = cover(x, _fit(_unit(snow), size))
    if "haze" in parts:
        d = distance(np.ascontiguousarray(_one_channel(_unit(inverse_depth))))
        x = veil(x, elementary.exp(-float(beta or 0) * d), float(airlight or 0))
        x = np.clip(x, 0, 1)
    return x


def _low(x: F64, light: F64, gamma: float, noise: F64 | float) -> F64:
    level = illumination(np.ascontiguousarray(_one_channel(light)), grey(x))
    return np.clip(relight(x, elementary.power(level, gamma - 1)) + noise, 0, 1)


def _noise(noise: Image | None, sigma: float | None, shape: tuple[int, ...]) -> F64 | float:
    if noise is not None:
        return np.asarray(noise, np.float64)
    return sigma * noise_planes(0, *shape[:2]).astype(np.float64) if sigma else 0.0


def _unit(values: Image | Map | None) -> F64:
    array = np.asarray(values)
    return as_unit(array) if array.dtype.kind == "u" else array.astype(np.float64)


def _one_channel(values: F64) -> F64:
    return values if values.ndim == 2 else values[..., 0]


def _fit(layer: F64, size: tuple[int, ...]) -> F64:
    return resized(layer, size)


def _check(composition: str, given: dict[str, object]) -> None:
    if composition not in COMPOSITIONS:
        raise ConfigError(
            f"composition {composition!r}", expected=f"one of {', '.join(COMPOSITIONS)}", remedy="choose one of them"
        )
    for component in composition.split("_"):
        for name in _NEEDS[component]:
            if given[name] is None:
                raise ConfigError(
                    f"{composition}: {name} is missing",
                    expected=f"{name}, which {component!r} needs",
                    remedy=f"pass {name}=...",
                )
