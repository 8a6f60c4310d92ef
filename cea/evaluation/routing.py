"""Does the routing follow the degradation? CEA's coefficient maps against the severity maps of the synthesis.

Within one image, each expert's map <x_n, a_k> is compared with each component's severity, reduced to the map's size.
An image over which a component is spread evenly says nothing about this and is left out for that component.

Two controls stand beside every figure. Smooth maps correlate by accident: the same against the severity of *another*
image. And a dark or veiled region shows in any projection of the features: the same for the network before training,
whose routing bases are random. Only what exceeds both was learned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log2
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cea.evaluation.cases import Case
from cea.evaluation.config import RoutingConfig
from cea.evaluation.examples import Affinity
from cea.levels import unit_float

Array = NDArray[np.float64]

_THUMB = 64
"""Side to which a severity map is reduced before it stands in for that of another image."""


@dataclass(frozen=True)
class Moments:
    """Of r coefficient maps and a severity map over one image, each less its mean: all that the figures need.

    Attributes:
        gram: (r, r), mean products of coefficients.
        cross: (r,), mean products of coefficients and severity.
        energy: variance of the severity.
    """

    gram: Array
    cross: Array
    energy: float

    def pearson(self) -> Array:
        """(r,) correlation of each coefficient map with the severity; 0 for a constant map."""
        scale = np.sqrt(np.diag(self.gram) * self.energy)
        return np.divide(self.cross, scale, out=np.zeros_like(scale), where=scale > 0)

    def r2(self) -> float:
        """Share of the severity's variance that the best linear readout of the r maps of this image explains."""
        return float(np.clip(self.cross @ _solve(self.gram, self.cross) / self.energy, 0, 1))

    def correlation(self, weights: Array) -> float:
        """Correlation of the severity with the linear readout ``weights`` (r,), fitted on other images; in [-1, 1]."""
        scale = np.sqrt(max(float(weights @ self.gram @ weights), 0.0) * self.energy)
        return float(weights @ self.cross / scale) if scale > 0 else 0.0


@dataclass(frozen=True)
class Reading:
    """One component of one image at one site: against its own severity, and against that of another image."""

    site: str
    component: str
    clean_id: str
    own: Moments
    other: Moments | None


@dataclass(frozen=True)
class Routing:
    """All readings, and how many images were left out for each component because it is even over them."""

    readings: list[Reading]
    even: dict[str, int]


def measure_routing(cases: Sequence[Case], affinity: Affinity, config: RoutingConfig) -> Routing:
    """Compare coefficient and severity maps over ``config.per_recipe`` cases of each recipe, uneven ones first.

    Cases without severity maps (real pairs) are passed over.
    """
    chosen = list(choose(cases, config.per_recipe))
    thumbs = [{name: _thumb(band) for name, band in _bands(case, config.least_std).items()} for case in chosen]
    readings: list[Reading] = []
    for number, case in enumerate(chosen):
        if thumbs[number]:
            others = {name: _other(thumbs, number, name) for name in thumbs[number]}
            readings += _read(case, affinity(case.read().degraded), others, config.least_std)
    counted = [
        name for case, labelled in zip(chosen, thumbs, strict=True) for name in set(case.components) - set(labelled)
    ]
    return Routing(readings, {name: counted.count(name) for name in sorted(set(counted))})


def choose(cases: Iterable[Case], per_recipe: int) -> Iterator[Case]:
    """The first cases of each recipe, those with an even degradation last."""
    taken: dict[str, int] = {}
    for case in sorted(cases, key=lambda case: case.uniform is True):
        taken[case.recipe] = taken.get(case.recipe, 0) + 1
        if taken[case.recipe] <= per_recipe:
            yield case


def summarise_routing(routing: Routing, untrained: Routing | None = None) -> dict[str, Any]:
    """Site -> component -> figures, means over the images over which the component varies.

    ``pearson``: the largest |correlation| that one expert reaches on average, ``ranks`` the same for each expert;
    ``r2``: explained by a linear readout of all experts, fitted on the image itself; ``transfer``: correlation with a
    readout fitted on the other scenes (where there are any); ``*_chance``: the same against another image's severity;
    ``*_untrained``: the same for ``untrained``, the readings of the network before training; ``images``: how many;
    ``even``: images left out.
    """
    before = {} if untrained is None else summarise_routing(untrained)
    return {
        site: {name: figures | _before(before, site, name) for name, figures in parts.items()}
        for site, parts in _summary(routing).items()
    }


def _before(figures: Mapping[str, Any], site: str, name: str) -> dict[str, float]:
    entry = figures.get(site, {}).get(name, {})
    return {f"{key}_untrained": entry[key] for key in ("pearson", "r2", "transfer") if key in entry}


