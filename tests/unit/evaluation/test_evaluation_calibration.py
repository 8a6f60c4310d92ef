"""Calibration of a made-up network whose estimates are known."""

from __future__ import annotations

import numpy as np
import pytest

from cea.evaluation.calibration import SEVERITY_EDGES, Tally, calibrate
from cea.evaluation.cases import Case, Pixels, clean_cases
from cea.evaluation.schema import Calibration
from cea.inference import Estimates, restore_judged
from tests.told import Told


def case(name: str, degraded: np.ndarray, bands: dict[str, np.ndarray] | None, clean: np.ndarray) -> Case:
    severity = None if bands is None else np.array(list(bands.values()), np.uint8).reshape(-1, *degraded.shape[:2])
    pixels = Pixels(degraded, clean, severity)
    return Case(name, "recipe", name, tuple(bands or ()), True, lambda: pixels)


def estimate(image: np.ndarray) -> Estimates:
    return restore_judged(Told(), image)[1]


def flat(red: int, green: int, blue: int, size: tuple[int, int] = (12, 16)) -> np.ndarray:
    return np.full((*size, 3), (red, green, blue), np.uint8)


def test_a_network_that_is_right_is_perfect() -> None:
    """Haze reads the red channel, whose values are the recorded severity, in cells of 2 px."""
    rng = np.random.default_rng(0)
    cells = rng.integers(0, 256, (2, 10, 14), np.uint8).repeat(2, axis=1).repeat(2, axis=2)
    degraded = np.stack([cells[0], np.zeros_like(cells[0]), cells[1]], axis=2)
    found = calibrate([case("a", degraded, {"haze": cells[0]}, degraded)], [], estimate)["severity"]
    assert found["haze"]["mae"] == 0
    assert found["haze"]["calibration_error"] == 0
    assert found["haze"]["correlation"] == 1
    assert found["haze"]["present"] == 1
    assert len(found["haze"]["bins"]) == 10
    assert sum(one["share"] for one in found["haze"]["bins"].values()) == pytest.approx(1, abs=1e-5)
    assert all(one["low"] <= one["estimated"] < one["high"] for one in found["haze"]["bins"].values())
    assert "correlation" not in found["rain"]  # nothing of it anywhere, and nothing estimated
    assert "mae_present" not in found["rain"]


def test_by_hand() -> None:
    """Two images of different sizes count alike; what an image lacks is 0; other components are passed over."""
    cases = [
        case("a", flat(51, 0, 0), {"haze": np.full((12, 16), 102)}, flat(51, 0, 0)),  # .2 estimated, .4 recorded
        case("b", flat(153, 0, 0, (40, 8)), {"jpeg": np.full((40, 8), 255)}, flat(153, 0, 0, (40, 8))),  # .6, absent
        case("c", flat(255, 0, 0), None, flat(255, 0, 0)),  # not recorded
    ]
    haze = calibrate(cases, clean_cases([case("d", flat(0, 0, 0), {}, flat(102, 0, 0))]), estimate)["severity"]["haze"]
    assert haze["images"] == 2
    assert haze["present"] == 1
    assert haze["mae"] == pytest.approx(0.4)
    assert haze["mae_present"] == pytest.approx(0.2)
    assert haze["estimated"] == pytest.approx(0.4)
    assert haze["actual"] == pytest.approx(0.2)
    assert haze["correlation"] == -1
    assert haze["calibration_error"] == pytest.approx((0.2 + 0.6) / 2)
    assert haze["clean"] == pytest.approx(0.4)
    assert haze["bins"]["0_2-0_3"] == {"low": 0.2, "high": 0.3, "share": 0.5, "estimated": 0.2, "actual": 0.4}
    assert haze["bins"]["0_6-0_7"]["actual"] == 0


def test_errors_are_those_of_the_input_in_grey_levels() -> None:
    """A tenth of blue is expected: 20 of 200. One input is off by 30 grey levels, the other not at all."""
    clean = flat(0, 0, 200)
    cases = [case("a", clean, {}, clean - np.uint8([0, 0, 90])), case("b", flat(0, 0, 100), {}, flat(0, 0, 100))]
    found = calibrate(cases, clean_cases([case("c", clean, {}, flat(0, 0, 50))]), estimate)["error"]
    assert found["estimated"] == pytest.approx((20 + 10) / 2, abs=1e-3)
    assert found["actual"] == pytest.approx((30 + 0) / 2, abs=1e-3)
    assert found["mae"] == pytest.approx((10 + 10) / 2, abs=1e-3)
    assert found["within_factor_2"] == 0.5
    assert found["clean"] == pytest.approx(5, abs=1e-3)
    assert found["correlation"] == 1
    assert found["bins"]["16-32"] == {"low": 16.0, "high": 32.0, "share": 0.5, "estimated": 20.0, "actual": 30.0}


def test_it_fits_the_schema_and_is_empty_without_heads() -> None:
    cases = [case("a", flat(51, 9, 80), {"haze": np.full((12, 16), 102)}, flat(51, 0, 0))]
    Calibration.model_validate(calibrate(cases, clean_cases(cases), estimate))
    gated = calibrate(cases, [], lambda image: restore_judged(Told(()), image)[1])
    assert set(gated) == {"error"}
    Calibration.model_validate(gated)
    assert calibrate(cases, cases, lambda image: Estimates({}, None)) == {}


def test_an_edge_belongs_to_the_bin_above_and_the_last_to_the_last() -> None:
    tally = Tally(SEVERITY_EDGES)
    tally.add(np.array([0.0, 0.5, 1.0, 1.0]), np.zeros(4))
    assert {name: one["share"] for name, one in tally.summary()["bins"].items()} == {
        "0-0_1": 0.25,
        "0_5-0_6": 0.25,
        "0_9-1": 0.5,
    }
