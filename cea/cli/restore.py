"""``cea restore``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cea.cli.app import app
from cea.cli.options import Tile

if TYPE_CHECKING:
    pass


@app.command("restore")
def restore_photo(
    photo: Annotated[Path, typer.Argument(help="A photograph, or a folder of them.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A .png file, or a folder where PHOTO is one.")],
    weights: Annotated[Path, typer.Option(help="A .safetensors file.")] = Path("data/model/best.safetensors"),
    tile: Tile = None,
) -> None:
    """Restore a photograph, or every one in a folder; 16-bit files stay 16-bit."""
    import numpy as np

    from cea.degradations.tools.files import targets
    from cea.inference import restore, tile_for
    from cea.io.images import read_rgb, to_uint8, write_image
    from cea.models.checkpoint import load_weights

    model, _ = load_weights(weights)
    for source, target in targets(photo, out):
        image = read_rgb(source)
        restored = restore(model, image, tile=tile_for(image, tile))
        deep = np.rint(restored * np.float32(65535)).astype(np.uint16) if image.dtype == np.uint16 else None
        write_image(target, to_uint8(restored) if deep is None else deep)
        typer.echo(f"{target}  {image.shape[1]}x{image.shape[0]}")
