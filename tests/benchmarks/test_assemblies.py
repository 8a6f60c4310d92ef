"""The variants of CEA that were tried hold the contract of adapters, so that a trial measures what its name says."""

from __future__ import annotations

from benchmarks import assemblies
from cea.models.adapters.base import Adapter
from cea.testing.models import AdapterContract

ADAPTERS = [kind for kind in vars(assemblies).values() if getattr(kind, "__module__", "") == assemblies.__name__]

for _kind in ADAPTERS:
    if issubclass(_kind, Adapter) and not _kind.__name__.startswith("_"):
        _facts = {"name": f"benchmarks.assemblies:{_kind.__name__}", "__module__": __name__}
        globals()[f"Test{_kind.__name__}"] = type(f"Test{_kind.__name__}", (AdapterContract,), _facts)


def test_there_are_some():
    assert "TestHalfRawValues" in globals()
