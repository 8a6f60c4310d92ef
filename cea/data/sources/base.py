"""What a source of clean images is: items one after the other, each loaded only when its turn comes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from cea.config import Config
from cea.types import Image, Split

Kind = Literal["photograph", "leaves"]


@dataclass(frozen=True)
class Loaded:
    """The pixels of an item.

    Attributes:
        rgb: (H, W, 3) RGB, uint8 or uint16, or float in [0, 1].
        inverse_depth: (H, W) uint16, near = 65535, or None where no depth is known.
    """

    rgb: Image
    inverse_depth: NDArray[np.uint16] | None = None


@dataclass(frozen=True)
class Item(ABC):
    """One image that a source offers. Small and picklable: the pixels come with ``load``.

    Attributes:
        name: how messages call it, unique within the source, e.g. its path below the folder.
        source: where it comes from, for the table.
        licence: under which terms, as far as stated.
    """

    name: str
    source: str
    licence: str
    kind: ClassVar[Kind] = "photograph"

    @property
    def split(self) -> Split | None:
        """The split it must go to, or None to let its content decide."""
        return None

    @abstractmethod
    def load(self) -> Loaded:
        """Read or make the pixels.

        Raises:
            ImageError: the file is missing, broken, or not an image.
        """


C = TypeVar("C", bound=Config)


class Source(ABC, Generic[C]):
    """Where clean images come from. Register one under a name to choose it in params.yaml.

    Args:
        config: the source's own settings, ``ingest.sources.<name>``.
    """

    Config: ClassVar[type[Any]]

    def __init__(self, config: C) -> None:
        self.config = config

    def check(self, root: Path) -> None:
        """Refuse what is missing, while everything that was made before is still there.

        Args:
            root: the project, in whose folder ``items`` will be called.

        Raises:
            DataError: ``items`` would not find what it needs.
        """

    @abstractmethod
    def items(self) -> Iterable[Item]:
        """All items, in an order that is the same on every machine; a large source makes each as it is asked for.

        Raises:
            DataError: the source is not there or holds nothing; at once, not with the first item.
        """
