"""What the diagnostics show of a network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from cea.models.config import ModelConfig
from cea.models.diagnostics import adapter_statistics, affinity_maps, effective_rank
from cea.models.network import RestorationNetwork, build

SITES = ["encoder_0", "middle", "decoder_0"]
CONFIG = ModelConfig(width=8, rank=4, encoder_blocks=(1,), decoder_blocks=(1,), sites=tuple(SITES))


@pytest.fixture(params=[False, True], ids=["dot", "constant"])
def network(request: pytest.FixtureRequest) -> RestorationNetwork:
    network = build(CONFIG.model_copy(update={"constant": request.param}))
    for name, parameter in network.named_parameters():
        if "to_directions" in name:
            nn.init.normal_(parameter, generator=torch.Generator().manual_seed(0))
    return network


def images(*shapes: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]


def test_statistics_by_site(network: RestorationNetwork) -> None:
    statistics = adapter_statistics(network, images((16, 16), (9, 20)))
    assert list(statistics) == SITES
    for values in statistics.values():
        assert values["rank"] == 4
        assert 1 <= values["effective_rank_a"] <= 4
        assert 1 <= values["effective_rank_d"] <= 4
        assert 0 < values["varying_share_a"] < 1


def test_statistics_are_means_over_images(network: RestorationNetwork) -> None:
    one, two = images((16, 16), (12, 16))
    both = adapter_statistics(network, [one, two])["middle"]["effective_rank_a"]
    single = [adapter_statistics(network, [image])["middle"]["effective_rank_a"] for image in (one, two)]
    assert both == pytest.approx(np.mean(single))


def test_equal_images_do_not_vary(network: RestorationNetwork) -> None:
    image = images((16, 16))[0]
    assert adapter_statistics(network, [image, image])["middle"]["varying_share_a"] == pytest.approx(0, abs=1e-9)


def test_equal_queries_have_rank_one(network: RestorationNetwork) -> None:
    adapter = network.backbone.adapters()["middle"]
    with torch.no_grad():
        adapter.hyper.queries.copy_(adapter.hyper.queries[:1].expand_as(adapter.hyper.queries))
    values = adapter_statistics(network, images((16, 16)))["middle"]
    assert values["effective_rank_a"] == pytest.approx(1, abs=1e-3)
    assert values["effective_rank_d"] == pytest.approx(1, abs=1e-3)


def test_maps_are_the_coefficients_of_the_assembly(network: RestorationNetwork) -> None:
    image = images((13, 20))[0]
    maps = affinity_maps(network, image)
    assert {site: values.shape for site, values in maps.items()} == {
        "encoder_0": (4, 8, 10),  # padded to 16 x 20, then folded by the stem
        "middle": (4, 4, 5),
        "decoder_0": (4, 8, 10),
    }
    seen = []
    adapter = network.backbone.adapters()["encoder_0"]
    handle = adapter.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    with torch.no_grad():
        network(torch.from_numpy(image).permute(2, 0, 1)[None] / 255)
        x, adapted = seen[0]
        directions = adapter.hyper(x).directions[0]
    handle.remove()
    residual = torch.einsum("khw,kc->chw", torch.from_numpy(maps["encoder_0"]), directions)
    residual *= network.config.residual_scale
    torch.testing.assert_close(residual, (adapted - x)[0], rtol=1e-4, atol=1e-5)


def test_watching_leaves_no_trace(network: RestorationNetwork) -> None:
    affinity_maps(network, images((8, 8))[0])
    assert all(not module._forward_hooks for module in network.modules())


def test_plain_backbone_has_no_adapters_to_show() -> None:
    plain = build(CONFIG.model_copy(update={"adapter": "none"}))
    assert adapter_statistics(plain, images((8, 8))) == {}
    assert affinity_maps(plain, images((8, 8))[0]) == {}


def test_effective_rank_in_half_precision() -> None:
    assert effective_rank(torch.eye(4, 8, dtype=torch.bfloat16)).item() == pytest.approx(4)