def _summary(routing: Routing) -> dict[str, dict[str, dict[str, Any]]]:
    groups: dict[str, dict[str, list[Reading]]] = {}
    for reading in routing.readings:
        groups.setdefault(reading.site, {}).setdefault(reading.component, []).append(reading)
    return {
        site: {name: _figures(parts[name], routing.even.get(name, 0)) for name in sorted(parts)}
        for site, parts in groups.items()
    }


def _figures(readings: Sequence[Reading], even: int) -> dict[str, Any]:
    own, others = [reading.own for reading in readings], [reading.other for reading in readings if reading.other]
    ranks = _mean_pearson(own)
    figures = {"images": len(own), "even": even, "pearson": ranks.max(), "r2": np.mean([moment.r2() for moment in own])}
    if others:
        figures["pearson_chance"] = _mean_pearson(others).max()
        figures["r2_chance"] = np.mean([moment.r2() for moment in others])
    if len({reading.clean_id for reading in readings}) > 1:
        figures["transfer"] = np.mean(
            [reading.own.correlation(_fit_without(readings, reading)) for reading in readings]
        )
    rounded = {name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()}
    return rounded | {"ranks": [round(float(value), 4) for value in ranks]}


def _mean_pearson(moments: Sequence[Moments]) -> Array:
    return np.asarray(np.mean([np.abs(moment.pearson()) for moment in moments], axis=0))


def _fit_without(readings: Sequence[Reading], left_out: Reading) -> Array:
    """The readout (r,) that is best over the other scenes, every image counting alike."""
    rest = [reading.own for reading in readings if reading.clean_id != left_out.clean_id]
    gram = np.sum([moment.gram / moment.energy for moment in rest], axis=0)
    return _solve(gram, np.sum([moment.cross / moment.energy for moment in rest], axis=0))


def _solve(gram: Array, cross: Array) -> Array:
    """Least squares also where experts are alike."""
    return np.asarray(np.linalg.pinv(gram, rcond=1e-9, hermitian=True) @ cross)


def _read(
    case: Case, maps: Mapping[str, NDArray[Any]], others: Mapping[str, NDArray[np.float32] | None], least_std: float
) -> Iterator[Reading]:
    bands = _bands(case, least_std)
    for site, stack in maps.items():
        for name, band in bands.items():
            other = others[name]
            stretched = None if other is None else cv2.resize(other, stack.shape[:0:-1])
            own = moments(stack, to_site(band, stack.shape[1:]))
            if own.energy > 0:
                against = None if stretched is None else moments(stack, stretched)
                yield Reading(site, name, case.clean_id, own, against if against and against.energy > 0 else None)


def moments(stack: NDArray[Any], severity: NDArray[Any]) -> Moments:
    """Of (r, h, w) coefficient maps and an (h, w) severity."""
    coefficients = stack.reshape(len(stack), -1).astype(np.float64)
    coefficients -= coefficients.mean(axis=1, keepdims=True)
    centred = severity.reshape(-1).astype(np.float64)
    centred -= centred.mean()
    count = centred.size
    return Moments(
        gram=coefficients @ coefficients.T / count,
        cross=coefficients @ centred / count,
        energy=float(centred @ centred / count),
    )


def to_site(band: NDArray[np.float32], shape: Sequence[int]) -> NDArray[np.float32]:
    """Means of ``band`` (H, W) over the cells of a site's (h, w) tokens.

    The network pads by repeating the last row and column until its size divides; the stride of a site is a power of 2.
    """
    strides = [2 ** round(log2(size / cells)) for size, cells in zip(band.shape, shape, strict=True)]
    missing = [max(0, cells * stride - size) for size, cells, stride in zip(band.shape, shape, strides, strict=True)]
    padded = np.pad(band, [(0, extra) for extra in missing], mode="edge")
    padded = padded[: shape[0] * strides[0], : shape[1] * strides[1]]
    return np.asarray(padded.reshape(shape[0], strides[0], shape[1], strides[1]).mean(axis=(1, 3)))


def _bands(case: Case, least_std: float) -> dict[str, NDArray[np.float32]]:
    """The severities in [0, 1] that vary over the image, by component; the first where one occurs twice."""
    severity = case.read().severity
    bands: dict[str, NDArray[np.float32]] = {}
    for name, band in zip(case.components, [] if severity is None else severity, strict=False):
        unit = unit_float(band)
        if name not in bands and unit.std() >= least_std:
            bands[name] = unit
    return bands


def _thumb(band: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(band, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA))


def _other(thumbs: Sequence[Mapping[str, NDArray[np.float32]]], number: int, name: str) -> NDArray[np.float32] | None:
    """The same component's severity in the next image that has one, going round."""
    order = [*range(number + 1, len(thumbs)), *range(number)]
    return next((thumbs[index][name] for index in order if name in thumbs[index]), None)
