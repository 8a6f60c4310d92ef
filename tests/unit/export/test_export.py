"""``cea export``: what the files compute, at other sizes and in tiles; how a folder appears or does not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from cea import Restorer
from cea.cli.main import app
from cea.export import checks
from cea.export.programs import graphs
from cea.export.runner import Runner
from cea.extras import EXTRAS
from cea.io.images import read_rgb, write_image
from cea.levels import to_uint8
from cea.models.checkpoint import load_weights, save_weights
from cea.models.config import ModelConfig
from cea.models.network import RestorationNetwork, build
from cea.testing.degradations import picture
from cea.testing.models import awake

CONFIG = ModelConfig(
    width=8, encoder_blocks=(), decoder_blocks=(), middle_blocks=1, rank=2, refine=2, error_gate=True, constant=True
)
"""A small network with every part that the one in the package has, but the levels."""


def weights(folder: Path, config: ModelConfig = CONFIG) -> Path:
    save_weights(folder / "w.safetensors", awake(build(config, 0), 0.05), config, {"step": 3})
    return folder / "w.safetensors"


def run(*arguments: object):
    return CliRunner().invoke(app, [str(one) for one in arguments])


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Everything, once."""
    folder = tmp_path_factory.mktemp("export")
    done = run(
        *("export", "onnx", "torch", "hub", "spandrel", "-o", folder / "out", "--fp16", "--json"),
        *("--weights", weights(folder)),
    )
    assert done.exit_code == 0, done.output
    return {"folder": folder / "out", "told": json.loads(done.stdout), "said": done.stderr, "parent": folder}


@pytest.fixture(scope="module")
def network(exported: dict[str, Any]) -> RestorationNetwork:
    return load_weights(exported["parent"] / "w.safetensors")[0]


def test_every_extra_that_a_message_names_exists(root: Path):
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(EXTRAS.values()) <= set(project["optional-dependencies"])


@pytest.mark.slow
def test_every_graph_equals_pytorch_at_five_sizes(exported: dict[str, Any]):
    told = exported["told"]
    for rows in (told["onnx"], told["torch"]):
        assert [row["graph"] for row in rows] == [name for name in ("whole", "measure", "tile") for _ in range(5)]
        assert len({row["size"] for row in rows}) == 5
        assert max(row["fp32"] for row in rows) < 1e-4
    assert min(row["fp16_psnr"] for row in told["onnx"] if "fp16_psnr" in row) > 50
    assert told == json.loads((exported["folder"] / "export.json").read_text())
    assert "of 255" in exported["said"]


@pytest.mark.slow
def test_tiles_know_their_image(exported: dict[str, Any]):
    exact, parts, alone = exported["told"]["tiles"]
    assert exact["greatest"] < 0.05  # grey levels
    assert min(parts["mean"], alone["mean"]) > 10 * exact["mean"]


@pytest.mark.slow
def test_files_stand_alone_and_say_what_they_are(exported: dict[str, Any]):
    import onnx

    names = sorted(path.name for path in (exported["folder"] / "onnx").iterdir())
    assert names == sorted(
        ["run.py", *(f"{name}{kind}.onnx" for name in ("whole", "measure", "tile") for kind in ("", ".fp16"))]
    )
    assert set(exported["told"]["files"]) > {f"onnx/{name}" for name in names}
    for path in (exported["folder"] / "onnx").glob("*.onnx"):
        made = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(made, full_check=True)
        assert {one.domain: one.version for one in made.opset_import}[""] == 18
        assert not any(tensor.external_data for tensor in made.graph.initializer)
        said = {one.key: one.value for one in made.metadata_props}
        assert said["size_multiple"] == str(CONFIG.size_multiple)
        assert said["weights_sha256"] == exported["told"]["weights"]["sha256"]


