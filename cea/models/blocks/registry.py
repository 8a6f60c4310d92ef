"""Backbone blocks by name: modules built as ``Block(channels, expansion)`` that keep (B, C, H, W)."""

from __future__ import annotations

from torch import nn

from cea.registry import Registry

BLOCKS: Registry[type[nn.Module]] = Registry(
    "backbone block",
    builtin={
        "nafnet": "cea.models.blocks.nafnet:NafnetBlock",
        "restormer": "cea.models.blocks.restormer:RestormerBlock",
    },
    group="cea.blocks",
)
