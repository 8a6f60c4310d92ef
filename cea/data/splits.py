"""Which images are trained on, validated on, tested on: decided by their content alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from cea.config import Config
from cea.errors import DataError
from cea.rng import stream
from cea.types import Split


class SplitConfig(Config):
    """Shares of the photographs."""

    test: float = Field(default=0.375, ge=0, lt=1)
    """Share for testing; 0 for no test split."""

    val: float = Field(default=0.125, ge=0, lt=1)
    """Share for validation; 0 for no validation split."""

    salt: int = Field(default=0, ge=0)
    """Which photographs: changing it reshuffles the split."""

    @model_validator(mode="after")
    def _leave_some(self) -> SplitConfig:
        if self.test + self.val >= 1:
            raise ValueError("test + val below 1, so that something is left to train on")
        return self


def assign(groups: Iterable[str], config: SplitConfig, *, filled: Collection[Split] = ()) -> list[Split]:
    """The split of each group of photographs, in their order.

    A group's place in [0, 1) is a hash of its name and the salt: the first ``test`` of it is tested on, the next
    ``val`` validated on. So a group keeps its split whatever else is added or removed. Only where that leaves a
    configured split empty (few photographs), the group whose place is nearest moves there.

    Args:
        groups: names that follow from the content, one per group of near duplicates.
        config: shares and salt.
        filled: splits that hold images from elsewhere, and may stay without photographs.

    Raises:
        DataError: fewer groups than splits to fill.
    """
    places = np.fromiter((stream("split", config.salt, group) / 2**64 for group in groups), np.float64)
    bounds = _bounds(config)
    chosen = [next(split for split, (low, high) in bounds.items() if low <= place < high) for place in places]
    needed = [split for split in bounds if split not in filled]
    if len(chosen) < len(needed):
        raise DataError(
            f"{len(chosen)} different photographs for the splits {', '.join(needed)}",
            expected=f"at least {len(needed)} that are no near duplicates of each other",
            remedy="add photographs, or set ingest.split.val to 0",
        )
    for split in needed:
        if split not in chosen:
            chosen[_nearest(bounds[split], chosen, places, needed)] = split
    return chosen


def _bounds(config: SplitConfig) -> dict[Split, tuple[float, float]]:
    edge = config.test + config.val
    bounds: dict[Split, tuple[float, float]] = {
        "test": (0, config.test),
        "val": (config.test, edge),
        "train": (edge, 1),
    }
    return {split: ends for split, ends in bounds.items() if ends[0] < ends[1]}


def _nearest(
    interval: tuple[float, float], chosen: Sequence[Split], places: NDArray[np.float64], needed: Collection[Split]
) -> int:
    """The group whose place is nearest to the interval, among those whose own split can spare one."""
    held = Counter(chosen)
    spare = np.array([own not in needed or held[own] > 1 for own in chosen])
    distance = np.maximum(interval[0] - places, places - interval[1])
    return int(np.argmin(np.where(spare, distance, np.inf)))
