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
from torch import Tensor, nn
from typer.testing import CliRunner

from cea import Restorer
from cea.cli.main import app
from cea.export import checks, programs
from cea.export.runner import Runner
from cea.extras import EXTRAS
from cea.io.images import file_sha256, read_rgb, write_image
from cea.levels import to_uint8
from cea.models.adapters.registry import ADAPTERS
from cea.models.checkpoint import load_weights, save_weights
from cea.models.config import ModelConfig
from cea.models.network import RestorationNetwork, build
from cea.testing.degradations import picture
from cea.testing.models import awake
from cea.weights.default import default_weights

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
@pytest.mark.parametrize("adapter", sorted({*ADAPTERS} - {"cea", "film-local"}))  # of cea are the other tests
def test_every_adapter_is_exported(tmp_path: Path, adapter: str):
    """Both formats equal PyTorch at five sizes."""
    path = weights(tmp_path, CONFIG.model_copy(update={"adapter": adapter}))
    done = run("export", "onnx", "torch", "-o", tmp_path / "out", "--weights", path, "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert ("tile" in told["graphs"]) == (adapter != "prompt")  # which measures a map
    for rows in (told["onnx"], told["torch"]):
        assert len({row["size"] for row in rows}) == 5
        assert max(row["fp32"] for row in rows) < 1e-4


@pytest.mark.slow
def test_film_local_is_exported_to_onnx_and_refused_by_torch(tmp_path: Path):
    """Tracing tells images that fill its cells from others; ONNX keeps both."""
    path = weights(tmp_path, CONFIG.model_copy(update={"adapter": "film-local"}))
    done = run("export", "onnx", "-o", tmp_path / "out", "--weights", path, "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["graphs"] == ["whole"]
    assert max(row["fp32"] for row in told["onnx"]) < 1e-4
    refused = run("export", "onnx", "torch", "-o", tmp_path / "both", "--weights", path)
    assert refused.exit_code == 2
    (line,) = [one for one in refused.stderr.splitlines() if one.startswith("error: ")]
    assert line.startswith("error: torch.export: whole refuses an image of ")
    assert line.endswith("; leave the format torch out: onnx takes any size")
    assert not (tmp_path / "both").exists()


@pytest.mark.slow
def test_the_weights_of_the_package_through_onnx(tmp_path: Path):
    """Single and half precision at five sizes, each with its own tolerance; tiles that know their image."""
    done = run("export", "onnx", "--fp16", "-o", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["weights"]["sha256"] == file_sha256(default_weights())
    assert len({row["size"] for row in told["onnx"]}) == 5
    assert max(row["fp32"] for row in told["onnx"]) < 1e-4
    pixels = [row for row in told["onnx"] if row["graph"] != "measure"]
    assert max(row["fp16"] for row in pixels) < 4e-3
    assert min(row["fp16_psnr"] for row in pixels) > 70
    exact, parts, alone = told["tiles"]
    assert exact["greatest"] < 0.1  # grey levels
    assert exact["mean"] < 0.1 * parts["mean"] < 0.1 * alone["mean"]
    (line,) = [one for one in done.stderr.splitlines() if "measured whole" in one]
    assert f"mean {exact['mean']:.3f}, greatest {exact['greatest']:.2f} levels of 255" in line


class Wrong(nn.Module):
    """The network, but for one pixel."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        restored = self.network(image).clone()
        restored[..., 1, 2] += 2e-4
        return restored


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("onnx", "ONNX: whole at 1x4x4 differs from PyTorch by 2.0e-04"),
        ("torch", "torch.export: whole at 1x4x4 differs from PyTorch by 2.0e-04"),
    ],
)
def test_what_differs_is_not_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str):
    """A program of another network than that which it is compared with; an earlier export stays as it was."""
    path, out = weights(tmp_path, CONFIG.model_copy(update={"adapter": "prompt"})), tmp_path / "out"
    assert run("export", "spandrel", "-o", out, "--weights", path).exit_code == 0
    before = {one: one.read_bytes() for one in out.rglob("*") if one.is_file()}
    exported = programs._exported
    monkeypatch.setattr(programs, "_exported", lambda module, *others: exported(Wrong(module), *others))
    done = run("export", name, "-o", out, "--weights", path, "--overwrite")
    assert done.exit_code == 2
    (line,) = [one for one in done.stderr.splitlines() if one.startswith("error: ")]
    assert line.startswith(f"error: {said}")
    assert line.endswith("; expected at most 0.0001; report it with the configuration of the weights")
    assert {one: one.read_bytes() for one in out.rglob("*") if one.is_file()} == before
    assert {one.name for one in tmp_path.iterdir()} == {"out", "w.safetensors"}


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
    assert done.stderr.endswith(f"expected the extra '{extra}'; run in cea's clone: pip install '.[{extra}]'\n")
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
