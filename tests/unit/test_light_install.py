"""A plain ``pip install cea``: the wheel alone restores and degrades, with nothing of the extras."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import numpy as np
import pytest

from cea.extras import EXTRAS
from cea.io.images import read_rgb, write_image
from cea.levels import to_uint8
from cea.testing.degradations import picture

pytestmark = pytest.mark.slow

LIGHT = {
    *("torch", "numpy", "opencv-python-headless", "pillow", "tifffile", "imagecodecs", "openexr", "pydantic"),
    *("ruamel.yaml", "safetensors", "typer", "tqdm"),
}
"""What may come with the package; more needs a reason."""

WITHOUT_EXTRAS = f"""
import sys
sys.modules.update(dict.fromkeys({sorted(EXTRAS)}))  # as if they were not installed
from cea.cli.main import app
app(sys.argv[1:], prog_name="cea")
"""


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel, laid out as ``pip`` would."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    listed = subprocess.run(
        [
            "git",
            "ls-files",
            "-co",
            "--exclude-standard",
            "cea",
            "pipeline",
            "*.toml",
            "setup.py",
            "README.md",
            "LICENSE",
        ],
        cwd=root,
        capture_output=True,
        text=True,
    )
    for name in listed.stdout.split():
        if (root / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((root / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), "."]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=300)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(wheel: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(wheel)}
    command = [sys.executable, "-c", WITHOUT_EXTRAS, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def test_only_light_libraries_are_required(wheel: Path):
    metadata = Parser().parsestr(next(wheel.glob("*.dist-info/METADATA")).read_text(encoding="utf-8"))
    required = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    names = {line.split(";")[0].split("[")[0].strip().rstrip("<>=,.0123456789 !~").lower() for line in required}
    assert names == LIGHT


def test_it_restores_and_degrades(wheel: Path, tmp_path: Path):
    write_image(tmp_path / "photo.png", to_uint8(picture((64, 80))))
    done = run(wheel, tmp_path, "restore", "photo.png", "-o", "restored.png")
    assert done.returncode == 0, done.stderr
    assert "the default restorer" in done.stdout
    assert (read_rgb(tmp_path / "restored.png") != read_rgb(tmp_path / "photo.png")).any()
    done = run(wheel, tmp_path, "degrade", "photo.png", "--recipe", "real/camera", "-o", "b.png", "--maps", "--record")
    assert done.returncode == 0, done.stderr
    assert np.shape(read_rgb(tmp_path / "b.png")) == (64, 80, 3)


def test_what_needs_more_says_so(wheel: Path, tmp_path: Path):
    for command in (["eval", "--data", "."], ["trace", "metrics/summary.json:gain_psnr"]):
        done = run(wheel, tmp_path, *command)
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: cea {command[0]} needs ")
        assert done.stderr.endswith("run: pip install 'cea[pipeline]'\n")
