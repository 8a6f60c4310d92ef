"""Typed, validated configuration read from params.yaml.

Each component keeps its own config class beside its code (so that a stage depends only on what it uses);
this file holds the shared strictness and the wording of errors.
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, Union

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML

from cea.errors import ConfigError, foreign

SECTIONS = (
    "seed",
    "ingest",
    "synthesize",
    "recipes",
    "shard",
    "model",
    "train",
    "cost",
    "evaluate",
    "report",
    "tracking",
)
"""The top-level keys of params.yaml."""


class Config(BaseModel):
    """Base of every config class: unknown keys and wrong types fail, values do not change later."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


C = TypeVar("C", bound=Config)


def read_params(path: Path = Path("params.yaml")) -> dict[str, Any]:
    """Read a parameter file as YAML 1.2 (the dialect DVC writes; ``1e-3`` is a number).

    Raises:
        ConfigError: missing file, YAML syntax error, or an unknown top-level section.
    """
    if not path.exists():
        raise ConfigError(
            f"{path}: no such file", expected="the pipeline's parameter file", remedy="run from the project's folder"
        )
    with foreign(path, expected="valid YAML", remedy="fix the syntax", kind=ConfigError):
        params = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    if not isinstance(params, dict):
        raise ConfigError(f"{path}: has no sections", expected=", ".join(SECTIONS), remedy="add these sections")
    for key in params:
        if key not in SECTIONS:
            raise unknown_key(str(path), key, SECTIONS)
    return params


def section(params: Mapping[str, Any], key: str) -> Any:
    """The value under a dotted ``key``; ConfigError where it is absent."""
    value: Any = params
    for word in key.split("."):
        if not isinstance(value, Mapping) or word not in value:
            known = list(value) if isinstance(value, Mapping) else []
            near = difflib.get_close_matches(word, known, n=1)
            raise ConfigError(
                f"params.yaml has no {key!r}",
                expected=f"one of {', '.join(map(str, known))}" if known else "that section",
                remedy=f"did you mean {near[0]!r}?" if near else "add it",
            )
        value = value[word]
    return value


def parse(model: type[C], values: object, where: str) -> C:
    """Validate ``values`` (a mapping) as ``model``; ``where`` is its dotted place in params.yaml, or ``cea COMMAND``.

    Raises:
        ConfigError: naming the key, the value, what is allowed, and the nearest valid key.
    """
    try:
        return model.model_validate({} if values is None else values)
    except ValidationError as error:
        raise _explain(model, error, where) from None


def load(model: type[C], params: Mapping[str, Any], key: str) -> C:
    """``parse`` the section of ``params`` under the dotted ``key``."""
    return parse(model, section(params, key), key)


_PLACE = re.compile(r"[\w-]+(\.| =|:| is missing)")
"""How a message begins whose error lies deeper: ``nodes.haze = 3``."""


def _explain(model: type[Config], error: ValidationError, where: str) -> ConfigError:
    first = error.errors(include_url=False)[0]
    path = [str(step) for step in first["loc"]]
    is_option = where.startswith("cea ")
    name = f"--{'-'.join(path).replace('_', '-')}" if is_option and path else ".".join([where, *path])
    change = "correct the option" if is_option else "change it in params.yaml"
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, ConfigError):  # raised by a validator for something deeper, its place relative to here
        joint = "." if _PLACE.match(cause.what) else ": "
        return ConfigError(f"{name}{joint}{cause.what}", expected=cause.expected, remedy=cause.remedy)
    if first["type"] == "extra_forbidden":
        owner = _owner(model, path[:-1])
        return unknown_key(".".join([where, *path[:-1]]), path[-1], tuple(owner.model_fields) if owner else ())
    if first["type"] == "missing":
        return ConfigError(f"{name} is missing", expected="a value", remedy="add it to params.yaml")
    message = first["msg"].removeprefix("Value error, ")
    return ConfigError(f"{name} = {first['input']!r}", expected=message[0].lower() + message[1:], remedy=change)


def unknown_key(where: str, key: object, known: tuple[str, ...]) -> ConfigError:
    """The error for a ``key`` under ``where`` that is none of ``known``, naming the nearest one."""
    near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)
    return ConfigError(
        f"{where}: unknown key {str(key)!r}",
        expected=f"one of {', '.join(known)}" if known else "no further keys",
        remedy=f"did you mean {near[0]!r}?" if near else "remove it",
    )


def _owner(model: type[Config], path: list[str]) -> type[Config] | None:
    """The config class found by walking field names, container keys and indices from ``model``."""
    annotated: Any = model
    for step in path:
        if typing.get_origin(annotated) in (dict, list, tuple):
            annotated = _config_in(annotated)  # the part is a key or an index
        else:
            owner = _config_in(annotated)
            field = owner.model_fields.get(step) if owner else None
            annotated = field.annotation if field else None
    owner = _config_in(annotated)
    return owner if isinstance(owner, type) and issubclass(owner, Config) else None


def _config_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (Union, types.UnionType, list, tuple, dict, typing.Annotated):
        return next((nested for arg in typing.get_args(annotation) if (nested := _config_in(arg))), None)
    return None
