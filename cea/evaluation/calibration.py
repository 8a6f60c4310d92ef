"""Does the network know? What it estimates of its inputs, against what was recorded and what the clean image shows.

Severities are compared cell by cell of the network's stem, over all test images of the recipes that were trained on: a
component that an image lacks was recorded as 0. Expected errors are compared with the mean absolute error of the input
around each cell, as the network was trained to predict it. Every image counts alike, whatever its size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cea.evaluation.cases import Case, Pixels
from cea.evaluation.routing import to_site
from cea.inference import Estimates
from cea.levels import unit_float
from cea.losses import local_error
from cea.models.tensors import image_tensor
from cea.types import ImageU8

Estimate = Callable[[ImageU8], Estimates]
"""(H, W, 3) uint8 -> what the network makes of it: ``restore_judged(model, image)[1]``."""

Array = NDArray[np.float64]

SEVERITY_EDGES = tuple(step / 10 for step in range(11))
"""Of the bins of estimated severity."""

ERROR_EDGES = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 255.0)
"""Of the bins of expected error, in grey levels of 255."""

SMALLEST_LEVEL = 1 / 64
"""Grey levels: errors below it count as this much where they are compared as ratios."""


def calibrate(cases: Iterable[Case], clean: Iterable[Case], estimate: Estimate) -> dict[str, Any]:
    """How far the network's estimates can be believed; empty for a network that makes none.

    Args:
        cases: degraded images with their recorded severities; for severities, those without are passed over.
        clean: the scenes undegraded (`cea.evaluation.cases.clean_cases`): of each component there is nothing.
        estimate: of the network.

    Returns:
        ``severity.<component>``, in shares of full severity, and ``error``, in grey levels, each where the network
        estimates it: `Tally.summary`, for a component with ``present`` (images that have it) and ``mae_present`` (the
        mean absolute error on those), for errors with ``within_factor_2`` (share of cells); each with ``clean``, the
        mean estimate on clean scenes.
    """
    severity: dict[str, Tally] = {}
    error = Tally(ERROR_EDGES)
    near = []
    for case in cases:
        pixels = case.read()
        found = estimate(pixels.degraded)
        for name, estimated, actual, present in _components(case, pixels, found):
            severity.setdefault(name, Tally(SEVERITY_EDGES)).add(estimated, actual, present=present)
        if found.error is not None:
            expected, true = _errors(pixels, found.error)
            error.add(expected, true, compare=_logarithm)
            near.append(float(np.mean(np.abs(_logarithm(expected) - _logarithm(true)) <= 1)))
    rest = [estimate(case.read().degraded) for case in clean]
    summary: dict[str, Any] = {}
    if severity:
        summary["severity"] = {
            name: {**tally.summary(), **tally.by_presence(), **_mean_of([one.severity[name] for one in rest])}
            for name, tally in severity.items()
        }
    if near:
        on_clean = _mean_of([255 * one.error for one in rest if one.error is not None])
        summary["error"] = {**error.summary(), "within_factor_2": round(float(np.mean(near)), 4), **on_clean}
    return summary


class Tally:
    """Estimates against the truth, image by image.

    Args:
        edges: of the bins of the estimates, rising; what is beyond the last counts to the last bin.
    """

    def __init__(self, edges: Sequence[float]) -> None:
        self.edges = edges
        bins = len(edges) - 1
        self._share, self._estimated, self._actual = (np.zeros(bins) for _ in range(3))
        self._moments = np.zeros((3, 3))
        self._errors: list[float] = []
        self._present: list[bool] = []

    def add(
        self,
        estimated: Array,
        actual: Array,
        *,
        present: bool = True,
        compare: Callable[[Array], Array] = lambda values: values,
    ) -> None:
        """Take up an image.

        Args:
            estimated, actual: (N,), one value for each cell.
            present: whether there is anything to be estimated in this image.
            compare: the values as the correlation takes them.
        """
        count = estimated.size
        which = np.clip(np.searchsorted(self.edges, estimated, side="right") - 1, 0, len(self._share) - 1)
        for sums, values in ((self._share, None), (self._estimated, estimated), (self._actual, actual)):
            sums += np.bincount(which, values, len(sums)) / count
        columns = np.stack([np.ones(count), compare(estimated), compare(actual)])
        self._moments += columns @ columns.T / count
        self._errors.append(float(np.abs(estimated - actual).mean()))
        self._present.append(present)

    def summary(self) -> dict[str, Any]:
        """``images``; ``mae``, the mean over images of the mean absolute error; means ``estimated`` and ``actual``.

        ``correlation`` over all cells, where neither side is constant. ``calibration_error``: how far the means of
        estimate and truth lie apart within a bin of estimates, averaged over bins by their share of cells. And ``bins``
        that hold a cell: ``low``, ``high``, ``share``, means ``estimated`` and ``actual``.
        """
        images = len(self._errors)
        bins = {}
        for number, (low, high) in enumerate(pairwise(self.edges)):
            if share := self._share[number]:
                means = {"estimated": self._estimated[number] / share, "actual": self._actual[number] / share}
                rounded = {name: round(float(value), 4) for name, value in means.items()}
                bins[f"{low:g}-{high:g}".replace(".", "_")] = {
                    "low": low,
                    "high": high,
                    "share": round(float(share / images), 6),
                    **rounded,
                }
        apart = float(np.abs(self._estimated - self._actual).sum()) / images
        return {
            "images": images,
            "mae": round(float(np.mean(self._errors)), 4),
            "estimated": round(float(self._estimated.sum()) / images, 4),
            "actual": round(float(self._actual.sum()) / images, 4),
            **self._correlation(),
            "calibration_error": round(apart, 4),
            "bins": bins,
        }

    def by_presence(self) -> dict[str, Any]:
        """``present``: images in which there is something to be estimated; ``mae_present``: the mean over those."""
        errors = [error for error, present in zip(self._errors, self._present, strict=True) if present]
        return {"present": len(errors)} | ({"mae_present": round(float(np.mean(errors)), 4)} if errors else {})

    def _correlation(self) -> dict[str, float]:
        means = self._moments / len(self._errors)
        covariance = means[1:, 1:] - np.outer(means[0, 1:], means[0, 1:])
        scale = covariance[0, 0] * covariance[1, 1]
        if min(covariance[0, 0], covariance[1, 1]) <= 1e-12:
            return {}
        return {"correlation": round(float(np.clip(covariance[0, 1] / np.sqrt(scale), -1, 1)), 4)}


def _components(case: Case, pixels: Pixels, found: Estimates) -> Iterator[tuple[str, Array, Array, bool]]:
    """Component, its estimated and its recorded severity, and whether the image has it."""
    if pixels.severity is None:
        return
    recorded = dict(zip(case.components, pixels.severity, strict=True))
    for name, estimated in found.severity.items():
        actual = np.zeros_like(estimated)
        if name in recorded:
            actual = to_site(unit_float(recorded[name]), estimated.shape)
        yield name, _flat(estimated), _flat(actual), name in recorded


def _errors(pixels: Pixels, expected: NDArray[np.float32]) -> tuple[Array, Array]:
    """Expected and true error in grey levels."""
    size = expected.shape[0], expected.shape[1]
    true: Tensor = local_error(image_tensor(pixels.degraded), image_tensor(pixels.clean), size)
    return 255 * _flat(expected), 255 * _flat(true[0, 0].numpy())


def _logarithm(levels: Array) -> Array:
    return np.asarray(np.log2(np.maximum(levels, SMALLEST_LEVEL)))


def _flat(values: NDArray[np.float32]) -> Array:
    return values.reshape(-1).astype(np.float64)


def _mean_of(maps: Sequence[NDArray[np.float32]]) -> Mapping[str, float]:
    return {"clean": round(float(np.mean([one.mean() for one in maps])), 4)} if maps else {}
