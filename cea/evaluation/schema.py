"""``summary.json`` as a type: the names that the report, ``dvc metrics`` and other tools rely on.

Names are only ever added; `VERSION` rises where one changes its meaning. A test holds all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from cea.errors import DataError
from cea.evaluation.columns import COLUMNS, Column, means

VERSION = 1


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


def means_model(columns: Iterable[Column]) -> type[BaseModel]:
    """A field for each column whose mean is reported; those of scores that can be absent have a default."""
    needed: dict[str, Any] = dict.fromkeys(means(columns), (float, ...))
    absent: dict[str, Any] = dict.fromkeys(means(columns, optional=True), (float | None, None))
    return create_model("Means", __base__=_Part, **needed, **absent)


if TYPE_CHECKING:
    Means = _Part
else:
    Means = means_model(COLUMNS)


class Group(Means):
    """A group of images: these fields, and the mean of each column of `cea.evaluation.columns` that reports one."""

    images: int
    """How many."""
    harm_rate: float
    """Share of images whose PSNR fell by more than .01 dB."""
    identical: int
    """Outputs equal to their target."""


class RecipeGroup(Group):
    """A recipe's images."""

    seen: bool | None = None
    """Whether it was trained on."""


class Spatial(_Part):
    """Even against uneven degradations."""

    uniform: Group | None = None
    nonuniform: Group | None = None
    gap_db: float | None = None
    """How much more is gained on uneven images of equal input PSNR."""


class SeverityBin(_Part):
    """Pixels of a local severity in [low, high)."""

    low: float
    high: float
    images: int
    input_psnr: float
    output_psnr: float
    gain_psnr: float


class Identity(_Part):
    """How clean images come out of the network."""

    images: int
    output_psnr: float
    lowest_psnr: float
    output_ssim: float
    harm_rate: float
    harmed_pixels: float


class Check(_Part):
    """Largest differences to scikit-image."""

    images: int
    psnr_difference: float
    ssim_difference: float


class SetGroup(Group):
    """A set of test images on disk."""

    protocol: str
    check: dict[str, Any] = Field(default_factory=dict)
    sets: dict[str, RecipeGroup]


class ReliabilityBin(_Part):
    """Cells whose estimate lies in [low, high)."""

    low: float
    high: float
    share: float
    """Of all cells, every image counting alike."""
    estimated: float
    """Mean of the estimates."""
    actual: float
    """Mean of the truth."""


class Reliability(_Part):
    """Estimates of a network against the truth (`cea.evaluation.calibration`)."""

    images: int
    mae: float
    """Mean absolute error."""
    estimated: float
    actual: float
    correlation: float | None = None
    """Over all cells; absent where one side is constant."""
    calibration_error: float
    """How far estimate and truth lie apart within a bin, on average."""
    clean: float | None = None
    """Mean estimate on clean scenes."""
    bins: dict[str, ReliabilityBin]


class SeverityReliability(Reliability):
    """Of a component's severity, in shares of full severity."""

    present: int
    """Images that have the component."""
    mae_present: float | None = None
    """Mean absolute error on those."""


class ErrorReliability(Reliability):
    """Of the input's local error, in grey levels; the correlation is that of logarithms."""

    within_factor_2: float
    """Share of cells whose estimate is at most twice and at least half the truth."""


class Calibration(_Part):
    """What the network estimates of its inputs."""

    severity: dict[str, SeverityReliability] = Field(default_factory=dict)
    """By component."""
    error: ErrorReliability | None = None


class Summary(RecipeGroup):
    """All of ``summary.json``."""

    schema_version: int = VERSION
    protocol: str
    recipes: dict[str, RecipeGroup]
    compositions: dict[str, Group] = Field(default_factory=dict)
    n_components: dict[str, Group] = Field(default_factory=dict)
    spatial: Spatial = Spatial()
    severity: dict[str, SeverityBin] = Field(default_factory=dict)
    identity: Identity | dict[str, Any] = Field(default_factory=dict)
    check: Check | dict[str, Any] = Field(default_factory=dict)
    adapters: dict[str, dict[str, float]] = Field(default_factory=dict)
    """By site."""
    routing: dict[str, dict[str, dict[str, Any]]] = Field(default_factory=dict)
    """By site and component."""
    calibration: Calibration | None = None
    """Only of a network with a severity head or an error gate."""
    benchmarks: dict[str, SetGroup] = Field(default_factory=dict)
    photographs: dict[str, dict[str, Any]] = Field(default_factory=dict)
    skipped: dict[str, str] = Field(default_factory=dict)


def checked(summary: dict[str, Any], where: str = "summary") -> dict[str, Any]:
    """``summary`` itself, once it is known to fit the schema.

    Raises:
        DataError: a name or type that does not, or a schema of a later version.
    """
    if summary.get("schema_version", VERSION) > VERSION:
        raise DataError(
            f"{where}: schema {summary['schema_version']}", expected=f"at most {VERSION}", remedy="upgrade the package"
        )
    try:
        Summary.model_validate(summary)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join(map(str, first["loc"]))
        raise DataError(
            f"{where}: {path}: {first['msg'].lower()}", expected="what evaluate writes", remedy="run evaluate again"
        ) from None
    return summary
