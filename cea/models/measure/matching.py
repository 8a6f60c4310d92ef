"""Rivals with equally many parameters: each adapter has its own width solved for, the plain backbone is widened."""

from __future__ import annotations

from functools import cache

import torch
from pydantic import ValidationError

from cea.errors import ConfigError
from cea.models.adapters.registry import ADAPTERS
from cea.models.config import ModelConfig, ModelSection
from cea.models.network import RestorationNetwork

TOLERANCE = 0.01
_STEPS = {"expansion": 1 / 256}
"""Grids of the width keys that are not whole numbers."""


def parameters(config: ModelConfig) -> int:
    """Parameters of the network, without making its weights."""
    return _parameters(config.model_dump_json())


@cache
def _parameters(config: str) -> int:
    with torch.device("meta"):
        return sum(
            parameter.numel() for parameter in RestorationNetwork(ModelConfig.model_validate_json(config)).parameters()
        )


def resolve(section: ModelSection) -> ModelConfig:
    """The config to build and to keep beside the weights: ``section``, matched where it says so; every number final."""
    own = ModelConfig.model_validate(section.model_dump(exclude={"equal_to"}))
    if section.equal_to in (None, own.adapter):
        return own
    return match(own, own.model_copy(update={"adapter": section.equal_to, "adapter_options": {}}))


def match(config: ModelConfig, reference: ModelConfig, tolerance: float = TOLERANCE) -> ModelConfig:
    """``config`` with the width of its adapter set so that it has as many parameters as ``reference``.

    Each adapter names the key that sets its size (``Adapter.width_key``); for ``none`` it is the blocks' expansion.

    Args:
        config: what to match; all other keys stay as they are.
        reference: whose parameters to have.
        tolerance: largest deviation, as a share of the reference's parameters.

    Raises:
        ConfigError: the nearest width deviates by more than ``tolerance``.
    """
    target = parameters(reference)
    below = _largest_not_above(config, target)
    nearest = min((below, below + 1), key=lambda steps: abs(_count(config, steps) - target))
    deviation = abs(_count(config, nearest) - target) / target
    if deviation > tolerance:
        raise ConfigError(
            f"model.adapter = {config.adapter!r} gets {_count(config, nearest)} parameters at the nearest width",
            expected=f"within {tolerance:.1%} of {target}",
            remedy="match a larger network, or one on the same backbone",
        )
    return _with_width(config, nearest)


def _largest_not_above(config: ModelConfig, target: int) -> int:
    """The greatest number of width steps that does not give more parameters; found by doubling, then halving."""
    low = _least(config)
    high = low + 1
    while _count(config, high) <= target:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _count(config, middle) <= target else (low, middle)
    return low


def _least(config: ModelConfig) -> int:
    bounds = ModelConfig.model_fields[_key(config)].metadata
    return round(next(bound.ge for bound in bounds if hasattr(bound, "ge")) / _step(config))


def _count(config: ModelConfig, steps: int) -> int:
    return parameters(_with_width(config, steps))


def _with_width(config: ModelConfig, steps: int) -> ModelConfig:
    """``config`` with its width key at ``steps`` grid steps."""
    key = _key(config)
    value = steps * _step(config)
    try:
        return ModelConfig.model_validate(config.model_dump() | {key: value})
    except ValidationError:
        raise ConfigError(
            f"model.{key} = {value} would be needed to match the parameters",
            expected=f"a reference that {config.adapter!r} can reach",
            remedy="match a smaller network, or one on the same backbone",
        ) from None


def _key(config: ModelConfig) -> str:
    return ADAPTERS[config.adapter].width_key


def _step(config: ModelConfig) -> float | int:
    return _STEPS.get(_key(config), 1)
