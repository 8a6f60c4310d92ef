"""The names of ``summary.json`` are a promise: none goes, none changes its type."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import polars as pl
import pytest

from cea.errors import DataError
from cea.evaluation import columns, summary
from cea.evaluation.columns import BINS, IMAGES, Column
from cea.evaluation.schema import VERSION, Summary, checked, means_model

GROUP = {
    *("images", "input_psnr", "output_psnr", "gain_psnr", "input_ssim", "output_ssim", "gain_ssim"),
    *("input_lpips", "output_lpips", "harm_rate", "harmed_pixels", "identical"),
}
RELIABILITY = {
    *("images", "mae", "estimated", "actual", "correlation", "calibration_error", "clean", "bins"),
}
NAMES = {
    "Summary": GROUP
    | {"schema_version", "protocol", "seen", "recipes", "compositions", "n_components", "spatial", "severity"}
    | {"identity", "check", "adapters", "routing", "calibration", "benchmarks", "photographs", "skipped"},
    "RecipeGroup": GROUP | {"seen"},
    "Group": GROUP,
    "Spatial": {"uniform", "nonuniform", "gap_db"},
    "SeverityBin": {"low", "high", "images", "input_psnr", "output_psnr", "gain_psnr"},
    "Identity": {"images", "output_psnr", "lowest_psnr", "output_ssim", "harm_rate", "harmed_pixels"},
    "Check": {"images", "psnr_difference", "ssim_difference"},
    "SetGroup": GROUP | {"protocol", "check", "sets"},
    "Calibration": {"severity", "error"},
    "SeverityReliability": RELIABILITY | {"present", "mae_present"},
    "ErrorReliability": RELIABILITY | {"within_factor_2"},
    "ReliabilityBin": {"low", "high", "share", "estimated", "actual"},
}


def test_the_names_are_frozen():
    schema = Summary.model_json_schema()
    found = {name: set(part["properties"]) for name, part in schema["$defs"].items()}
    assert found | {"Summary": set(schema["properties"])} == NAMES
    assert VERSION == 1


def test_the_projects_own_summary_fits(root: Path):
    checked(json.loads((root / "metrics/summary.json").read_text()))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda found: found.pop("gain_psnr"), "gain_psnr: field required"),
        (lambda found: found.update(extra=1), "extra: extra inputs"),
        (lambda found: found["recipes"]["noise"].update(images="six"), "recipes.noise.images"),
        (lambda found: found.update(schema_version=VERSION + 1), "upgrade the package"),
    ],
)
def test_what_does_not_fit_is_named(root: Path, change, says: str):
    found = copy.deepcopy(json.loads((root / "metrics/summary.json").read_text()))
    change(found)
    with pytest.raises(DataError, match=says):
        checked(found, "summary.json")


def row(**values) -> dict:
    known = {"protocol": "cea", "sample_id": "a", "recipe": "noise", "clean_id": "a", "n_components": 1}
    numbers = {name: 1.0 for name, kind in IMAGES.items() if kind == pl.Float64}
    return dict.fromkeys(IMAGES) | {"seen": True, "uniform": True} | known | numbers | values


def test_a_further_score_is_one_entry(monkeypatch: pytest.MonkeyPatch):
    """Its mean turns up in every group of the summary, and in the schema."""
    extra = Column("sharpness", pl.Float64, "of the restored image", decimals=2)
    images = pl.DataFrame([row()], schema=IMAGES).with_columns(pl.lit(3.14159).alias(extra.name))
    monkeypatch.setattr(summary, "MEANS", columns.means((*columns.COLUMNS, extra)))
    found = summary.summarise(images, bins=pl.DataFrame(schema=BINS))
    assert found["sharpness"] == found["recipes"]["noise"]["sharpness"] == 3.14
    assert set(means_model((extra,)).model_fields) == {"sharpness"}
