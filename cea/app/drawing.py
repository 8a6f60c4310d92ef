"""Degrading a clean photograph as the page asks for it: a recipe, severities set by hand, a field drawn by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from cea.degradations.contract.registry import FAMILIES
from cea.degradations.engine.draw import draw
from cea.degradations.engine.fields import Array
from cea.degradations.engine.recipes import RecipeConfig, members, plan
from cea.degradations.engine.records import NodeRecord, Record
from cea.degradations.engine.shipped import find, settings
from cea.degradations.tools.replay import Replay
from cea.errors import ConfigError
from cea.io.images import pixel_sha256
from cea.levels import unit_float
from cea.rng import SampleKey
from cea.types import ImageU8, Map

Unevenness = Literal["even", "random", "drawn"]

Find = Callable[[str], tuple[str, RecipeConfig]]
"""A recipe by name: the name under which it is recorded, and its settings."""


@dataclass(frozen=True)
class Wish:
    """What a visitor set.

    Attributes:
        recipe: its name.
        seed: of all draws.
        unevenness: the same strength everywhere, fields at random, or the one drawn by hand.
        severities: in [0, 1] by label, instead of the drawn numbers.
        field: (h, w) uint8, 255 is full strength; where ``unevenness`` is ``drawn``.
        driven: the label that it drives; None: all.
    """

    recipe: str
    seed: int = 0
    unevenness: Unevenness = "even"
    severities: Mapping[str, float] = field(default_factory=dict)
    field: ImageU8 | None = None
    driven: str | None = None


def recipe_names() -> list[str]:
    """The shipped recipes, in their order."""
    return list(settings())


def labels_of(recipe: RecipeConfig) -> list[str]:
    """All that a recipe may draw, by label."""
    return [node.label for node in members(plan(recipe))]


def drawn(clean: ImageU8, name: str, wish: Wish, find: Find = find) -> Replay:
    """Every number of the sample that ``wish`` describes, a pure function of its arguments.

    Without severities and a drawn field it is the record of ``cea degrade --recipe ... --seed ...`` (``--uneven``).

    Args:
        clean: (H, W, 3) uint8.
        name: of the photograph.
        wish: what to draw.
        find: where recipes come from; default: the shipped ones.

    Raises:
        ConfigError: an unknown recipe, no field where one is to be drawn, or nothing that it drives.
    """
    recorded_as, recipe = find(wish.recipe)
    record = draw(
        recorded_as,
        recipe,
        SampleKey(wish.seed, pixel_sha256(clean), recorded_as, 0),
        clean_id=name,
        split="test",
        crop=None,
        nonuniform=wish.unevenness == "random",
        clean=lambda: clean,
    )
    record = record.model_copy(update={"nodes": tuple(_by_hand(node, wish.severities) for node in record.nodes)})
    if wish.unevenness != "drawn":
        return Replay(record)
    if wish.field is None:
        raise ConfigError("no field was drawn", expected="strokes over the picture", remedy="paint some, or say 'Even'")
    return _driven(record, unit_float(wish.field), wish.driven)


def _by_hand(node: NodeRecord, severities: Mapping[str, float]) -> NodeRecord:
    if node.label not in severities:
        return node
    kind = FAMILIES[node.family]
    params = kind(kind.Ranges()).at(severities[node.label])
    return node.model_copy(update={"params": params.model_dump(mode="json")})


def _driven(record: Record, values: Map, label: str | None) -> Replay:
    chosen = [node.label for node in record.nodes if label in (None, node.label)]
    if not chosen:
        raise ConfigError(
            f"this seed draws no {label}",
            expected=f"one of {', '.join(node.label for node in record.nodes)}",
            remedy="let the field act on all, or take another seed",
        )
    spec = Array(sha256=pixel_sha256(values))
    nodes = tuple(node.model_copy(update={"field": spec}) if node.label in chosen else node for node in record.nodes)
    return Replay(record.model_copy(update={"nodes": nodes, "uniform": False}), dict.fromkeys(chosen, values))
