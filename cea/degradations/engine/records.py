"""Records: every number that makes one degraded sample."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from cea.config import Config
from cea.degradations.engine.fields import FieldSpec
from cea.degradations.engine.recipes import NodeOrder
from cea.degradations.engine.scene import SceneParams
from cea.errors import RecordError
from cea.types import Split

ENGINE_VERSION = "1.1"
"""Of what a record means in pixels. The first number rises when the same record would give other pixels, the second
when records say more than before (1.1: the digests of the maps that a sample was drawn for)."""


class NodeRecord(Config):
    """One degradation of a sample."""

    label: str
    """Its name in the recipe; the component's name."""
    family: str
    """Registered name or ``module:Class``."""
    params: dict[str, Any]
    """The drawn numbers, as the family's ``Params`` hold them."""
    field: FieldSpec | None
    """What drives its strength over the image; None: the same everywhere."""
    stream: int = Field(ge=0, lt=1 << 64)
    """Seed of its own pixels: noise, streaks, flakes."""


class Record(Config):
    """One sample. With the clean pixels alone it renders, bit for bit; JSON keeps it exactly."""

    sample_id: str = Field(pattern=r"^[^./]+$")
    """``<clean_id>-<recipe>-<variant>``; no dots, because tar members are named by it."""
    clean_id: str
    """The clean image."""
    clean_sha256: str
    """Digest of its decoded pixels (see `cea.io.images.pixel_sha256`)."""
    root_seed: int
    """The experiment's seed."""
    recipe: str
    """The recipe's name."""
    variant: int = Field(ge=0)
    """Which of the samples drawn from this image and recipe."""
    split: Split
    """Which side of the experiment it belongs to."""
    crop: tuple[int, int, int, int] | None
    """[top, left, height, width] in clean pixels; None: the whole image."""
    uniform: bool
    """Whether every strength is the same all over the image: no field drives it, and no family is local."""
    engine_version: str = Field(pattern=r"^\d+\.\d+$")
    """Of the engine that drew it."""
    order: NodeOrder
    """In which order the nodes act."""
    scene: SceneParams
    """Numbers of the procedural depth and light maps."""
    nodes: tuple[NodeRecord, ...]
    """The degradations, one per component."""


def check_version(record: Record) -> None:
    """Refuse a record whose pixels this engine would not reproduce.

    Raises:
        RecordError: drawn by a newer engine, or by one whose pixels were others.
    """
    theirs, ours = (tuple(map(int, version.split("."))) for version in (record.engine_version, ENGINE_VERSION))
    if theirs > ours:
        raise RecordError(
            f"sample {record.sample_id} was drawn by engine {record.engine_version}, newer than this one",
            expected=f"a record of engine {ENGINE_VERSION} or older",
            remedy="update cea's clone and install it again, or draw the records again",
        )
    if theirs[0] != ours[0]:
        raise RecordError(
            f"sample {record.sample_id} was drawn by engine {record.engine_version}, whose pixels were others",
            expected=f"a record of engine {ours[0]}.x",
            remedy="draw the records again, or install the version of the package that drew them",
        )
