"""CDD-11's formation against the output of the published code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cea.degradations.engine.records import ENGINE_VERSION, NodeRecord, Record
from cea.degradations.engine.render import render
from cea.degradations.engine.scene import SceneParams
from cea.degradations.tools import cdd11
from cea.errors import ConfigError
from cea.levels import to_uint8

COMPOSITIONS = ("low", "haze", "rain", "snow", "low_haze", "low_snow", "haze_rain", "low_haze_rain")


@pytest.fixture(scope="module")
def reference(shared: Path) -> dict[str, np.ndarray]:
    """The generated inputs, parameters and outputs; colour in BGR."""
    with np.load(shared / "parity" / "cdd11_reference.npz") as archive:
        return dict(archive)


def _rgb(values: np.ndarray) -> np.ndarray:
    return values[..., ::-1] if values.ndim == 3 else values


def _inputs(reference: dict[str, np.ndarray], composition: str) -> dict[str, Any]:
    own = {
        key.split("/")[1]: values
        for key, values in reference.items()
        if key.split("/")[0] == composition and "/" in key
    }
    return {
        "light": reference["light_gray_u8"],
        "inverse_depth": _rgb(reference["depth_bgr_u8"]),
        "rain": _rgb(reference["rain_bgr_u8"]),
        "snow": _rgb(reference["snow_bgr_u8"]),
        "gamma": own.get("gamma"),
        "beta": own.get("beta"),
        "airlight": own.get("A"),
        "noise": _rgb(own["noise"]) if "noise" in own else None,
    }


@pytest.mark.parametrize("composition", COMPOSITIONS)
@pytest.mark.parametrize("as_float", [False, True])
def test_formation_equals_the_published_code(
    reference: dict[str, np.ndarray], composition: str, as_float: bool
) -> None:
    clear = _rgb(reference["clear_bgr_u8"])
    formed = cdd11.form(clear / 255.0 if as_float else clear, composition, **_inputs(reference, composition))
    assert formed.dtype == np.float64
    np.testing.assert_allclose(formed, _rgb(reference[f"{composition}/f64"]), rtol=0, atol=1e-9)
    off = np.abs(to_uint8(formed).astype(int) - _rgb(reference[f"{composition}/u8"]).astype(int))
    assert off.max() <= 1
    assert (off > 0).mean() < (2e-3 if "snow" in composition else 5e-5)


def test_no_composition_of_the_reference_is_left_out(reference: dict[str, np.ndarray]) -> None:
    assert {key.split("/")[0] for key in reference if "/" in key} == set(COMPOSITIONS)


def test_rendering_forms_as_the_reference_does(reference: dict[str, np.ndarray]) -> None:
    """The families, in float32 with tables, against float64 without: the same image to one grey level."""
    inputs = _inputs(reference, "low_haze")
    nodes = (
        NodeRecord(
            label="low",
            family="low",
            params={"gamma": float(inputs["gamma"]), "sigma": 0.0, "exposure_rgb": [1.0, 1.0, 1.0]},
            field=None,
            stream=0,
        ),
        NodeRecord(
            label="haze",
            family="haze",
            params={"beta": float(inputs["beta"]), "airlight_rgb": [float(inputs["airlight"])] * 3},
            field=None,
            stream=0,
        ),
    )
    clear = _rgb(reference["clear_bgr_u8"])
    depth, light = inputs["inverse_depth"][..., 0] / 255.0, inputs["light"] / 255.0
    rendered = render(_record(nodes), clear, inverse_depth=depth, light=light)
    exact = cdd11.form(clear, "low_haze", **{**inputs, "noise": None})
    off = np.abs(rendered.degraded.astype(int) - to_uint8(exact).astype(int))
    assert off.max() <= 1
    assert (off > 0).mean() < 0.02


def _record(nodes: tuple[NodeRecord, ...]) -> Record:
    return Record(
        sample_id="a-low_haze-0000",
        clean_id="a",
        clean_sha256="0",
        root_seed=0,
        recipe="low_haze",
        variant=0,
        split="test",
        crop=None,
        uniform=True,
        engine_version=ENGINE_VERSION,
        order="cdd11",
        scene=SceneParams(horizon=0.4, tilt=0.0, relief=0.5, cells=3, light_radius_px=15, stream=0),
        nodes=nodes,
    )


def test_missing_inputs_and_unknown_compositions_are_named() -> None:
    image = np.zeros((4, 5, 3), np.uint8)
    with pytest.raises(ConfigError, match="gamma is missing"):
        cdd11.form(image, "low", light=np.ones((4, 5)))
    with pytest.raises(ConfigError, match="composition 'rain_low'"):
        cdd11.form(image, "rain_low")
