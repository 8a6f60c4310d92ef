"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Tile = Annotated[
    int | None,
    typer.Option(min=0, help="Side of tiles, px; 0: the whole image. Default: whole up to 2.1 megapixels, then 512."),
]

Weights = Annotated[
    str | None,
    typer.Option(help="A .safetensors file, a folder with one, or models:/ID of MLflow. Default: those of cea."),
]

TrustCode = Annotated[
    bool, typer.Option("--trust-code", help="Let weights import the code that they name as module:Name.")
]
