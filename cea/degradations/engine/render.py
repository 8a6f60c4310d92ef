"""From a record and clean pixels to a degraded sample: a pure function, the same bytes everywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from cea.degradations.contract.base import Applied, Context, Degradation, Params, Scene
from cea.degradations.contract.registry import FAMILIES
from cea.degradations.engine.compose import parts_of, steps
from cea.degradations.engine.driven import apply_driven
from cea.degradations.engine.fields import field_map
from cea.degradations.engine.fused import Canvas
from cea.degradations.engine.records import NodeRecord, Record, check_version
from cea.degradations.engine.scene import CropWindow, brightest, light_map, own_map, procedural_depth, shrunk
from cea.degradations.exact.maps import resized
from cea.degradations.exact.planes import as_rgb8
from cea.degradations.exact.portable import portable
from cea.errors import ConfigError, ImageError, RecordError
from cea.types import Image, ImageU8, Map


@dataclass(frozen=True)
class Rendered:
    """One sample in pixels.

    Attributes:
        clean: (h, w, 3) uint8, the crop.
        degraded: (h, w, 3) uint8.
        severity: (K, h, w) float32 in [0, 1], one band per component in the record's order.
        labels: ``<component>/<map>`` -> (h, w) or (h, w, 3) float32, and ``inverse_depth`` and ``light`` where used.
    """

    clean: ImageU8
    degraded: ImageU8
    severity: NDArray[np.float32]
    labels: Mapping[str, NDArray[Any]]


@portable()
def render(
    record: Record,
    clean: Image,
    *,
    inverse_depth: Map | None = None,
    light: Map | None = None,
    labels: bool = False,
    fields: Mapping[str, Map] | None = None,
) -> Rendered:
    """Render ``record`` from its clean image.

    Args:
        record: what ``draw`` returned, or its JSON came back as.
        clean: the whole clean image: (H, W, 3) RGB or (H, W) grey; uint16 and float [0, 1] are quantised to uint8.
        inverse_depth: the scene's own, (H, W) in [0, 1], near = 1 (see ``scene.as_inverse_depth``);
            None: procedural, from the record's numbers.
        light: the scene's own illumination, (H, W) in [0, 1]; None: made from the clean image.
        labels: whether to keep the maps of every component.
        fields: the caller's maps for nodes whose field is an ``array``, by label, (h, w) of the crop.

    Raises:
        RecordError: a record of another engine, of a family that is missing, without its depth map, light map or field,
            or with another map than it was drawn for.
        ImageError: an image that is none, or too small for the record's crop.
    """
    check_version(record)
    whole = as_rgb8(clean)
    window, tile = _crop(record, whole)
    own_depth = _own(inverse_depth, "depth map", record.scene.depth_sha256, window, tile)
    own_light = _own(light, "light map", record.scene.light_sha256, window, tile)
    return _rendered(record, tile, window, (own_depth, own_light), {} if labels else None, fields)


@dataclass(frozen=True)
class Tile:
    """The part of a clean image that a record's crop takes, and where it lies.

    Attributes:
        pixels: (h, w, 3) uint8.
        top, left: its place in the clean image, in pixels.
        height, width: of the clean image.
        inverse_depth: (h, w) float32 in [0, 1], near = 1, the same part of the image's own map; None: it has none.
    """

    pixels: ImageU8
    top: int
    left: int
    height: int
    width: int
    inverse_depth: Map | None = None


@portable()
def render_tile(record: Record, tile: Tile) -> Rendered:
    """The same as `render` from the clean image that ``tile`` was cut from, without the rest of that image.

    Raises:
        RecordError: as `render`; or a record that was drawn for a depth or light map with a digest of its own, which
            is that of the whole map.
        ImageError: a depth map of another size than the pixels.
    """
    check_version(record)
    for what, digest in (("depth map", record.scene.depth_sha256), ("light map", record.scene.light_sha256)):
        if digest is not None:
            raise _missing(what)
    window = CropWindow(top=tile.top, left=tile.left, height=tile.height, width=tile.width)
    depth = tile.inverse_depth
    if depth is not None and depth.shape != tile.pixels.shape[:2]:
        raise ImageError(
            f"a tile of {tile.pixels.shape[:2]} pixels has a depth map of shape {depth.shape}",
            expected="the same part of the image's own map",
            remedy="cut both alike",
        )
    return _rendered(record, tile.pixels, window, (None if depth is None else lambda: depth, None))


def _rendered(
    record: Record,
    tile: ImageU8,
    window: CropWindow,
    own: tuple[Callable[[], Map] | None, Callable[[], Map] | None],
    labels: dict[str, NDArray[Any]] | None = None,
    fields: Mapping[str, Map] | None = None,
) -> Rendered:
    """``own``: the tile's depth and light, where the user has maps of them."""
    _keep_freed_memory()
    bright = cache(lambda: brightest(tile))
    small = cache(lambda: shrunk(tile, bright))
    scene = Scene(
        own[0] or _procedural(record, window, tile, small),
        own[1] or (lambda: light_map(tile, bright, small(), record.scene.light_radius_px)),
    )
    chain = _Chain(record, scene, dict(fields or {}), labels)
    degraded = chain.run(tile)
    maps = {**chain.labels, **scene.used()} if chain.labels is not None else {}
    return Rendered(tile, degraded, chain.severity, maps)


