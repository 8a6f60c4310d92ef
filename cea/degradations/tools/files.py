"""Degrading image files: draw, render, write the picture and, on request, its maps and its record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cea.degradations.engine.draw import draw
from cea.degradations.engine.recipes import RecipeConfig
from cea.degradations.engine.records import Record
from cea.degradations.engine.render import Rendered, render
from cea.degradations.engine.scene import Convention, as_inverse_depth
from cea.degradations.exact.planes import as_rgb8
from cea.errors import DataError, ImageError
from cea.io.images import IMAGE_SUFFIXES, encode_png, pixel_sha256, read_rgb, unit_float, write_bytes
from cea.rng import SampleKey
from cea.types import Map


@dataclass(frozen=True)
class DegradeOptions:
    """What to do to each photograph.

    Attributes:
        name: the recipe's name, without slashes.
        recipe: what to draw.
        seed: the root seed; the same photograph and seed give the same pixels.
        uneven: whether smooth fields drive the strengths.
        inverse_depth: the scene's own map (see ``read_depth``), or None for a procedural one.
        light: the scene's own illumination, or None.
    """

    name: str
    recipe: RecipeConfig
    seed: int
    uneven: bool = False
    inverse_depth: Map | None = None
    light: Map | None = None


def degrade(photo: Path, options: DegradeOptions) -> tuple[Record, Rendered]:
    """Draw a sample of the recipe for ``photo`` and render it with all its maps.

    Raises:
        ImageError: a photograph that cannot be read.
    """
    clean = as_rgb8(read_rgb(photo))
    key = SampleKey(options.seed, pixel_sha256(clean), options.name, 0)
    record = draw(
        options.name,
        options.recipe,
        key,
        clean_id="".join("_" if character in "./" else character for character in photo.stem) or "image",
        split="test",
        crop=None,
        nonuniform=options.uneven,
        inverse_depth=options.inverse_depth,
        light=options.light,
        clean=lambda: clean,
    )
    return record, render(record, clean, inverse_depth=options.inverse_depth, light=options.light, labels=True)


def targets(photo: Path, out: Path) -> list[tuple[Path, Path]]:
    """Which photograph is written where.

    Args:
        photo: one, or a folder whose inner structure is kept.
        out: a .png file, or a folder.

    Raises:
        ImageError: a folder without images, or a result that is not to be a PNG.
        DataError: a result would be written over a photograph.
    """
    pairs = _folder_targets(photo, out) if photo.is_dir() else [(photo, out)]
    for source, target in pairs:
        if target.suffix.lower() != ".png":
            raise ImageError(f"{target}: not lossless", expected="a .png file", remedy="change the suffix")
        if target.exists() and source.exists() and target.samefile(source):
            raise DataError(f"{target} is the photograph itself", expected="another place", remedy="change --out")
    return pairs


def _folder_targets(folder: Path, out: Path) -> list[tuple[Path, Path]]:
    photographs = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES)
    sources = [path for path in photographs if out.resolve() not in path.resolve().parents]
    if not sources:
        raise ImageError(f"{folder} holds no images", expected="PNG, JPEG, ...", remedy="check the folder")
    stems = Counter(path.with_suffix("") for path in sources)
    # a.jpg and a.png may lie side by side: a_jpg.png and a_png.png then.
    names = [
        p.with_suffix("") if stems[p.with_suffix("")] == 1 else f"{p.with_suffix('')}_{p.suffix[1:]}" for p in sources
    ]
    return [(path, out / f"{Path(name).relative_to(folder)}.png") for path, name in zip(sources, names, strict=True)]


def read_depth(path: Path, convention: Convention) -> Map:
    """A depth map from an image (8 or 16 bits) or a .npy file, as inverse depth (H, W) in [0, 1].

    Raises:
        ImageError: it cannot be read, or is no depth map in that convention.
    """
    return as_inverse_depth(_values(path), convention)


def read_light(path: Path) -> Map:
    """An illumination map from an image or a .npy file, (H, W) in [0, 1].

    Raises:
        ImageError: it cannot be read.
    """
    values = _values(path)
    return unit_float(values if values.ndim == 2 else values[..., :3].max(axis=2))


def _values(path: Path) -> NDArray[Any]:
    if path.suffix != ".npy":
        return read_rgb(path)
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: {error}", expected="an array of numbers", remedy="save it with numpy.save") from None


def write(out: Path, record: Record, rendered: Rendered, *, with_maps: bool, with_record: bool) -> None:
    """Write the picture to ``out``, its maps to ``<out>.<component>.<map>.png`` and its record to ``<out>.json``.

    Maps are 16-bit: 65535 is 1.
    """
    write_bytes(out, encode_png(rendered.degraded))
    if with_record:
        write_bytes(out.with_suffix(".json"), record.model_dump_json(indent=2).encode() + b"\n")
    for name, values in _maps(record, rendered) if with_maps else ():
        deep = np.rint(np.clip(values.astype(np.float64), 0, 1) * 65535).astype(np.uint16)
        write_bytes(out.with_suffix(f".{name.replace('/', '.')}.png"), encode_png(np.ascontiguousarray(deep)))


def _maps(record: Record, rendered: Rendered) -> Iterator[tuple[str, NDArray[np.float32]]]:
    yield from zip((f"{node.label}/severity" for node in record.nodes), rendered.severity, strict=True)
    yield from rendered.labels.items()
