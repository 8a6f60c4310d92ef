"""The exported graphs compute what the network computes, at other sizes as well; tiles have the image's context."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from cea import Restorer
from cea.extras import EXTRAS
from cea.models.config import ModelConfig
from cea.models.network import RestorationNetwork, build
from cea.testing.models import awake

CONFIG = ModelConfig(width=8, encoder_blocks=(1,), decoder_blocks=(1,), middle_blocks=1, rank=2, refine=4)


def network() -> RestorationNetwork:
    return awake(build(CONFIG, 0), 0.05).eval()


def test_every_extra_that_a_message_names_exists(root: Path):
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(EXTRAS.values()) <= set(project["optional-dependencies"])


@pytest.mark.slow
def test_graphs_and_tiles_equal_the_network(tmp_path: Path):
    for library in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(library)
    from benchmarks import export

    model = network()
    export.write(model, tmp_path)
    rows = export.check(model, tmp_path)
    assert len(rows) == 3 * len(export.SIZES)
    assert max(row["onnx"] for row in rows) < 1e-4
    assert max(row["pt2"] for row in rows) < 1e-4
    assert max(row["onnx.fp16"] for row in rows) < 0.05
    image = torch.rand(1, 3, 200, 270, generator=torch.Generator().manual_seed(0)).numpy()
    graphs = {name: export.session(tmp_path / f"{name}.onnx") for name in ("measure", "tile")}
    tiles = export.in_tiles(graphs, image, 128, model.size_multiple, every=1)
    with torch.no_grad():
        whole = model(torch.from_numpy(image)).clamp(0, 1).numpy()
    assert tiles.shape == image.shape
    assert np.abs(tiles - whole).mean() < 1e-3


@pytest.mark.slow
def test_a_hub_folder_is_loaded_as_weights(tmp_path: Path):
    pytest.importorskip("huggingface_hub")
    from benchmarks import export

    restorer = Restorer(network(), metadata={"step": 3})
    export.write_hub_folder(restorer, tmp_path / "hub")
    names = {path.name for path in (tmp_path / "hub").iterdir()}
    assert {"config.json", "model.safetensors", "README.md"} <= names
    loaded = Restorer.load(tmp_path / "hub", device="cpu")
    assert loaded.metadata == {"step": 3}
    image = np.full((16, 24, 3), 0.3, np.float32)
    assert np.array_equal(loaded.restore(image), restorer.restore(image))
    assert (tmp_path / "hub" / "README.md").read_text().startswith("---\n")
