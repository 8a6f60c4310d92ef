"""Section ``cost`` of params.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Strict

from cea.config import Config

Pixels = Annotated[int, Field(ge=8, le=16384)]
ImageSize = Annotated[tuple[Pixels, Pixels], Strict(False)]


class CostConfig(Config):
    """For which images the cost of a trained network is measured."""

    images: Annotated[tuple[ImageSize, ...], Strict(False)] = ((256, 256), (512, 512), (1080, 1920))
    """Height and width of each; time and memory of a forward pass."""
