"""Recipes as params.yaml writes them: which degradations, from which ranges, in which order::

    low_haze:
      order: cdd11
      nodes:
        low: {gamma: [2, 3], sigma: [0.03, 0.08]}
        haze: {beta: [1, 2], airlight: [0.6, 0.9]}

A node's label is its family unless ``family`` says otherwise. A node that holds ``one_of`` or ``k_of_n`` is a group.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from pydantic import Field, ValidationError, model_validator

from cea.config import Config, parse, section, unknown_key
from cea.degradations.contract import cdd11
from cea.degradations.contract.base import Degradation
from cea.degradations.contract.ranges import Within
from cea.degradations.contract.registry import FAMILIES
from cea.degradations.engine.driven import drivable
from cea.degradations.engine.fields import DRAWN, KINDS, draw_field
from cea.errors import ConfigError

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
"""What may be part of a file name, of a stage's and of a metric's."""

_YAML_WORDS = ("null", "true", "false", "yes", "no", "on", "off")

NodeOrder: TypeAlias = Literal["physical", "cdd11", "listed"]


class NodeSettings(Config):
    """The keys of a node that are not its family's."""

    family: str | None = None
    """Registered name or ``module:Class``; default: the node's label."""
    probability: float = Field(default=1.0, gt=0, le=1)
    """How often the node takes part."""
    weight: float = Field(default=1.0, gt=0)
    """Relative chance within a group."""
    field: str | list[str] | dict[str, Any] | None = None
    """What may drive its strength in uneven samples: kinds, one kind with settings, or ``none``; default: any."""


class GroupSettings(Config):
    """A choice among nodes."""

    one_of: dict[str, Any] | None = None
    """Nodes of which exactly one takes part."""
    k_of_n: dict[str, Any] | None = None
    """Nodes of which ``k`` take part."""
    k: Annotated[tuple[float, float], Within(0, 64)] = (1.0, 1.0)
    """How many of ``k_of_n``: a number or [least, most]."""
    probability: float = Field(default=1.0, gt=0, le=1)
    """How often the group takes part."""


@dataclass(frozen=True)
class Node:
    """A validated node: a family with its ranges, and how it takes part."""

    label: str
    family: str
    degradation: Degradation[Any, Any]
    probability: float
    weight: float
    kinds: tuple[str, ...]
    field_settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """``least`` to ``most`` of ``members`` take part."""

    label: str
    members: tuple[Node, ...]
    least: int
    most: int
    probability: float


class RecipeConfig(Config):
    """One recipe. Validated to the last key, the ranges of its families included."""

    order: NodeOrder = "physical"
    """``physical``: scene, weather, optics, sensor, codec; ``cdd11``: low, rain, snow, haze, noise with the darkening;
    ``listed``: as written."""
    nodes: dict[str, Any] = Field(min_length=1)
    """Label -> settings of a degradation, or of a group of them."""
    input_psnr: Annotated[tuple[float, float], Within(0, 100)] | None = None
    """Bounds in dB on the degraded image against the clean one; draws outside them are drawn again."""
    training: bool = True
    """Whether the network is trained and validated on it; ``false`` draws test samples only: an unseen composition."""

    @model_validator(mode="after")
    def _valid(self) -> RecipeConfig:
        entries = plan(self)
        labels = [node.label for node in members(entries)]
        for label in labels:
            if labels.count(label) > 1:
                raise ConfigError(
                    f"nodes.{label} occurs {labels.count(label)} times",
                    expected="a label of its own per node",
                    remedy="rename one and say family: ...",
                )
        return self


def read_recipes(params: Mapping[str, Any]) -> dict[str, RecipeConfig]:
    """All recipes of params.yaml, validated, in its order.

    Raises:
        ConfigError: a name that cannot be part of a file name and of a metric's, or a recipe that is not valid.
    """
    recipes = section(params, "recipes")
    if not isinstance(recipes, Mapping) or not recipes:
        raise ConfigError(
            f"recipes = {recipes!r}",
            expected="at least one recipe by its name, with its nodes below it",
            remedy="for example: noise: {nodes: {noise: {}}}",
        )
    for name in recipes:
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name.lower() in _YAML_WORDS:
            raise ConfigError(
                f"recipes: {name!r} is no name for a recipe",
                expected="a letter, then up to 63 letters, digits, underscores; no word of YAML such as null or true",
                remedy="rename it, for example low_haze",
            )
    return {name: parse(RecipeConfig, recipe, f"recipes.{name}") for name, recipe in recipes.items()}


def training_flags(params: Mapping[str, Any]) -> dict[str, bool]:
    """Name -> whether it is trained on, of all recipes of params.yaml, without importing what they use."""
    return {name: bool((recipe or {}).get("training", True)) for name, recipe in section(params, "recipes").items()}


