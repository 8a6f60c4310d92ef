"""Figures of others: complete, sourced, blank where nothing was found, and the same in the documentation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cea.config import parse
from cea.errors import ConfigError
from cea.metrics.protocol import PROTOCOLS
from cea.report.published import Published, figure, load_published, markdown, measured
from cea.report.spread import gain_spread, recipe_spreads

ROOT = Path(__file__).resolve().parents[3]


def test_every_row_names_a_source_and_every_table_a_known_protocol():
    published = load_published()
    assert {row.source for table in published.tables.values() for row in table.rows} == set(published.sources)
    assert all(table.protocol in PROTOCOLS for table in published.tables.values())


def test_nothing_is_claimed_for_cea():
    for table in load_published().tables.values():
        (row,) = [row for row in table.rows if row.method == "CEA"]
        assert (row.psnr, row.ssim, row.columns) == (None, None, [])


def test_means_are_those_of_their_columns():
    """A slip of the pen in a column or a mean would show."""
    rows = [row for table in load_published().tables.values() for row in table.rows if row.columns]
    assert len(rows) > 4
    for row in rows:
        assert sum(row.columns) / len(row.columns) == pytest.approx(row.psnr, abs=0.011), row.method


def test_rows_without_a_source_or_with_missing_columns_are_refused():
    good = load_published().model_dump()
    for change, says in (({"source": "nobody"}, "a source for PromptIR"), ({"columns": [1.0]}, "5 columns")):
        bad = json.loads(json.dumps(good))
        bad["tables"]["aio3"]["rows"][4] |= change
        with pytest.raises(ConfigError, match=says):
            parse(Published, bad, "published.yaml")


def test_a_mean_is_only_given_for_a_complete_benchmark():
    table = load_published().tables["aio3"]
    names = ("SOTS-outdoor", "Rain100L", "CBSD68-sigma15", "CBSD68-sigma25", "CBSD68-sigma50")
    sets = {name: {"output_psnr": 20.0 + number} for number, name in enumerate(names)}
    (whole,) = measured(table, {"mine": {"protocol": "promptir", "sets": sets}})
    assert (whole.columns, whole.psnr) == ([20, 21, 22, 23, 24], 22)
    del sets["Rain100L"]
    (partial,) = measured(table, {"mine": {"protocol": "promptir", "sets": sets}})
    assert (partial.columns[1], partial.psnr) == (None, None)
    assert measured(table, {"other": {"protocol": "cea", "sets": {"mine": {"output_psnr": 1.0}}}}) == []
    cdd11 = load_published().tables["cdd11"]
    types = {f"CDD-11-{number}": {"output_psnr": float(number)} for number in range(11)}
    assert measured(cdd11, {"c": {"protocol": "onerestore", "sets": types}})[0].psnr == 5


def test_figures_as_text():
    assert [figure(value) for value in (None, 30.5, (29.15, 29.77))] == ["", "30.50", "29.15–29.77"]


def test_the_documentation_shows_the_file():
    assert markdown(load_published()) in (ROOT / "docs/protocol.md").read_text()


def run(gain: float, **changes):
    recipes = {"noise": {"gain_psnr": gain + 1}, "haze": {"gain_psnr": 2 * gain}}
    return {"protocol": "cea", "images": 9, "input_psnr": 17.0, "gain_psnr": gain, "recipes": recipes} | changes


def test_spread_of_seeds():
    spread = gain_spread([run(1.0), run(2.0), run(3.0)])
    assert (spread.runs, spread.mean, spread.sd, spread.low, spread.high) == (3, 2.0, 1.0, 1.0, 3.0)
    assert recipe_spreads([run(1.0), run(2.0), run(3.0)])["haze"].sd == 2.0
    assert gain_spread([run(1.0)]) is None
    for change in ({"protocol": "promptir"}, {"images": 8}, {"input_psnr": 17.5}):
        assert gain_spread([run(1.0), run(2.0, **change)]) is None
        assert recipe_spreads([run(1.0), run(2.0, **change)]) == {}
