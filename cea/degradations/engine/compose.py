"""Which nodes of a recipe take part in a sample, what drives them, and in which order they act."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cea.degradations.contract import cdd11
from cea.degradations.contract.base import STAGES, Degradation, Params, Stage
from cea.degradations.engine.fields import FieldSpec, ImageFile, draw_field
from cea.degradations.engine.recipes import Group, Node, NodeOrder, RecipeConfig, plan
from cea.io.images import pixel_sha256, read_rgb
from cea.rng import SampleKey


def choose(recipe: RecipeConfig, key: SampleKey) -> list[Node]:
    """The nodes that take part in the sample of ``key``, at least one, in the order in which they are recorded."""
    entries = plan(recipe)
    attempt = 0
    while not (chosen := [node for entry in entries for node in _chosen(entry, key, attempt)]):
        attempt += 1
    if recipe.order == "cdd11":
        return sorted(chosen, key=lambda node: cdd11.ORDER.index(node.family))
    if recipe.order == "physical":
        return sorted(chosen, key=lambda node: STAGES.index(node.degradation.stage))
    return chosen


def _chosen(entry: Node | Group, key: SampleKey, attempt: int) -> list[Node]:
    rng = key.generator("present", entry.label, attempt)
    if rng.random() >= entry.probability:
        return []
    if isinstance(entry, Node):
        return [entry]
    count = int(rng.integers(entry.least, entry.most + 1))
    weights = np.array([node.weight * node.probability for node in entry.members])
    picked = rng.choice(len(weights), size=count, replace=False, p=weights / weights.sum())
    return [entry.members[index] for index in sorted(picked)]


def assign_fields(nodes: list[Node], key: SampleKey) -> dict[str, FieldSpec]:
    """A field for each of a random non-empty subset of ``nodes``, by label; empty where none may be driven."""
    candidates = [node for node in nodes if node.kinds]
    if not candidates:
        return {}
    subset = int(key.generator("driven").integers(1, 1 << len(candidates)))
    return {node.label: _field(node, key) for bit, node in enumerate(candidates) if subset >> bit & 1}


def _field(node: Node, key: SampleKey) -> FieldSpec:
    rng = key.generator("field", node.label)
    kind = node.kinds[int(rng.integers(len(node.kinds)))]
    spec = draw_field(kind, rng, node.field_settings)
    if isinstance(spec, ImageFile) and spec.sha256 is None:
        return spec.model_copy(update={"sha256": pixel_sha256(read_rgb(Path(spec.path)))})
    return spec


def parts_of(order: NodeOrder, family: Degradation[Any, Any], params: Params) -> tuple[tuple[Stage, Params], ...]:
    """Split a family by stage; only the ``physical`` order takes families apart."""
    if order == "physical":
        return family.parts(params)
    return ((family.stage, params),)


def steps(order: NodeOrder, parts: Sequence[tuple[tuple[Stage, Params], ...]]) -> list[tuple[int, int]]:
    """In which order to act: (node, part) pairs; in the physical order parts go to their own stages.

    Args:
        order: the record's order.
        parts: per node, in the record's order, what ``parts_of`` says.
    """
    pairs = [(node, part) for node, split in enumerate(parts) for part in range(len(split))]
    if order == "physical":
        return sorted(pairs, key=lambda pair: STAGES.index(parts[pair[0]][pair[1]][0]))
    return pairs
