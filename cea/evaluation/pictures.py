"""The folder of pictures that `evaluate` leaves and the report reads.

Layout: ``pictures.json`` (a list of `Picture` as JSON, in display order) and, per picture,
``<sample_id>/{input,restored,clean}.png``, ``severity.png`` (the K bands stacked vertically, uint8) and, for some,
``affinity.npz`` (site -> (r, h, w) float16: the signed coefficients with which CEA mixes its r directions per token).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from cea.errors import DataError

INDEX = "pictures.json"


@dataclass(frozen=True)
class Picture:
    """One entry of ``pictures.json``; scores as in the per-image table."""

    sample_id: str
    recipe: str
    clean_id: str
    components: tuple[str, ...]
    uniform: bool | None
    input_psnr: float
    output_psnr: float
    input_ssim: float
    output_ssim: float
    worst: bool
    """Chosen for its low gain, not as its recipe's typical image."""
    affinity: bool
    """Whether ``affinity.npz`` lies in its folder."""


def read_pictures(folder: Path) -> list[Picture]:
    """The index of a folder of pictures; empty where there is none.

    Raises:
        DataError: an index that is not ours.
    """
    path = folder / INDEX
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return [Picture(**{**entry, "components": tuple(entry["components"])}) for entry in entries]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise DataError(
            f"{path}: not an index of pictures", expected="what evaluate writes", remedy="run it again"
        ) from None
