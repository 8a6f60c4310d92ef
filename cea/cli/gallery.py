"""``cea gallery``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cea.cli.app import app, examples
from cea.cli.voice import tell

if TYPE_CHECKING:
    from cea.types import ImageU8


@app.command(
    "gallery",
    short_help="Draw contact sheets of all degradations.",
    epilog=examples(
        "cea gallery -o sheets",
        "cea gallery -o sheets --photo photo.jpg",
    ),
)
def gallery(
    out: Annotated[Path, typer.Option("--out", "-o", help="A folder.")],
    photo: Annotated[list[Path] | None, typer.Option(help="Photographs to use; default: bundled ones.")] = None,
    width: Annotated[int, typer.Option(min=64, max=1024, help="Of a tile, px.")] = 256,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of the JPEG files.")] = 80,
    seed: Annotated[int, typer.Option(help="Of all draws.")] = 3,
) -> None:
    """Draw contact sheets: families by severity, recipes by draw."""
    from cea.extras import require

    if not photo:
        require("sklearn", "cea gallery without --photo")
    require("albumentations", "cea gallery")
    from cea.degradations.tools import gallery as drawing
    from cea.progress import followed

    photos = _photos(photo)
    sheet = drawing.Sheet(width, seed)
    families, recipes = drawing.family_names(), drawing.recipe_names()
    rows = followed(families, "families", len(families), "row")
    _write_jpeg(out / "families.jpg", drawing.families(photos, rows, sheet), quality)
    strips = followed(recipes, "recipes", len(recipes), "strip")
    _write_jpeg(out / "recipes.jpg", drawing.recipes(photos, strips, sheet), quality)


def _photos(paths: list[Path] | None) -> list[ImageU8]:
    from cea.degradations.exact.planes import as_rgb8
    from cea.io.images import read_rgb

    if paths:
        return [as_rgb8(read_rgb(path)) for path in paths]
    from cea.data.sources.bundled import Bundled, BundledConfig

    return [as_rgb8(item.load().rgb) for item in Bundled(BundledConfig(names=["china", "coffee"])).items()]


def _write_jpeg(path: Path, image: ImageU8, quality: int) -> None:
    import cv2

    from cea.io.images import write_bytes

    ok, data = cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, quality))
    assert ok
    write_bytes(path, data.tobytes())
    tell(f"{path}  {image.shape[1]}x{image.shape[0]}  {len(data) // 1024} KiB")
