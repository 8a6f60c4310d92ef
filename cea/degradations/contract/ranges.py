"""Ranges to draw from, as people write them in params.yaml: ``beta: 1.5`` or ``beta: [1, 2]``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import numpy as np
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


@dataclass(frozen=True)
class Within:
    """Marks a ``tuple[float, float]`` as a range [low, high] inside ``[least, most]``; one number means both ends.

    On a ``float`` it bounds what was drawn from such a range and came back in a record.
    """

    least: float
    most: float

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        if source is float:
            return core_schema.no_info_after_validator_function(
                self._bounded, core_schema.float_schema(strict=True, allow_inf_nan=False)
            )
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

    def _bounded(self, value: float) -> float:
        # A draw never lies below its range, but rounding may put it some units in the last place above.
        if not self.least <= value <= self.most + 4 * math.ulp(self.most):
            ends = {"least": f"{self.least:g}", "most": f"{self.most:g}"}
            raise PydanticCustomError("within", "Input should lie within [{least}, {most}]", ends)
        return value


Share: TypeAlias = Annotated[tuple[float, float], Within(0, 1)]
"""A range inside [0, 1]."""

Unit: TypeAlias = Annotated[float, Within(0, 1)]
"""A number in [0, 1], such as one that was drawn from a ``Share``."""


def uniform(rng: np.random.Generator, ends: tuple[float, float]) -> float:
    """A uniform draw from [low, high]; consumes exactly one draw also where low = high."""
    low, high = ends
    return float(low + (high - low) * rng.random())


def log_uniform(rng: np.random.Generator, ends: tuple[float, float]) -> float:
    """A log-uniform draw from [low, high], low > 0; one draw."""
    low, high = ends
    return float(low * (high / low) ** rng.random())
