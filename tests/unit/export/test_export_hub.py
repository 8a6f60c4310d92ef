"""Folders of a model hub: written, read, and handed to a hub, here a folder on disk."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard, hub_mixin

from cea import Restorer
from cea.errors import DataError
from cea.export.hub import HubNetwork, write
from cea.models.checkpoint import load_weights
from cea.models.config import ModelConfig
from cea.models.network import RestorationNetwork, build
from cea.testing.models import awake
from cea.weights.default import default_card

CONFIG = ModelConfig(width=8, encoder_blocks=(), decoder_blocks=(), middle_blocks=1, rank=2, key_cell=2)
IMAGE = torch.rand(1, 3, 17, 22, generator=torch.Generator().manual_seed(0))


def network() -> RestorationNetwork:
    return awake(build(CONFIG, 0), 0.05).eval()


def output(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(IMAGE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(network(), {"step": 3}, tmp_path / "hub")
    return tmp_path / "hub"


def test_the_mixin_and_the_restorer_read_it(folder: Path):
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    assert ModelConfig(**json.loads((folder / "config.json").read_text())) == CONFIG
    loaded = HubNetwork.from_pretrained(folder)
    assert torch.equal(output(loaded), output(network()))
    assert loaded.metadata == {"step": 3}
    assert not loaded.training
    restorer = Restorer.load(folder, device="cpu")
    assert restorer.metadata == {"step": 3}
    assert torch.equal(output(restorer.network), output(network()))


def test_the_card_says_whose_weights_these_are(folder: Path, tmp_path: Path):
    card = ModelCard.load(folder / "README.md")
    assert card.data.library_name == "cea"
    assert card.data.pipeline_tag == "image-to-image"
    assert card.data.license is None
    assert {"image-restoration", "pytorch_model_hub_mixin"} <= set(card.data.tags)
    assert "| step | 3 |" in card.text
    assert default_card()[:100] not in card.text  # not the data, the results, the licence of other weights


def test_the_default_weights_bring_their_card(tmp_path: Path):
    restorer = Restorer.load(device="cpu")
    assert isinstance(restorer.network, RestorationNetwork)
    write(restorer.network, restorer.metadata, tmp_path / "hub", sha256=restorer.sha256)
    card = ModelCard.load(tmp_path / "hub" / "README.md")
    assert card.data.license == "apache-2.0"
    assert default_card().strip() in card.text
    image = np.full((16, 24, 3), 0.3, np.float32)
    assert np.array_equal(Restorer.load(tmp_path / "hub", device="cpu").restore(image), restorer.restore(image))


def test_push_to_hub_uploads_the_folder(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The hub's client is replaced by one that copies; nothing goes over a network."""

    class Local:
        def __init__(self, token: str | None = None) -> None:
            pass

        def create_repo(self, repo_id: str, **_: object) -> SimpleNamespace:
            return SimpleNamespace(repo_id=repo_id)

        def upload_folder(self, *, repo_id: str, folder_path: Path, **_: object) -> str:
            shutil.copytree(folder_path, tmp_path / "remote" / repo_id)
            return repo_id

    monkeypatch.setattr(hub_mixin, "HfApi", Local)
    assert HubNetwork.from_pretrained(folder).push_to_hub("somebody/cea") == "somebody/cea"
    remote = tmp_path / "remote" / "somebody" / "cea"
    assert {path.name for path in remote.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    assert torch.equal(output(load_weights(remote / "model.safetensors")[0]), output(network()))


def test_a_configuration_of_other_weights_is_refused(folder: Path):
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, "key_cell": 1}))
    with pytest.raises(DataError, match=r"config\.json is not the configuration"):
        HubNetwork.from_pretrained(folder)
