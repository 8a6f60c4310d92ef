"""spandrel loads our weights once the architecture is registered. Its own part is skipped where it is not installed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import cea.export.spandrel as adapter
from cea.errors import ConfigError, DataError
from cea.inference import DEFAULT_TILE, restore
from cea.models.checkpoint import load_weights, save_weights
from cea.models.config import ModelConfig
from cea.models.network import RestorationNetwork, build
from cea.testing.models import awake
from cea.weights.default import default_weights

CONFIG = ModelConfig(width=8, encoder_blocks=(), decoder_blocks=(), middle_blocks=1, rank=2, key_cell=2)


def network(config: ModelConfig = CONFIG) -> RestorationNetwork:
    return awake(build(config, 0), 0.05).eval()


@pytest.fixture
def spandrel() -> Any:
    try:
        import spandrel
    except Exception as error:  # torchvision of another build fails in its own ways
        pytest.skip(f"spandrel does not import here ({type(error).__name__}: {error}); pip install spandrel")
    return spandrel


@pytest.fixture
def registry(spandrel: Any) -> Any:
    copy = spandrel.MAIN_REGISTRY.copy()
    assert adapter.register(copy)
    return copy


def test_the_file_tells_its_configuration(tmp_path: Path):
    adapter.write(network(), tmp_path / "model.safetensors")
    tensors = load_file(tmp_path / "model.safetensors")
    assert adapter.detect(tensors)
    assert adapter.config_of(tensors) == CONFIG
    assert tensors.keys() - {adapter.CONFIG_KEY} == network().state_dict().keys()


def test_the_default_weights_are_known_and_others_are_not_guessed(tmp_path: Path):
    own = load_file(default_weights())
    assert adapter.detect(own)
    assert adapter.config_of(own) == load_weights(default_weights())[0].config
    save_weights(tmp_path / "w.safetensors", network(), CONFIG, {})
    others = load_file(tmp_path / "w.safetensors")
    assert adapter.detect(others)
    with pytest.raises(DataError, match="cea export spandrel"):
        adapter.config_of(others)


def test_code_that_a_file_names_is_not_imported(tmp_path: Path):
    named = network()
    named.config = CONFIG.model_copy(update={"block": "os:Gone"})
    adapter.write(named, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match="run code of their own"):
        adapter.config_of(load_file(tmp_path / "model.safetensors"))


def test_large_images_are_tiled_inside(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(adapter, "WHOLE_PIXELS", 100)
    monkeypatch.setattr(adapter, "DEFAULT_TILE", 128)
    image = torch.rand(1, 3, 130, 140, generator=torch.Generator().manual_seed(1))
    expected = restore(network(), image[0].permute(1, 2, 0).numpy(), tile=128)
    assert torch.equal(adapter.restored(network(), image)[0].permute(1, 2, 0), torch.from_numpy(expected))
    assert DEFAULT_TILE > 128


def test_without_spandrel_one_line_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(ConfigError, match="pip install spandrel"):
        adapter.register()


@pytest.mark.slow
def test_the_loader_gives_a_descriptor(spandrel: Any, registry: Any, tmp_path: Path):
    adapter.write(network(), tmp_path / "model.safetensors")
    loaded = spandrel.ModelLoader(registry=registry).load_from_file(tmp_path / "model.safetensors")
    assert isinstance(loaded, spandrel.ImageModelDescriptor)
    assert (loaded.architecture.id, loaded.purpose, loaded.scale) == ("CEA", "Restoration", 1)
    assert (loaded.input_channels, loaded.output_channels) == (3, 3)
    assert loaded.tiling is spandrel.ModelTiling.INTERNAL
    assert loaded.size_requirements.none  # the network pads by itself
    image = torch.rand(1, 3, 19, 33, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(loaded(image), network()(image).clamp(0, 1))
    half = loaded.to(torch.bfloat16)(image.bfloat16())
    assert half.dtype is torch.bfloat16
    assert not adapter.register(registry)  # once is enough


@pytest.mark.slow
def test_the_loader_takes_the_weights_of_the_package_as_they_are(spandrel: Any, registry: Any):
    loaded = spandrel.ModelLoader(registry=registry).load_from_file(default_weights())
    image = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(loaded(image), load_weights(default_weights())[0](image).clamp(0, 1))
