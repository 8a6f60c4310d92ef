"""What a network learns of severities: one map for each component that it is asked about, in the order it is asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from cea.errors import ConfigError

FULL = 255
"""The label of full severity; 0 is untouched."""

UNKNOWN = -1
"""The label where nothing was recorded."""


def label_maps(
    bands: NDArray[np.uint8] | None, recorded: Sequence[str], wanted: Sequence[str], size: tuple[int, int]
) -> NDArray[np.int16]:
    """The severity of each of the components ``wanted``.

    A component that the sample lacks is 0 everywhere, bands of others are passed over. Where the severities of a sample
    were not recorded, all is `UNKNOWN`.

    Args:
        bands: (n, h, w) uint8, a severity for each of ``recorded``; None where they are unknown.
        recorded: the sample's components.
        wanted: components, each once.
        size: h and w.

    Returns:
        (h, w, K), 0 to `FULL`, or `UNKNOWN`.
    """
    if bands is None:
        return np.full((*size, len(wanted)), UNKNOWN, np.int16)
    maps = np.zeros((*size, len(wanted)), np.int16)
    for name, band in zip(recorded, bands, strict=True):
        if name in wanted:
            maps[..., wanted.index(name)] = band
    return maps


def check_recorded(wanted: Sequence[str], recorded: Iterable[str]) -> None:
    """Refuse a component of ``model.severity`` that is not among those ``recorded`` for training.

    Raises:
        ConfigError: naming it, and what there is.
    """
    if not wanted:
        return
    known = sorted(set(recorded))
    for name in wanted:
        if name not in known:
            raise ConfigError(
                f"model.severity: no recipe that is trained on has a component {name!r}",
                expected=f"among {', '.join(known)}" if known else "recipes with components",
                remedy="correct the name, or add it to a recipe",
            )