@cache
def _keep_freed_memory() -> None:
    """Have the C library keep what one image frees for the next one; a third of the time went into page faults.

    glibc returns freed memory to the kernel until it has seen one large block come and go, up to 32 MiB; from then on
    it keeps twice that. The block is never touched and costs nothing; other C libraries do not mind.
    """
    np.empty(31 << 20, np.uint8)


class _Chain:
    """The image on its way through the nodes, and what they leave behind."""

    def __init__(
        self, record: Record, scene: Scene, fields: dict[str, Map], labels: dict[str, NDArray[Any]] | None
    ) -> None:
        self.record, self.scene, self.fields, self.labels = record, scene, fields, labels
        self.strength: dict[int, Map | None] = {}

    def run(self, tile: ImageU8) -> ImageU8:
        families = [_family(node) for node in self.record.nodes]
        self.canvas, self.shape = Canvas(tile), tile.shape[:2]
        self.severity = np.empty((len(self.record.nodes), *self.shape), np.float32)
        parts = [parts_of(self.record.order, *family) for family in families]
        seen = set()
        for node, part in steps(self.record.order, parts):
            self._apply(node, families[node][0], parts[node][part][1], first=node not in seen)
            seen.add(node)
        return self.canvas.quantised()

    def _apply(self, index: int, family: Degradation[Any, Any], params: Params, first: bool) -> None:
        context, field = self._context(index), self.record.nodes[index].field
        if field is not None and field.parameter is not None:
            self._keep(index, apply_driven(family, self.canvas.planes(), params, context, field.parameter), first)
        elif self.labels is not None or not self.canvas.takes(
            family, params, context, self.severity[index], again=not first
        ):
            self._keep(index, family.apply(self.canvas.planes(), params, context), first)

    def _context(self, index: int) -> Context:
        node = self.record.nodes[index]
        if index not in self.strength:
            self.strength[index] = (
                None
                if node.field is None
                else field_map(
                    node.field,
                    self.shape,
                    lambda: self.scene.inverse_depth,
                    self.fields.get(node.label),
                )
            )
        return Context(self.scene, node.stream, self.strength[index])

    def _keep(self, index: int, applied: Applied, first: bool) -> None:
        self.canvas.replace(applied.image)
        np.maximum(0 if first else self.severity[index], applied.severity, out=self.severity[index])
        if self.labels is not None:
            label = self.record.nodes[index].label
            self.labels |= {f"{label}/{name}": values for name, values in applied.labels.items()}


def _family(node: NodeRecord) -> tuple[Degradation[Any, Any], Params]:
    try:
        kind = FAMILIES[node.family]
        return kind(kind.Ranges()), kind.Params.model_validate(node.params)
    except ConfigError as error:
        raise RecordError(
            f"node {node.label!r}: {error.what}", expected=error.expected, remedy="install or import what drew it"
        ) from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise RecordError(
            f"node {node.label!r}: {'.'.join(map(str, first['loc']))}: {first['msg'].lower()}",
            expected=f"the parameters that this version of {node.family!r} draws",
            remedy="run synthesize again",
        ) from None


def _crop(record: Record, whole: ImageU8) -> tuple[CropWindow, ImageU8]:
    height, width = whole.shape[:2]
    top, left, rows, columns = record.crop or (0, 0, height, width)
    if top < 0 or left < 0 or rows < 1 or columns < 1 or top + rows > height or left + columns > width:
        raise ImageError(
            f"sample {record.sample_id} crops {[top, left, rows, columns]} of an image of {height} x {width}",
            expected="a crop inside the image",
            remedy="pass the whole clean image that the record was drawn for",
        )
    window = CropWindow(top=top, left=left, height=height, width=width)
    return window, np.ascontiguousarray(whole[top : top + rows, left : left + columns])


def _own(
    given: Map | None, what: str, drawn_for: str | None, window: CropWindow, tile: ImageU8
) -> Callable[[], Map] | None:
    """A user's map of the whole frame, cut to the tile."""
    if given is None:
        if drawn_for is not None:
            raise _missing(what)
        return None
    values = own_map(given, what, drawn_for)
    frame = resized(values, (window.height, window.width))
    rows, columns = tile.shape[:2]
    crop = np.ascontiguousarray(frame[window.top : window.top + rows, window.left : window.left + columns])
    return lambda: crop


def _missing(what: str) -> RecordError:
    argument = "inverse_depth" if "depth" in what else "light"
    return RecordError(
        f"the sample was drawn for the image's own {what}, and none was given",
        expected=argument,
        remedy=f"pass render(..., {argument}=...)",
    )


def _procedural(record: Record, window: CropWindow, tile: ImageU8, small: Callable[[], Map]) -> Callable[[], Map]:
    if record.scene.depth_given:
        raise _missing("depth map")
    return lambda: procedural_depth(record.scene, small(), tile.shape[:2], window)
