"""Ranges to draw from, as people write them in params.yaml: ``beta: 1.5`` or ``beta: [1, 2]``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import numpy as np
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


@dataclass(frozen=True)
class Within:
    """Marks a ``tuple[float, float]`` as a range [low, high] inside ``[least, most]``; one number means both ends."""

    least: float
    most: float

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._validate, serialization=core_schema.plain_serializer_function_ser_schema(list)
        )

    def _validate(self, value: Any) -> tuple[float, float]:
        ends = list(value) if isinstance(value, (list, tuple)) else [value, value]
        if len(ends) != 2 or not all(isinstance(end, (int, float)) and not isinstance(end, bool) for end in ends):
            raise ValueError(f"A number or [low, high] within [{self.least:g}, {self.most:g}]")
        low, high = (float(end) for end in ends)
        if not self.least <= low <= high <= self.most:
            raise ValueError(f"Low <= high within [{self.least:g}, {self.most:g}]")
        return low, high


Share: TypeAlias = Annotated[tuple[float, float], Within(0, 1)]
"""A range inside [0, 1]."""


def uniform(rng: np.random.Generator, ends: tuple[float, float]) -> float:
    """A uniform draw from [low, high]; consumes exactly one draw also where low = high."""
    low, high = ends
    return float(low + (high - low) * rng.random())


def log_uniform(rng: np.random.Generator, ends: tuple[float, float]) -> float:
    """A log-uniform draw from [low, high], low > 0; one draw."""
    low, high = ends
    return float(low * (high / low) ** rng.random())
