"""What `report` reads from params.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Strict

from cea.config import Config


class StripConfig(Config):
    """The README's picture: rows of input, restored, clean."""

    recipes: Annotated[tuple[str, ...], Strict(False)] = ()
    """Recipes shown, top to bottom; empty takes `rows` recipes spread over all."""
    rows: int = Field(default=4, ge=1, le=12)
    """Rows where `recipes` is empty."""
    tile_width: int = Field(default=320, ge=64, le=1024)
    """Width of one image, in pixels."""
    tile_height: int = Field(default=200, ge=64, le=1024)
    """Height of one image, in pixels; images are scaled and cropped to this shape."""


class ReportConfig(Config):
    """``params.yaml: report``."""

    title: str = "Continuous Expert Assembly"
    """Heading of the page."""
    max_bytes: int = Field(default=3_900_000, ge=200_000)
    """Size the page must not exceed, in bytes; pictures are reduced until it fits."""
    max_side: int = Field(default=512, ge=64, le=2048)
    """Longer side of the pictures in the page, in pixels."""
    quality: int = Field(default=84, ge=20, le=100)
    """WebP quality of the pictures in the page, where the size allows it."""
    compare: int = Field(default=6, ge=0, le=50)
    """How many earlier runs of the tracking store stand beside this one, the latest first; 0 for none."""
    strip: StripConfig = StripConfig()
    """The picture for the README."""
