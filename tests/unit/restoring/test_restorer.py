"""`Restorer`: where weights come from, and that what goes in comes out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PilImage

import cea
from cea import Restorer
from cea.errors import ConfigError, DataError, ImageError
from cea.inference import restore
from cea.io.images import read_photo, read_rgb, write_image
from cea.models.checkpoint import save_weights
from cea.models.config import ModelConfig
from cea.models.network import build
from cea.restoring import sources
from cea.weights.default import default_weights

CONFIG = ModelConfig(width=8, encoder_blocks=(1,), decoder_blocks=(1,), middle_blocks=1, rank=2)


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    """One that changes its input: an untrained network returns it."""
    network = build(CONFIG, 0)
    torch.nn.init.normal_(network.backbone.head.weight, std=0.02, generator=torch.Generator().manual_seed(1))
    torch.nn.init.constant_(network.backbone.head.bias, 0.05)
    return Restorer(network.eval())


def scene(channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(40, 200, (24, 32, channels), dtype=np.uint8)


def expected(restorer: Restorer) -> np.ndarray:
    return restore(restorer.network, scene())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
def test_arrays_keep_shape_and_dtype(restorer: Restorer, dtype: type):
    top = {"u": np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1, "f": 1}[np.dtype(dtype).kind]
    image = (scene() / 255 * top).round(0 if top > 1 else 9).astype(dtype)
    made = restorer.restore(image)
    assert (made.dtype, made.shape) == (image.dtype, image.shape)
    assert np.abs(made / top - expected(restorer)).max() < (0.003 if top == 255 or dtype is np.float16 else 2e-4)
    assert np.abs(made / top - image / top).mean() > 0.02


@pytest.mark.parametrize("shape", [(24, 32), (24, 32, 1), (24, 32, 2), (24, 32, 3), (24, 32, 4), (2, 24, 32, 3)])
def test_arrays_of_every_layout(restorer: Restorer, shape: tuple[int, ...]):
    image = np.random.default_rng(1).integers(40, 200, shape, dtype=np.uint8)
    made = restorer.restore(image)
    assert made.shape == shape
    assert (made != image).any()
    if shape[-1] in (2, 4):
        assert np.array_equal(made[..., -1], image[..., -1])


def test_a_batch_is_its_images_one_by_one(restorer: Restorer):
    batch = np.stack([scene(), scene()[::-1]])
    told: list[tuple[int, int]] = []
    made = restorer.restore(batch, progress=lambda done, total: told.append((done, total)))
    assert np.array_equal(made[0], restorer.restore(batch[0]))
    assert np.array_equal(made[1], restorer.restore(batch[1]))
    assert told == [(0, 2), (1, 2), (2, 2)]
    mixed = restorer.restore([scene(), torch.rand(3, 9, 7)])
    assert isinstance(mixed, list)
    assert isinstance(mixed[1], torch.Tensor)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3, 24, 32), (1, 24, 32), (2, 3, 24, 32), (2, 1, 24, 32)])
def test_tensors_keep_shape_and_dtype(restorer: Restorer, dtype: torch.dtype, shape: tuple[int, ...]):
    unit = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 0.7 + 0.1
    image = (unit * 255).to(dtype) if dtype is torch.uint8 else unit.to(dtype)
    made = restorer.restore(image)
    assert (made.dtype, made.shape, made.device) == (image.dtype, image.shape, image.device)
    assert (made.double() - image.double()).abs().mean() > (2 if dtype is torch.uint8 else 0.01)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
def test_pillows_modes_stay(restorer: Restorer, mode: str):
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "I;16": 1}[mode]
    pixels = scene(channels)[..., 0] if channels == 1 else scene(channels)
    image = PilImage.fromarray(pixels.astype(np.uint16) * 257 if mode == "I;16" else pixels)
    image.info["dpi"] = (300, 300)
    assert image.mode == mode
    made = restorer.restore(image)
    assert (made.mode, made.size, made.info["dpi"]) == (mode, image.size, (300, 300))
    assert (np.asarray(made) != np.asarray(image)).any()


def test_a_path_gives_what_the_file_holds(restorer: Restorer, tmp_path: Path):
    write_image(tmp_path / "deep.png", scene().astype(np.uint16) * 257)
    PilImage.fromarray(scene(4)).save(tmp_path / "alpha.png")
    assert restorer.restore(tmp_path / "deep.png").dtype == np.uint16
    made = restorer.restore(str(tmp_path / "alpha.png"))
    assert made.shape == (24, 32, 4)
    assert np.array_equal(made[..., 3], scene(4)[..., 3])


def test_a_file_into_a_file(restorer: Restorer, tmp_path: Path):
    image = PilImage.fromarray(scene())
    image.save(tmp_path / "a.png", dpi=(300, 300))
    assert restorer.restore_file(tmp_path / "a.png", tmp_path / "b.tif") == []
    assert np.array_equal(read_rgb(tmp_path / "b.tif"), restorer.restore(scene()))
    assert read_photo(tmp_path / "b.tif").dpi == pytest.approx((300, 300), abs=0.1)


def test_strength_is_a_share_or_a_map(restorer: Restorer):
    image = scene().astype(np.float32) / 255
    whole, half = restorer.restore(image), restorer.restore(image, strength=0.5)
    assert np.abs(half - (image + whole) / 2).max() < 1e-6
    mask = np.zeros((24, 32))
    mask[:, 16:] = 1
    masked = restorer.restore(image, strength=mask)
    assert np.allclose(masked[:, :16], image[:, :16], atol=1e-6)
    assert np.allclose(masked[:, 16:], whole[:, 16:], atol=1e-6)


def test_tiles_tell_how_far_they_are(restorer: Restorer):
    told: list[tuple[int, int]] = []
    large = np.tile(scene(), (6, 5, 1))
    whole = restorer.restore(large)
    tiled = restorer.restore(large, tile=128, progress=lambda done, total: told.append((done, total)))
    assert told[0][0] == 0
    assert told[-1][0] == told[-1][1] > 2
    assert np.abs(tiled.astype(int) - whole).max() <= 2


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (scene().astype(np.float32), "expected [0, 1]"),
        (np.full((8, 8, 3), np.nan), "expected [0, 1]"),
        (scene().astype(np.int32), "dtype int32"),
        (np.zeros((3, 24, 32), np.uint8), "put channels last"),
        (np.zeros((0, 4, 3), np.uint8), "shape (0, 4, 3)"),
        (torch.zeros(24, 32, 3), "put channels first"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), "torch.int64"),
        (PilImage.new("P", (4, 4)), "image.convert('RGB')"),
        (7, "type int"),
        (Path("no such.png"), "no such.png"),
    ],
)
def test_what_is_no_image_is_refused(restorer: Restorer, image: object, says: str):
    with pytest.raises(ImageError) as error:
        restorer.restore(image)  # type: ignore[call-overload]
    assert says in str(error.value)


@pytest.mark.parametrize("strength", [-0.1, 1.5, float("nan")])
def test_a_strength_out_of_range_is_refused(restorer: Restorer, strength: float):
    with pytest.raises(ConfigError, match="from 0 to 1"):
        restorer.restore(scene(), strength=strength)


def test_weights_from_package_file_and_folder(tmp_path: Path):
    save_weights(tmp_path / "hub" / "model.safetensors", build(CONFIG, 0), CONFIG, {"step": 7})
    file, folder = Restorer.load(tmp_path / "hub" / "model.safetensors"), Restorer.load(tmp_path / "hub")
    assert file.sha256 == folder.sha256 != ""
    assert file.metadata == {"step": 7}
    assert file.device.type in ("cpu", "cuda")
    default = Restorer.load(device="cpu")
    assert default.metadata["step"] > 1000
    assert "default restorer" in repr(default)
    assert np.array_equal(default.restore(scene()), Restorer.load(default_weights()).restore(scene()))


def test_weights_that_are_not_there_are_named(tmp_path: Path):
    with pytest.raises(DataError, match="no such file"):
        Restorer.load(tmp_path / "gone.safetensors")
    with pytest.raises(DataError, match=r"no \.safetensors files"):
        Restorer.load(tmp_path)
    for name in "ab":
        save_weights(tmp_path / f"{name}.safetensors", build(CONFIG, 0), CONFIG, {})
    with pytest.raises(DataError, match=r"2 \.safetensors files"):
        Restorer.load(tmp_path)


def test_a_device_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="device 'tpuu'"):
        Restorer.load(device="tpuu")


def test_mlflow_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cea.extras.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"models:/x needs mlflow.*pip install '\.\[pipeline\]'"):
        Restorer.load("models:/x")


def test_a_project_without_runs_gets_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(DataError, match=r"mlflow\.db: no such file"):
        Restorer.load("models:/x")
    assert list(tmp_path.iterdir()) == []


def test_what_mlflow_gives_is_loaded_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    places: list[Path] = []

    def fetched(uri: str, folder: Path) -> Path:
        assert uri == "runs:/1/restorer"
        save_weights(folder / "restorer/data/weights.safetensors", build(CONFIG, 0), CONFIG, {"step": 3})
        places.append(folder)
        return folder / "restorer"

    monkeypatch.setattr(sources, "fetch", fetched)
    loaded = Restorer.load("runs:/1/restorer")
    assert (loaded.name, loaded.metadata) == ("runs:/1/restorer", {"step": 3})
    assert not places[0].exists()


def test_importing_cea_imports_nothing_heavy():
    code = (
        "import sys, cea, cea.degradations; "
        "print(sorted({'torch', 'numpy', 'cv2', 'pydantic', 'mlflow', 'PIL', 'importlib.metadata'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_light_doors_open_no_heavy_room():
    """Restoring and degrading need nothing of the extra ``pipeline``."""
    code = (
        "import sys\n"
        "from cea import OnTheFly, Restorer\n"
        "from cea.degradations import degrade\n"
        "import cea.restoring.restorer, cea.cli.main, cea.degradations.tools.files\n"
        "from cea.extras import EXTRAS\n"
        "print(sorted(set(EXTRAS) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_package_says_what_it_has():
    assert {"Restorer", "OnTheFly", "__version__"} <= set(dir(cea))
    assert cea.__version__.count(".") >= 1
    with pytest.raises(AttributeError, match="Restorr"):
        _ = cea.Restorr
