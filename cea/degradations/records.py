"""Records: every number that makes one degraded sample, drawn before any pixel is touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import Field

from cea.config import Config
from cea.degradations.compose import choose, drive
from cea.degradations.fields import FieldSpec
from cea.degradations.recipes import Node, Order, RecipeConfig
from cea.degradations.scene import SceneParams, draw_scene, map_sha256
from cea.errors import RecordError
from cea.rng import SampleKey
from cea.types import Image, Map, Split

ENGINE_VERSION = "1.1"
"""Of what a record means in pixels. The first number rises when the same record would give other pixels, the second
when records say more than before (1.1: the digests of the maps that a sample was drawn for)."""


class NodeRecord(Config):
    """One degradation of a sample."""

    label: str
    """Its name in the recipe; the component's name."""
    family: str
    """Registered name or ``module:Class``."""
    params: dict[str, Any]
    """The drawn numbers, as the family's ``Params`` hold them."""
    field: FieldSpec | None
    """What drives its strength over the image; None: the same everywhere."""
    stream: int = Field(ge=0, lt=1 << 64)
    """Seed of its own pixels: noise, streaks, flakes."""


class Record(Config):
    """One sample. With the clean pixels alone it renders, bit for bit; JSON keeps it exactly."""

    sample_id: str = Field(pattern=r"^[^./]+$")
    """``<clean_id>-<recipe>-<variant>``; no dots, because tar members are named by it."""
    clean_id: str
    """The clean image."""
    clean_sha256: str
    """Digest of its decoded pixels (see ``imageio.pixel_sha256``)."""
    root_seed: int
    """The experiment's seed."""
    recipe: str
    """The recipe's name."""
    variant: int = Field(ge=0)
    """Which of the samples drawn from this image and recipe."""
    split: Split
    """Which side of the experiment it belongs to."""
    crop: tuple[int, int, int, int] | None
    """[top, left, height, width] in clean pixels; None: the whole image."""
    uniform: bool
    """Whether every strength is the same all over the image."""
    engine_version: str = Field(pattern=r"^\d+\.\d+$")
    """Of the engine that drew it."""
    order: Order
    """In which order the nodes act."""
    scene: SceneParams
    """Numbers of the procedural depth and light maps."""
    nodes: tuple[NodeRecord, ...]
    """The degradations, one per component."""


def draw(  # what a sample is, by name
    recipe_name: str,
    recipe: RecipeConfig,
    key: SampleKey,
    *,
    clean_id: str,
    split: Split,
    crop: tuple[int, int, int, int] | None,
    nonuniform: bool,
    depth_given: bool = False,
    inverse_depth: Map | None = None,
    light: Map | None = None,
    clean: Callable[[], Image] | None = None,
) -> Record:
    """Draw one sample; a pure function of its arguments.

    Args:
        recipe_name: its name in params.yaml.
        recipe: what to draw.
        key: the sample's identity; every stream is spawned from it.
        clean_id: name of the clean image.
        split: which side of the experiment it belongs to.
        crop: [top, left, height, width] in clean pixels, or None.
        nonuniform: whether smooth fields drive one or more of the nodes.
        depth_given: whether it will be rendered with the image's own depth map; rendering then insists on one.
        inverse_depth: that map, as ``render`` will get it, if it is at hand: rendering then insists on this very one.
        light: the image's own illumination, likewise.
        clean: gives the clean pixels; called only for a recipe that bounds the input PSNR, whose draws are rendered
            (with procedural depth) and drawn again until they lie within.

    Raises:
        ConfigError: the recipe bounds the input PSNR, and ``clean`` is missing or no draw was within.
    """

    maps = {
        "depth_given": depth_given or inverse_depth is not None,
        "depth_sha256": None if inverse_depth is None else map_sha256(inverse_depth),
        "light_sha256": None if light is None else map_sha256(light),
    }

    def attempt(identity: SampleKey) -> Record:
        return _draw_once(recipe_name, recipe, identity, (clean_id, split, crop), nonuniform, maps)

    if recipe.input_psnr is None:
        return attempt(key)
    from cea.degradations.bounds import within_bounds  # renders, and rendering needs this module

    return within_bounds(attempt, key, recipe.input_psnr, clean)


def _draw_once(
    recipe_name: str,
    recipe: RecipeConfig,
    key: SampleKey,
    image: tuple[str, Split, tuple[int, int, int, int] | None],
    nonuniform: bool,
    maps: dict[str, Any],
) -> Record:
    clean_id, split, crop = image
    nodes = choose(recipe, key)
    fields = drive(nodes, key) if nonuniform else {}
    return Record(
        sample_id=f"{clean_id}-{recipe_name}-{key.variant:04d}",
        clean_id=clean_id,
        clean_sha256=key.clean_sha256,
        root_seed=key.root_seed,
        recipe=recipe_name,
        variant=key.variant,
        split=split,
        crop=crop,
        uniform=not fields,
        engine_version=ENGINE_VERSION,
        order=recipe.order,
        scene=draw_scene(key.generator("scene")).model_copy(update=maps),
        nodes=tuple(_draw_node(node, fields.get(node.label), key) for node in nodes),
    )


def _draw_node(node: Node, field: FieldSpec | None, key: SampleKey) -> NodeRecord:
    params = node.degradation.sample(key.generator("params", node.label))
    return NodeRecord(
        label=node.label,
        family=node.family,
        params=params.model_dump(mode="json"),
        field=field,
        stream=key.stream("pixels", node.label),
    )


def check_version(record: Record) -> None:
    """Refuse a record whose pixels this engine would not reproduce.

    Raises:
        RecordError: drawn by a newer engine, or by one whose pixels were others.
    """
    theirs, ours = (tuple(map(int, version.split("."))) for version in (record.engine_version, ENGINE_VERSION))
    if theirs > ours:
        raise RecordError(
            f"sample {record.sample_id} was drawn by engine {record.engine_version}, newer than this one",
            expected=f"a record of engine {ENGINE_VERSION} or older",
            remedy="upgrade the package (pip install --upgrade cea), or draw the records again",
        )
    if theirs[0] != ours[0]:
        raise RecordError(
            f"sample {record.sample_id} was drawn by engine {record.engine_version}, whose pixels were others",
            expected=f"a record of engine {ours[0]}.x",
            remedy="draw the records again, or install the version of the package that drew them",
        )
