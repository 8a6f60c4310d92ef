"""What `evaluate` reads from params.yaml."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, Strict, field_validator, model_validator

from cea.config import Config
from cea.data.crops import Crop
from cea.data.layouts import Layout
from cea.errors import DataError
from cea.metrics.protocol import find_protocol

SetName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
_FOR_THE_SHELL = re.compile(r"[\"$`\\\x00-\x1f\x7f]")


def plain_path(path: str) -> str:
    """``path`` as it is: DVC puts it between double quotes into a command, where these characters mean something.

    Raises:
        ValueError: it holds one of them.
    """
    found = _FOR_THE_SHELL.search(path)
    if found:
        raise ValueError(f"a path without {found[0]!r}, which a shell would take for a command of its own")
    return path


class ExamplesConfig(Config):
    """Which test images become pictures. The choice looks at inputs only, so that two runs show the same ones."""

    per_recipe: int = Field(default=1, ge=0, le=8)
    """Images per recipe: those whose input PSNR is nearest the recipe's median, scenes taking turns."""
    worst: int = Field(default=3, ge=0, le=50)
    """Images with the lowest gain over all recipes, as well."""
    max_side: int = Field(default=640, ge=64, le=4096)
    """Longer side of the pictures kept, in pixels; larger images are reduced by area averaging."""
    affinity: int = Field(default=3, ge=0, le=50)
    """For how many of them CEA's affinity maps are kept."""
    affinity_side: int = Field(default=96, ge=8, le=512)
    """Longer side of an affinity map kept, in pixels."""


class RoutingConfig(Config):
    """How CEA's routing is compared with the recorded severity maps (`cea.evaluation.routing`)."""

    per_recipe: int = Field(default=4, ge=0, le=1000)
    """Test images per recipe, those with an uneven degradation first; 0 for none."""
    least_std: float = Field(default=0.02, gt=0, le=1)
    """An image counts for a component only if its severity (0 to 1) has this standard deviation over the image."""


class JudgedSetConfig(Config):
    """A test set on disk that the pipeline judges as well (``evaluate.testsets.<name>``)."""

    path: str = Field(min_length=1)
    """Folder of its test sets, absolute or below the project's; DVC watches it."""
    protocol: str = "promptir"
    """Name of the evaluation protocol; `evaluate.protocol` does not apply."""
    layout: Layout = "auto"
    """Whose folder layout it follows: auto | promptir | moceir | onerestore | plain."""
    pairs: str | None = None
    """How files pair where no known rule does: 'low(\\d+) -> normal\\1', or a CSV file below `path`."""
    crop: Crop = "known"
    """Which part of a larger target shows what its input shows: center | top-left; known: as in SOTS indoor only."""
    skip_missing: bool = False
    """Whether to judge sets with inputs that lack a target, which are refused otherwise."""

    @field_validator("protocol")
    @classmethod
    def _known(cls, name: str) -> str:
        return find_protocol(name).name

    @field_validator("path")
    @classmethod
    def _plain(cls, path: str) -> str:
        return plain_path(path)


class EvaluationConfig(Config):
    """``params.yaml: evaluate``."""

    protocol: str = "cea"
    """Name of the evaluation protocol (`cea.metrics.protocol.PROTOCOLS`); written beside every number."""
    workers: int = Field(default=2, ge=1, le=256)
    """Threads that decode and score images while the network works on the next one."""
    check: bool = False
    """Whether scikit-image computes every PSNR and SSIM again; the largest difference is reported."""
    lpips: bool = True
    """Whether LPIPS is computed where torchvision and its weights are at hand; elsewhere it is said to be left out."""
    severity_edges: Annotated[tuple[float, ...], Strict(False)] = (0.0, 0.05, 0.2, 0.4, 0.6, 0.8, 1.0)
    """Edges of the bins of local severity in which pixels are judged, rising within [0, 1]."""
    examples: ExamplesConfig = ExamplesConfig()
    """Pictures for the report."""
    routing: RoutingConfig = RoutingConfig()
    """Where the experts act, against where the degradation is."""

    testsets: dict[SetName, JudgedSetConfig] = Field(default_factory=dict)
    """Name -> test set on disk; names are letters, digits and underscores."""
    photographs: dict[SetName, str] = Field(default_factory=dict)
    """Name -> folder of real photographs without a clean original, scored without reference."""

    @field_validator("protocol")
    @classmethod
    def _known(cls, name: str) -> str:
        return find_protocol(name).name

    @field_validator("photographs")
    @classmethod
    def _plain(cls, photographs: dict[str, str]) -> dict[str, str]:
        return {name: plain_path(path) for name, path in photographs.items()}

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and "benchmarks" in values:
            raise ValueError("the key 'testsets', which was called 'benchmarks' before")
        return values

    @field_validator("severity_edges")
    @classmethod
    def _rising(cls, edges: tuple[float, ...]) -> tuple[float, ...]:
        if len(edges) < 2 or edges[0] < 0 or edges[-1] > 1 or any(a >= b for a, b in itertools.pairwise(edges)):
            raise ValueError("at least two rising numbers within [0, 1]")
        return edges


def check_folders(config: EvaluationConfig, root: Path) -> None:
    """Refuse test sets and photographs whose folders are not there, before anything has run.

    Raises:
        DataError: naming the first.
    """
    paths = {f"testsets.{name}.path": entry.path for name, entry in config.testsets.items()}
    paths |= {f"photographs.{name}": path for name, path in config.photographs.items()}
    for key, path in paths.items():
        if not (root / path).is_dir():
            raise DataError(
                f"evaluate.{key} = {path!r}: no such folder",
                expected="a folder with test images",
                remedy="correct the path, or take the entry out",
            )
