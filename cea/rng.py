"""One owner of randomness: every draw of a sample comes from streams spawned from its key.

A stream depends on its key and its path alone, so worker count, order, sharding and machine do not matter.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SampleKey:
    """The identity of one sample, from which all its random draws follow.

    Attributes:
        root_seed: the experiment's seed, ``params.yaml: seed``.
        clean_sha256: hex digest of the clean image's decoded pixels (see `cea.io.images.pixel_sha256`).
        recipe: name of the recipe.
        variant: index of this sample among those drawn from the same image and recipe, from 0.
    """

    root_seed: int
    clean_sha256: str
    recipe: str
    variant: int

    def stream(self, *path: str | int) -> int:
        """A 64-bit seed for the stream at ``path`` under this key (e.g. ``("node", 0, "noise")``)."""
        return stream(self.root_seed, self.clean_sha256, self.recipe, self.variant, *path)

    def generator(self, *path: str | int) -> np.random.Generator:
        """A generator of its own for ``path``; the same key and path always give the same draws."""
        return generator(self.stream(*path))


def stream(*path: str | int) -> int:
    """An unsigned 64-bit seed that is a pure function of ``path`` (SHA-256 of its spelling)."""
    spelled = "\x1f".join(f"{type(part).__name__}:{part}" for part in path)
    return int.from_bytes(hashlib.sha256(spelled.encode()).digest()[:8], "little")


def generator(seed: int) -> np.random.Generator:
    """PCG64 seeded with ``seed``; its raw stream is stable across NumPy versions and machines."""
    return np.random.Generator(np.random.PCG64(seed))
