"""Components by name: registered in code, found by entry point, or given as ``module:Name``."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

from cea.errors import ConfigError

T = TypeVar("T")

PLUGINS = "plugins"
"""Folder of the current project whose modules are looked through for components, beside params.yaml."""


class Registry(Mapping[str, T], Generic[T]):
    """A read-only mapping from names to components.

    Args:
        kind: what the components are called in messages, e.g. ``"degradation"``.
        builtin: name -> ``"module:Name"``, imported only when asked for.
        group: entry-point group through which other packages add components.
        plugin: tells the name under which an object in a module of ``plugins/`` is a component of this kind, or None;
            without it that folder is not looked at.
    """

    def __init__(
        self,
        kind: str,
        *,
        builtin: Mapping[str, str] | None = None,
        group: str | None = None,
        plugin: Callable[[object], str | None] | None = None,
    ) -> None:
        self.kind = kind
        self._group = group
        self._plugin = plugin
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
        return any(name in known for known in (self._loaded, self._lazy, self._entry_points(), self._plugins()))

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._loaded, *self._lazy, *self._entry_points(), *self._plugins()}))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def target(self, name: str) -> str:
        """The ``module:Name`` behind ``name``, without importing it where that can be avoided."""
        if name in self._lazy:
            return self._lazy[name]
        if ":" in name:
            return name
        if name not in self._loaded and name in (plugins := self._plugins()):
            return plugins[name]
        return _target_of(self[name])

    def check_plugins(self) -> None:
        """Refuse a plug-in that cannot be imported, or whose name is taken: a built-in would be used in its place.

        Raises:
            ConfigError: naming the file in ``plugins/``.
        """
        self._plugins()

    def _load(self, name: str) -> T:
        if name in self._lazy:
            return _import(self._lazy[name], self.kind)
        point = self._entry_points().get(name)
        if point is not None:
            return point.load()
        if ":" in name:
            return _import(name, self.kind)
        plugins = self._plugins()
        if name in plugins:
            return _import(plugins[name], self.kind)
        near = difflib.get_close_matches(name, list(self), n=1)
        raise ConfigError(
            f"unknown {self.kind} {name!r}",
            expected=f"one of {', '.join(self)}, or one of your own in {PLUGINS}/",
            remedy=f"did you mean {near[0]!r}?" if near else "check the spelling or register it",
        )

    def _entry_points(self) -> dict[str, Any]:
        if self._group is None:
            return {}
        return {point.name: point for point in entry_points(group=self._group)}

    def _plugins(self) -> dict[str, str]:
        """Name -> ``plugins.module:Name`` of what lies in the current project's folder of plug-ins.

        Raises:
            ConfigError: a file there that cannot be imported, or a name that is taken.
        """
        plugins: dict[str, str] = {}
        if self._plugin is None:
            return plugins
        for file in sorted(Path(PLUGINS).glob("[A-Za-z]*.py")):
            module = f"{PLUGINS}.{file.stem}"
            for attribute, value in vars(_module(module, self.kind)).items():
                name = self._plugin(value) if getattr(value, "__module__", None) == module else None
                if name is None:
                    continue
                if name in plugins or name in self._lazy:
                    raise ConfigError(
                        f"{file} calls a {self.kind} {name!r}, as {plugins.get(name) or self._lazy[name]} does",
                        expected="a name of its own",
                        remedy="choose another name",
                    )
                plugins[name] = f"{module}:{attribute}"
        return plugins


def _target_of(component: object) -> str:
    return f"{getattr(component, '__module__', '?')}:{getattr(component, '__qualname__', component)}"


def _import(target: str, kind: str) -> Any:
    module, _, attribute = target.partition(":")
    try:
        return getattr(_module(module, kind), attribute)
    except AttributeError as error:
        raise _unimportable(kind, target, error) from error


def _module(name: str, kind: str) -> Any:
    try:
        return importlib.import_module(name)
    except Exception as error:  # a plug-in may raise anything
        raise _unimportable(kind, name, error) from error


def _unimportable(kind: str, target: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"{kind} {target!r} cannot be imported ({error})",
        expected="module:Name that Python can import from here",
        remedy="check the module's name and that it is on the path",
    )
