"""Figures that others published, from ``published.yaml``, and what was measured here on the same sets.

The two are never put into one table: a published figure comes from half a million training steps on the benchmark's own
training set, a measured one from whatever budget this run had.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, Strict, model_validator
from ruamel.yaml import YAML

from cea.config import Config, parse

FILE = Path(__file__).with_name("published.yaml")

Figure = float | Annotated[tuple[float, float], Strict(False)] | None
"""A number, [least, greatest] over publications, or nothing."""


class PublishedRow(Config):
    """What one publication prints of one method."""

    method: str
    """The method's name."""
    psnr: Figure = None
    """Mean PSNR in dB over the sets."""
    ssim: Figure = None
    """Mean SSIM; which window was used differs between publications."""
    columns: list[float] = Field(default_factory=list)
    """PSNR in dB by set, in the table's order; empty where not found."""
    source: str
    """Key into `Published.sources`."""


class PublishedTable(Config):
    """One published table."""

    title: str
    """What it consists of."""
    protocol: str
    """The protocol its PSNR follows (`cea.metrics.protocol`)."""
    columns: list[str]
    """Its sets."""
    sets: list[list[str]]
    """For each column, the names under which `cea.data.testsets` finds that set."""
    rows: list[PublishedRow]
    """By rising mean."""


class Published(Config):
    """The whole file."""

    sources: dict[str, str]
    """Key -> publication."""
    tables: dict[str, PublishedTable]
    """Benchmark -> table."""
    cost: dict[str, Annotated[tuple[float, float], Strict(False)]]
    """Method -> million parameters, GMACs at 3x224x224; counted by this project."""

    @model_validator(mode="after")
    def _complete(self) -> Published:
        for name, table in self.tables.items():
            for row in table.rows:
                if row.source not in self.sources:
                    raise ValueError(f"a source for {row.method} in {name}")
                if len(row.columns) not in (0, len(table.columns)):
                    raise ValueError(f"{len(table.columns)} columns for {row.method} in {name}")
        return self


@dataclass(frozen=True)
class Measured:
    """This run's result on a published table's sets: its entry's name, PSNR by column and, if complete, their mean."""

    name: str
    protocol: str
    columns: list[float | None]
    psnr: float | None


@cache
def load_published() -> Published:
    """The figures of ``published.yaml``, validated."""
    return parse(Published, YAML(typ="safe", pure=True).load(FILE.read_text(encoding="utf-8")), FILE.name)


def measured(table: PublishedTable, test_sets: Mapping[str, Mapping[str, Any]]) -> list[Measured]:
    """The entries of a summary's ``benchmarks`` that hold sets of ``table``; CDD-11's mean is over its eleven types."""
    rows = []
    for name, test_set in test_sets.items():
        sets = {key: group["output_psnr"] for key, group in test_set["sets"].items()}
        if not table.columns:
            values = [value for key, value in sets.items() if key.startswith("CDD-11-")]
            columns: list[float | None] = []
            complete = len(values) == 11
        else:
            columns = [next((sets[key] for key in names if key in sets), None) for names in table.sets]
            values = [value for value in columns if value is not None]
            complete = len(values) == len(columns)
        if values:
            mean = sum(values) / len(values) if complete else None
            rows.append(Measured(name, test_set["protocol"], columns, mean))
    return rows


def figure(value: Figure, places: int = 2) -> str:
    """A published figure as text: blank where none was found, a range where publications differ."""
    if value is None:
        return ""
    if isinstance(value, tuple):
        return "–".join(f"{end:.{places}f}" for end in value)
    return f"{value:.{places}f}"


def markdown(published: Published) -> str:
    """The published tables as Markdown, for the documentation."""
    lines = []
    for table in published.tables.values():
        lines += ["", f"**{table.title}** (published, protocol `{table.protocol}`)", ""]
        lines += _markdown_rows(["method", "PSNR", "SSIM", *table.columns, "source"], ["---"])
        for row in table.rows:
            cells = [figure(value) for value in row.columns] or [""] * len(table.columns)
            lines += _markdown_rows([row.method, figure(row.psnr), figure(row.ssim, 3), *cells, row.source])
    lines += ["", "Sources: " + "; ".join(f"`{key}` {source}" for key, source in published.sources.items()) + "."]
    return "\n".join(lines).strip() + "\n"


def _markdown_rows(cells: list[str], rule: Iterable[str] = ()) -> list[str]:
    return ["| " + " | ".join(cells) + " |", *("| " + " | ".join([dash] * len(cells)) + " |" for dash in rule)]
