"""Backbone blocks by name: modules built as ``Block(channels, expansion)`` that keep (B, C, H, W)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cea.registry import Registry

if TYPE_CHECKING:  # names are looked up without loading PyTorch
    from torch import nn

BLOCKS: Registry[type[nn.Module]] = Registry(
    "backbone block",
    builtin={
        "nafnet": "cea.models.blocks.nafnet:NafnetBlock",
        "restormer": "cea.models.blocks.restormer:RestormerBlock",
    },
    group="cea.blocks",
)
