"""Adapters by name."""

from __future__ import annotations

from cea.models.adapters.base import Adapter
from cea.registry import Registry

ADAPTERS: Registry[type[Adapter]] = Registry(
    "adapter",
    builtin={
        "cea": "cea.models.adapters.cea:ContinuousExpertAssembly",
        "none": "cea.models.adapters.base:NoAdapter",
    },
    group="cea.adapters",
)
