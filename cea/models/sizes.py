"""The sizes a network comes in: one word for a set of numbers.

A preset gives values to keys of ``ModelConfig`` that are not given themselves. Budgets, adapters included, at an
input of 3 x 224 x 224: ``small`` 10 M parameters and 25 GMACs, ``base`` 25.4 M and 73.6 GMACs, the size of MoCE-IR
(Zamfir et al., CVPR 2025); ``tiny`` is for a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

Size = Literal["tiny", "small", "base"]

BUDGETS: Mapping[str, tuple[float, float]] = MappingProxyType({"small": (10e6, 25e9), "base": (25.4e6, 73.6e9)})
"""Most parameters and most multiply-accumulates at 3 x 224 x 224."""

_PRESETS: Mapping[tuple[str, str], Mapping[str, Any]] = {
    # tiny: the defaults of ModelConfig
    ("small", "nafnet"): {
        "width": 64,
        "encoder_blocks": (2, 4, 4),
        "middle_blocks": 2,
        "decoder_blocks": (2, 4, 2),
    },
    ("base", "nafnet"): {
        "width": 96,
        "encoder_blocks": (4, 7, 5),
        "middle_blocks": 2,
        "decoder_blocks": (4, 7, 4),
    },
    ("small", "restormer"): {
        "width": 48,
        "encoder_blocks": (4, 4, 4),
        "middle_blocks": 2,
        "decoder_blocks": (4, 4, 4),
        "expansion": 2.66,
    },
    ("base", "restormer"): {
        "stem": 1,
        "width": 48,
        "encoder_blocks": (4, 6, 6),
        "middle_blocks": 8,
        "decoder_blocks": (4, 6, 6),
        "expansion": 2.66,
    },
}


def preset(size: object, block: object) -> Mapping[str, Any]:
    """The numbers of a size made of this block; those of ``nafnet`` for blocks of other packages.

    Empty where ``size`` is unknown (the validation of the key itself says so) and for ``tiny``.
    """
    own = block if block in ("nafnet", "restormer") else "nafnet"
    return _PRESETS.get((str(size), str(own)), {})
