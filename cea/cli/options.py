"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from cea.errors import ConfigError


def _tile(side: int | None) -> int | None:
    """Refuse tiles that the network does not take, by the option's name."""
    if not side:
        return side
    from cea.inference import SMALLEST_TILE

    if side < SMALLEST_TILE:
        raise ConfigError(
            f"--tile {side}",
            expected=f"at least {SMALLEST_TILE} pixels, or 0 for the whole image",
            remedy="correct the option",
        )
    return side


Tile = Annotated[
    int | None,
    typer.Option(
        min=0,
        callback=_tile,
        help="Side of tiles, px, at least 128; 0: the whole image. Default: whole up to 2.1 megapixels, then 512.",
    ),
]

Weights = Annotated[
    str | None,
    typer.Option(help="A .safetensors file, a folder with one, or models:/ID of MLflow. Default: those of cea."),
]

TrustCode = Annotated[
    bool, typer.Option("--trust-code", help="Let weights import the code that they name as module:Name.")
]
