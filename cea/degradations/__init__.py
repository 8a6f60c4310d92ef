"""Degradations of photographs: ``from cea.degradations import degrade``. Nothing is imported before it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cea.degradations.tools.albumentations import Degrade
    from cea.degradations.tools.images import degrade

CHANGES_NO_RESULT = True

__all__ = ["Degrade", "degrade"]


def __getattr__(name: str) -> Any:
    import importlib

    match name:
        case "degrade":
            return importlib.import_module("cea.degradations.tools.images").degrade
        case "Degrade":
            return importlib.import_module("cea.degradations.tools.albumentations").Degrade
    raise AttributeError(f"module 'cea.degradations' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
