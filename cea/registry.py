"""Components by name: registered in code, found by entry point, or given as ``module:Name``."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from cea.errors import ConfigError

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """A read-only mapping from names to components.

    Args:
        kind: what the components are called in messages, e.g. ``"degradation"``.
        builtin: name -> ``"module:Name"``, imported only when asked for.
        group: entry-point group through which other packages add components.
    """

    def __init__(self, kind: str, *, builtin: Mapping[str, str] | None = None, group: str | None = None) -> None:
        self.kind = kind
        self._group = group
        self._lazy: dict[str, str] = dict(builtin or {})
        self._loaded: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that adds a component under ``name``; a taken name raises ConfigError."""

        def add(component: T) -> T:
            taken = self._loaded.get(name)
            lazy = self._lazy.get(name)
            if taken is not None or (lazy is not None and lazy != _target_of(component)):
                raise ConfigError(
                    f"{self.kind} {name!r} is registered twice ({taken or lazy} and {component})",
                    expected="one component per name",
                    remedy="choose another name",
                )
            self._loaded[name] = component
            return component

        return add

    def __getitem__(self, name: str) -> T:
        if ":" in name:  # an address, not a name: it does not become one of the registered components
            return self._load(name)
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self._loaded or name in self._lazy or name in self._entry_points()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._loaded, *self._lazy, *self._entry_points()}))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def target(self, name: str) -> str:
        """The ``module:Name`` behind ``name``, without importing it where that can be avoided."""
        if name in self._lazy:
            return self._lazy[name]
        if ":" in name:
            return name
        return _target_of(self[name])

    def _load(self, name: str) -> T:
        if name in self._lazy:
            return _import(self._lazy[name], self.kind)
        found = self._entry_points().get(name)
        if found is not None:
            return found.load()
        if ":" in name:
            return _import(name, self.kind)
        near = difflib.get_close_matches(name, list(self), n=1)
        raise ConfigError(
            f"unknown {self.kind} {name!r}",
            expected=f"one of {', '.join(self)}, or module:Name",
            remedy=f"did you mean {near[0]!r}?" if near else "check the spelling or register it",
        )

    def _entry_points(self) -> dict[str, Any]:
        if self._group is None:
            return {}
        return {point.name: point for point in entry_points(group=self._group)}


def _target_of(component: object) -> str:
    return f"{getattr(component, '__module__', '?')}:{getattr(component, '__qualname__', component)}"


def _import(target: str, kind: str) -> Any:
    module, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"{kind} {target!r} cannot be imported ({error})",
            expected="module:Name that Python can import from here",
            remedy="check the module's name and that it is on the path",
        ) from error
