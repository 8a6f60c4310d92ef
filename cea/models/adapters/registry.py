"""Adapters by name."""

from __future__ import annotations

from cea.models.adapters.base import Adapter
from cea.registry import Registry

ADAPTERS: Registry[type[Adapter]] = Registry(
    "adapter",
    builtin={
        "cea": "cea.models.adapters.cea:ContinuousExpertAssembly",
        "film": "cea.models.adapters.film:Film",
        "film-local": "cea.models.adapters.film_local:LocalFilm",
        "lora": "cea.models.adapters.lora:LowRank",
        "moe": "cea.models.adapters.moe:MixtureOfExperts",
        "none": "cea.models.adapters.base:NoAdapter",
        "prompt": "cea.models.adapters.prompt:PromptBank",
    },
    group="cea.adapters",
)