def plan(recipe: RecipeConfig) -> tuple[Node | Group, ...]:
    """The nodes and groups of ``recipe`` as written, with their families imported.

    Raises:
        ConfigError: an unknown family or key, a value out of range, a family that the order has no place for.
    """
    entries = tuple(_entry(f"nodes.{label}", label, settings) for label, settings in recipe.nodes.items())
    if recipe.order == "cdd11":
        for node in members(entries):
            if node.family not in cdd11.ORDER:
                raise ConfigError(
                    f"nodes.{node.label} is {node.family!r}, which has no place in the order 'cdd11'",
                    expected=f"one of {', '.join(cdd11.ORDER)}",
                    remedy="say order: physical or order: listed",
                )
    return entries


def members(entries: tuple[Node | Group, ...]) -> list[Node]:
    """All nodes, those inside groups included."""
    return [node for entry in entries for node in (entry.members if isinstance(entry, Group) else (entry,))]


def modules_of(recipe: RecipeConfig) -> list[str]:
    """The modules that hold the recipe's families, sorted: what its stage depends on."""
    return sorted({FAMILIES.target(node.family).partition(":")[0] for node in members(plan(recipe))})


def _entry(where: str, label: str, settings: object) -> Node | Group:
    values = _mapping(where, settings)
    if "one_of" in values or "k_of_n" in values:
        return _group(where, label, parse(GroupSettings, values, where))
    return _node(where, label, values)


def _group(where: str, label: str, settings: GroupSettings) -> Group:
    if (settings.one_of is None) == (settings.k_of_n is None):
        raise ConfigError(f"{where} has both one_of and k_of_n", expected="one of them", remedy="make two groups")
    key = "one_of" if settings.one_of is not None else "k_of_n"
    inner = settings.one_of or settings.k_of_n or {}
    nodes = tuple(_node(f"{where}.{key}.{name}", name, _mapping(where, value)) for name, value in inner.items())
    least, most = (1, 1) if key == "one_of" else (round(settings.k[0]), round(settings.k[1]))
    if not nodes or most > len(nodes):
        raise ConfigError(
            f"{where}.{key} has {len(nodes)} nodes", expected=f"at least {max(1, most)}", remedy="add nodes or lower k"
        )
    return Group(label, nodes, least, most, settings.probability)


def _node(where: str, label: str, values: dict[str, Any]) -> Node:
    own = {key: value for key, value in values.items() if key in NodeSettings.model_fields}
    rest = {key: value for key, value in values.items() if key not in own}
    settings = parse(NodeSettings, own, where)
    family = settings.family or label
    kind = _family(where, family)
    for key in rest:
        if key not in kind.Ranges.model_fields:
            raise unknown_key(where, key, (*kind.Ranges.model_fields, *NodeSettings.model_fields))
    kinds, field_settings = _field_choice(f"{where}.field", settings.field)
    parameter = field_settings.get("parameter")
    if parameter is not None and parameter not in drivable(kind.Params):
        raise unknown_key(f"{where}.field.parameter", parameter, tuple(drivable(kind.Params)))
    ranges = parse(kind.Ranges, rest, where)
    return Node(label, family, kind(ranges), settings.probability, settings.weight, kinds, field_settings)


def _family(where: str, family: str) -> type[Degradation[Any, Any]]:
    try:
        return FAMILIES[family]
    except ConfigError as error:
        raise ConfigError(f"{where}: {error.what}", expected=error.expected, remedy=error.remedy) from None


def _field_choice(
    where: str, choice: str | list[str] | dict[str, Any] | None
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The kinds of field a node may get, and fixed settings of the one kind that was written as a mapping."""
    if choice is None:
        return DRAWN, {}
    if choice == "none":
        return (), {}
    settings = {key: value for key, value in choice.items() if key != "kind"} if isinstance(choice, dict) else {}
    named = choice.get("kind") if isinstance(choice, dict) else choice
    kinds = tuple(named) if isinstance(named, list) else (named,)
    for kind in kinds:
        if kind not in KINDS:
            raise unknown_key(where, kind, (*KINDS, "none"))
        _check_field(where, str(kind), settings)
    return kinds, settings


def _check_field(where: str, kind: str, settings: dict[str, Any]) -> None:
    try:
        draw_field(kind, np.random.default_rng(0), settings)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join([where, *(str(part) for part in first["loc"][1:])])
        raise ConfigError(
            f"{path} = {first['input']!r}", expected=first["msg"].lower(), remedy=f"see the field kind {kind!r}"
        ) from None


def _mapping(where: str, settings: object) -> dict[str, Any]:
    if settings is None:
        return {}
    if not isinstance(settings, Mapping):
        raise ConfigError(
            f"{where} = {settings!r}",
            expected="a mapping of settings",
            remedy=f"write {{}} for defaults: {where}: {{}}",
        )
    return dict(settings)
