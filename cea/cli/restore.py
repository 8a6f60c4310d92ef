"""``cea restore``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cea.cli.app import app
from cea.cli.options import Tile, Weights

if TYPE_CHECKING:
    from torch import nn

    from cea.types import Image


@app.command("restore")
def restore_photo(
    photo: Annotated[Path, typer.Argument(help="A photograph, or a folder of them.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A .png file, or a folder where PHOTO is one.")],
    weights: Weights = None,
    tile: Tile = None,
) -> None:
    """Restore a photograph, or every one in a folder; deep files stay deep, grey ones grey."""
    from cea.degradations.tools.files import targets
    from cea.errors import ImageError
    from cea.io.images import write_image
    from cea.models.checkpoint import load_weights
    from cea.weights.default import default_weights

    model, _ = load_weights(weights or default_weights())
    pairs, broken = targets(photo, out), []
    for source, target in pairs:
        try:
            restored, notes = _restored(model, source, tile)
        except ImageError as error:
            if not photo.is_dir():
                raise
            broken.append(str(source.relative_to(photo)))
            typer.echo(f"left out: {error}", err=True)
            continue
        write_image(target, restored)
        typer.echo(f"{target}  {restored.shape[1]}x{restored.shape[0]}" + "".join(f"  ({note})" for note in notes))
    if broken:
        raise ImageError(
            f"{photo}: {len(broken)} of {len(pairs)} images were left out: {', '.join(broken)}",
            expected="images that can be read",
            remedy="replace or remove them; the others are written",
        )


def _restored(model: nn.Module, source: Path, tile: int | None) -> tuple[Image, tuple[str, ...]]:
    """The restored picture at the depth of the file, one channel where it has one colour, and what is to be noted."""
    import numpy as np

    from cea.inference import restore, tile_for
    from cea.io.images import read_photo, to_uint8

    photo = read_photo(source)
    image = photo.over_white()
    restored = restore(model, image, tile=tile_for(image, tile))
    if photo.grey or (image == image[..., :1]).all():
        restored = restored.mean(axis=2)
    if image.dtype == np.uint16:
        return np.rint(restored * np.float32(65535)).astype(np.uint16), photo.notes
    return to_uint8(restored), photo.notes
