"""Adapters by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cea.registry import Registry

if TYPE_CHECKING:  # names are looked up without loading PyTorch
    from cea.models.adapters.base import Adapter

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