@pytest.mark.slow
def test_the_example_of_the_page_needs_no_pytorch(
    exported: dict[str, Any], network: RestorationNetwork, root: Path, tmp_path: Path
):
    page = (root / "docs/export.md").read_text(encoding="utf-8")
    (block,) = [one for one in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "from run import" in one]
    write_image(tmp_path / "photo.png", to_uint8(picture((150, 199))))
    (tmp_path / "exported").symlink_to(exported["folder"])
    without = "import sys\nsys.modules.update(dict.fromkeys(['torch', 'cea', 'cv2']))\n"
    done = subprocess.run([sys.executable, "-c", without + block], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = Restorer(network).restore(read_rgb(tmp_path / "photo.png"), tile=0)
    difference = np.abs(read_rgb(tmp_path / "restored.png").astype(int) - expected)
    assert difference.mean() < 1
    assert (expected != read_rgb(tmp_path / "photo.png")).any()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_runner_gives_what_pytorch_gives(exported: dict[str, Any], network: RestorationNetwork, dtype: type):
    image = picture((140, 173)).astype(np.float32)
    full = 1 if dtype is np.float32 else np.iinfo(dtype).max
    photo = (image * full).astype(dtype) if dtype is np.float32 else np.rint(image * full).astype(dtype)
    runner = Runner(exported["folder"] / "onnx", threads=1)
    expected = Restorer(network).restore(photo, tile=0)
    for tile, part in ((0, 0), (128, 0)):
        restored = runner.restore(photo, tile=tile, part=part)
        assert restored.dtype == dtype
        assert np.abs(restored.astype(np.float64) - expected).max() <= full * 1e-4 + (dtype is not np.float32)


@pytest.mark.slow
def test_the_runner_refuses_what_it_cannot_take(exported: dict[str, Any]):
    runner = Runner(exported["folder"] / "onnx", threads=1)
    for image, tile in (
        (np.zeros((8, 8), np.uint8), 0),
        (np.zeros((8, 8, 3), np.int64), 0),
        (np.zeros((8, 8, 3), np.uint8), 64),
    ):
        with pytest.raises(ValueError, match="expected"):
            runner.restore(image, tile=tile)


@pytest.mark.slow
def test_a_network_of_maps_has_no_tiles(tmp_path: Path):
    path = weights(tmp_path, CONFIG.model_copy(update={"adapter": "film-local"}))
    assert [graph.name for graph in graphs(load_weights(path)[0])] == ["whole"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gguf"], "format gguf"),
        (["hub", "--fp16"], "--fp16 without onnx"),
        (["onnx", "--opset", "7"], "--opset"),
        (["hub", "--weights", "gone.safetensors"], "gone.safetensors: no such file"),
    ],
)
def test_wrong_options_are_one_line(tmp_path: Path, arguments: list[str], said: str):
    done = run("export", *arguments, "-o", tmp_path / "out")
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "library", "extra"),
    [("onnx", "onnxruntime", "onnx"), ("onnx", "onnxscript", "onnx"), ("hub", "huggingface_hub", "hub")],
)
def test_a_missing_library_names_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, library: str, extra: str
):
    monkeypatch.setitem(sys.modules, library, None)
    done = run("export", name, "-o", tmp_path / "out")
    assert done.exit_code == 2
    assert done.stderr.endswith(f"expected the extra '{extra}'; run: pip install 'cea[{extra}]'\n")
    assert list(tmp_path.iterdir()) == []


def test_only_an_export_is_replaced(tmp_path: Path):
    out, path = tmp_path / "out", weights(tmp_path)
    out.mkdir()
    (out / "letter.txt").write_text("mine")
    refused = run("export", "spandrel", "-o", out, "--weights", path, "--overwrite")
    assert refused.exit_code == 2
    assert "holds other files" in refused.stderr
    assert (out / "letter.txt").read_text() == "mine"
    (out / "letter.txt").unlink()
    assert run("export", "spandrel", "-o", out, "--weights", path).exit_code == 0
    assert "add --overwrite" in run("export", "spandrel", "-o", out, "--weights", path).stderr
    assert run("export", "spandrel", "-o", out, "--weights", path, "--overwrite").exit_code == 0
    assert {one.name for one in out.iterdir()} == {"export.json", "spandrel"}


def test_weights_that_name_code_are_not_imported(tmp_path: Path):
    config = CONFIG.model_copy(update={"adapter": "os:Gone"})
    save_weights(tmp_path / "w.safetensors", build(CONFIG, 0), config, {})
    done = run("export", "hub", "-o", tmp_path / "out", "--weights", tmp_path / "w.safetensors")
    assert done.exit_code == 2
    assert "run code of their own" in done.stderr


def test_the_check_pictures_are_in_range_and_repeat():
    one = checks.example(2, 20, 36)
    assert one.shape == (2, 3, 20, 36)
    assert 0 <= one.min() < one.max() <= 1
    assert torch.equal(one, checks.example(2, 20, 36))
