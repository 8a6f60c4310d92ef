"""Which shards make up a split: a small list that changes only where the split's own data do."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

from pydantic import ValidationError

from cea.config import Config
from cea.data.shards import read_index
from cea.errors import DataError
from cea.io.images import write_bytes


class RecipeShards(Config):
    """The shards of one recipe."""

    samples: int
    """How many."""
    sha256: str
    """Digest of their index, which holds the hash of every sample's decoded pixels."""
    seen: bool
    """Whether the network is trained on this recipe."""


class SplitList(Config):
    """A split of the data set."""

    recipes: dict[str, RecipeShards]
    """In the order of params.yaml."""

    def folders(self, parent: Path, *, seen: bool | None = None) -> tuple[Path, ...]:
        """The shard folders below ``parent``: all of them, or only those of recipes that are trained on, or are not."""
        return tuple(parent / name for name, one in self.recipes.items() if seen is None or one.seen == seen)


def list_split(parent: Path, recipes: Mapping[str, bool]) -> SplitList:
    """The list of the shard folders ``parent/<recipe>``.

    Args:
        parent: the folder of one split.
        recipes: name -> whether it is trained on.

    Raises:
        DataError: shards that are missing or damaged.
    """
    return SplitList(
        recipes={
            name: RecipeShards(
                samples=len(read_index(parent / name)),
                sha256=hashlib.sha256((parent / name / "index.parquet").read_bytes()).hexdigest(),
                seen=seen,
            )
            for name, seen in recipes.items()
        }
    )


def write_split(path: Path, split: SplitList) -> None:
    """Write the list as JSON."""
    write_bytes(path, (json.dumps(split.model_dump(), indent=1) + "\n").encode())


def read_split(path: Path) -> SplitList:
    """Read it back.

    Raises:
        DataError: missing, or not such a list.
    """
    try:
        return SplitList.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path}: no such file", expected="the list of a split", remedy="run dvc repro") from None
    except ValidationError:
        raise DataError(
            f"{path}: not the list of a split", expected="what stage dataset writes", remedy="run dvc repro"
        ) from None


def remove_others(parent: Path, recipes: Collection[str]) -> list[str]:
    """Remove the folders below ``parent`` that belong to none of ``recipes``; their names."""
    others = sorted(path.name for path in parent.iterdir() if path.is_dir() and path.name not in recipes)
    for name in others:
        shutil.rmtree(parent / name)
    return others
