"""Generated dead leaves as items beside the photographs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from cea.data.dead_leaves.images import VERSION, LeavesConfig, generate
from cea.data.sources.base import Item, Kind, Loaded
from cea.types import Split


@dataclass(frozen=True)
class Leaf(Item):
    """The dead-leaves image number ``index`` of a configuration."""

    config: LeavesConfig
    index: int
    kind: ClassVar[Kind] = "leaves"

    @property
    def split(self) -> Split:
        """The first ``val_count`` are for validation, the others for training: leaves are never tested on."""
        return "val" if self.index < self.config.val_count else "train"

    def load(self) -> Loaded:
        """Generate the image and its depth."""
        made = generate(self.config, self.index)
        return Loaded(made.rgb, made.inverse_depth)


def leaves(config: LeavesConfig) -> Iterator[Item]:
    """The configured dead-leaves images, each as it is asked for."""
    source = f"generated, seed {config.seed}, generator {VERSION}"
    return (Leaf(f"leaves-{index:04d}", source, "CC0, generated", config, index) for index in range(config.count))
