"""Routing against severity, on maps whose correlation is known."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import pytest

from cea.evaluation.cases import Case, Pixels
from cea.evaluation.config import RoutingConfig
from cea.evaluation.routing import Routing, choose, measure_routing, moments, summarise_routing, to_site
from cea.models.config import ModelConfig
from cea.models.diagnostics import affinity_maps
from cea.models.network import build

SIZE = (96, 128)


def smooth(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A smooth random map that fills [0, 1]."""
    coarse = np.random.default_rng(seed).random((5, 6), dtype=np.float32)
    band = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
    return (band - band.min()) / (band.max() - band.min())


def as_band(values: np.ndarray) -> np.ndarray:
    return np.rint(values * 255).astype(np.uint8)


def make_case(number: int, bands: Mapping[str, np.ndarray], *, uniform: bool = False) -> Case:
    """A case whose degraded image carries its number, so that a fake network knows which one it sees."""
    image = np.full((*SIZE, 3), number, np.uint8)
    severity = np.stack([as_band(band) for band in bands.values()])
    return Case(
        sample_id=f"s{number}",
        recipe="_".join(bands),
        clean_id=f"scene{number % 3}",
        components=tuple(bands),
        uniform=uniform,
        read=lambda: Pixels(image, image, severity),
    )


def reduced(band: np.ndarray, stride: int = 4) -> np.ndarray:
    return cv2.resize(band, (SIZE[1] // stride, SIZE[0] // stride), interpolation=cv2.INTER_AREA)


CASES = [make_case(number, {"haze": smooth(number), "rain": smooth(100 + number)}) for number in range(6)]


def measured(maps_of, cases: list[Case] = CASES, **config: object) -> Routing:
    fake = lambda image: {"middle": np.stack(maps_of(int(image[0, 0, 0])))}  # noqa: E731
    return measure_routing(cases, fake, RoutingConfig(per_recipe=10, **config))


def noise(number: int) -> np.ndarray:
    return np.random.default_rng(1000 + number).normal(size=(24, 32))


def test_an_expert_that_is_the_haze() -> None:
    maps = lambda number: (noise(number), 3 - 5 * reduced(smooth(number)))  # noqa: E731
    haze = summarise_routing(measured(maps))["middle"]["haze"]
    assert haze["pearson"] == pytest.approx(1, abs=2e-3)
    assert haze["r2"] == pytest.approx(1, abs=4e-3)
    assert haze["transfer"] == pytest.approx(1, abs=2e-3)
    assert haze["ranks"][0] < 0.1 < 0.99 < haze["ranks"][1]
    assert haze["pearson_chance"] < 0.5
    assert haze["images"] == 6
    rain = summarise_routing(measured(maps))["middle"]["rain"]
    assert rain["pearson"] < 0.5


def test_experts_that_know_nothing_explain_what_chance_does() -> None:
    figures = summarise_routing(measured(lambda number: (noise(number), noise(50 + number))))["middle"]["haze"]
    for name in ("pearson", "pearson_chance", "r2", "r2_chance"):
        assert figures[name] < 0.1
    assert abs(figures["transfer"]) < 0.1


def test_a_readout_needs_both_of_two_experts() -> None:
    def maps(number: int) -> tuple[np.ndarray, np.ndarray]:
        hidden = 0.3 * noise(number)
        return reduced(smooth(number)) + hidden, hidden

    haze = summarise_routing(measured(maps))["middle"]["haze"]
    assert haze["r2"] == pytest.approx(1, abs=4e-3)
    assert haze["transfer"] == pytest.approx(1, abs=2e-3)
    assert haze["pearson"] < 0.85


def test_an_expert_that_changes_its_sign_does_not_transfer() -> None:
    """Scenes 0, 1, 2 see it as -, 0, +: inside an image the readout is perfect, from the others it is not."""
    maps = lambda number: ((number % 3 - 1) * reduced(smooth(number)), noise(number))  # noqa: E731
    haze = summarise_routing(measured(maps))["middle"]["haze"]
    assert haze["r2"] == pytest.approx(2 / 3, abs=0.02)
    assert haze["transfer"] < -0.5


def test_even_images_are_left_out_and_counted() -> None:
    even = [make_case(number, {"haze": np.full(SIZE, 0.7)}, uniform=True) for number in range(6, 9)]
    routing = measured(lambda number: (reduced(smooth(number)),), [*CASES[:2], *even])
    assert routing.even == {"haze": 3}
    haze = summarise_routing(routing)["middle"]["haze"]
    assert (haze["images"], haze["even"]) == (2, 3)
    nothing = measured(lambda number: (noise(number),), even)
    assert summarise_routing(nothing) == {}
    assert nothing.even == {"haze": 3}


def test_equal_and_constant_experts_do_no_harm() -> None:
    maps = lambda number: (reduced(smooth(number)),) * 2 + (np.ones((24, 32)),)  # noqa: E731
    haze = summarise_routing(measured(maps))["middle"]["haze"]
    assert haze["r2"] == pytest.approx(1, abs=4e-3)
    assert haze["ranks"][2] == 0


def test_one_image_has_neither_chance_nor_transfer() -> None:
    haze = summarise_routing(measured(lambda number: (noise(number),), CASES[:1]))["middle"]["haze"]
    assert not {"pearson_chance", "r2_chance", "transfer"} & set(haze)


def test_uneven_images_are_taken_first() -> None:
    cases = [make_case(0, {"haze": smooth(0)}, uniform=True), CASES[0], make_case(3, {"haze": smooth(3)})]
    assert [case.sample_id for case in choose(cases, 1)] == ["s0", "s3"]
    assert list(choose(cases, 0)) == []


@pytest.mark.parametrize("shape", [(427, 640), (96, 128), (101, 77)])
@pytest.mark.parametrize("stride", [2, 8])
def test_cells_are_those_of_the_padded_image(shape: tuple[int, int], stride: int) -> None:
    cells = tuple(-(-size // 8) * 8 // stride for size in shape)
    ramp = np.tile(np.arange(shape[1], dtype=np.float32), (shape[0], 1))
    found = to_site(ramp, cells)
    expected = np.minimum(np.arange(cells[1] * stride), shape[1] - 1).reshape(-1, stride).mean(axis=1)
    np.testing.assert_allclose(found, np.tile(expected, (cells[0], 1)), rtol=1e-5)


def test_moments_by_hand() -> None:
    found = moments(np.array([[[1.0, 3.0]], [[0.0, 0.0]]]), np.array([[0.0, 1.0]]))
    assert found.gram.tolist() == [[1, 0], [0, 0]]
    assert found.cross.tolist() == [0.5, 0]
    assert found.energy == 0.25
    assert found.pearson().tolist() == [1, 0]


def test_a_network_has_a_figure_for_each_site_and_component() -> None:
    model = build(ModelConfig(width=8, rank=3))
    routing = measure_routing(CASES[:3], lambda image: affinity_maps(model, image), RoutingConfig())
    figures = summarise_routing(routing)
    assert set(figures) == {"encoder_0", "encoder_1", "middle"}
    assert all(set(parts) == {"haze", "rain"} for parts in figures.values())
    assert len(figures["middle"]["haze"]["ranks"]) == 3


def test_what_an_untrained_network_reaches_stands_beside() -> None:
    trained = measured(lambda number: (reduced(smooth(number)),))
    untrained = measured(lambda number: (noise(number),))
    haze = summarise_routing(trained, untrained)["middle"]["haze"]
    alone = summarise_routing(untrained)["middle"]["haze"]
    for name in ("pearson", "r2", "transfer"):
        assert haze[f"{name}_untrained"] == alone[name]
        assert haze[f"{name}_untrained"] < 0.1 < haze[name]
