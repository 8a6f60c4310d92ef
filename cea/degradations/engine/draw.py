"""Drawing a sample: every number of its record, before any pixel is touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cea.degradations.engine.bounds import within_bounds
from cea.degradations.engine.compose import assign_fields, choose
from cea.degradations.engine.fields import FieldSpec
from cea.degradations.engine.recipes import Node, RecipeConfig
from cea.degradations.engine.records import ENGINE_VERSION, NodeRecord, Record
from cea.degradations.engine.scene import draw_scene, map_sha256
from cea.rng import SampleKey
from cea.types import Image, Map, Split


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
    fields = assign_fields(nodes, key) if nonuniform else {}
    return Record(
        sample_id=f"{clean_id}-{recipe_name}-{key.variant:04d}",
        clean_id=clean_id,
        clean_sha256=key.clean_sha256,
        root_seed=key.root_seed,
        recipe=recipe_name,
        variant=key.variant,
        split=split,
        crop=crop,
        uniform=not fields and not any(node.degradation.local for node in nodes),
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
