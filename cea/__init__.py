"""All-in-one image restoration: ``from cea import Restorer``. Nothing is imported before it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cea.data.on_the_fly import OnTheFly
    from cea.restoring.restorer import Restorer

CHANGES_NO_RESULT = True

__all__ = ["OnTheFly", "Restorer", "__version__"]


def __getattr__(name: str) -> Any:
    import importlib
    from importlib.metadata import version

    match name:
        case "__version__":
            return version("cea")
        case "Restorer":
            return importlib.import_module("cea.restoring.restorer").Restorer
        case "OnTheFly":
            return importlib.import_module("cea.data.on_the_fly").OnTheFly
    raise AttributeError(f"module 'cea' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
