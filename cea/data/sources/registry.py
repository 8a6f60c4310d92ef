"""The sources of clean images by name."""

from __future__ import annotations

from typing import Any

from cea.data.sources.base import Source
from cea.registry import Registry

SOURCES: Registry[type[Source[Any]]] = Registry(
    "source",
    builtin={
        "bundled": "cea.data.sources.bundled:Bundled",
        "folder": "cea.data.sources.folder:Folder",
        "packages": "cea.data.sources.packages:Packages",
    },
    group="cea.sources",
)
"""Other packages add theirs under the entry-point group ``cea.sources``."""
