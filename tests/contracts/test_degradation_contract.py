"""Every registered family, found through the registry, against the contract that ships with the package."""

from __future__ import annotations

from cea.degradations.contract.registry import FAMILIES
from cea.testing.degradations import DegradationContract

for _name in FAMILIES:
    _title = f"Test_{_name}"
    globals()[_title] = type(_title, (DegradationContract,), {"family": _name, "__module__": __name__})
