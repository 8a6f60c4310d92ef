"""The recipes that ship with the package, and finding a recipe by name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from cea.config import parse, unknown_key
from cea.degradations.engine.recipes import RecipeConfig

SHIPPED = Path(__file__).with_name("shipped.yaml")


@cache
def settings() -> Mapping[str, dict[str, Any]]:
    """Settings of every shipped recipe, as params.yaml would hold them, by ``<set>/<recipe>``."""
    sets = YAML(typ="safe", pure=True).load(SHIPPED.read_text(encoding="utf-8"))
    return {f"{group}/{name}": recipe for group, recipes in sets.items() for name, recipe in recipes.items()}


def find(name: str, own: Mapping[str, Any] | None = None) -> tuple[str, RecipeConfig]:
    """A recipe by name: one of the caller's, a shipped one, or the first shipped one whose last part is ``name``.

    Args:
        name: e.g. ``low_haze`` or ``real/web``.
        own: the ``recipes`` section of params.yaml.

    Returns:
        The name under which it is recorded (no slashes), and the recipe.

    Raises:
        ConfigError: unknown name, or settings that are not valid.
    """
    recipes = {**settings(), **(own or {})}
    full = name if name in recipes else next((key for key in settings() if key.split("/")[1] == name), None)
    if full is None:
        raise unknown_key("recipes", name, tuple(recipes))
    return full.replace("/", "_"), parse(RecipeConfig, recipes[full], f"recipes.{full}")
