"""A plain ``pip install cea``: the wheel alone restores and degrades, with nothing of the extras."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from email.parser import Parser
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from typer.main import get_command

from cea.cli.main import app
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

WITHOUT_THEM = """
import sys
sys.modules.update(dict.fromkeys({absent}))  # as if they were not installed
from cea.cli.main import app
app(sys.argv[1:], prog_name="cea")
"""

COMMANDS: dict[str, list[tuple[str, str]]] = {
    "app": [("--no-browser", "app")],
    "cost": [("--size tiny --count-only", "")],
    "degrade": [("photo.png --recipe real/camera -o b.png --maps --record", "")],
    "doctor": [("--json", "")],
    "eval": [("--data .", "pipeline")],
    "export": [
        ("spandrel -o out/s", ""),
        ("hub -o out/h", "hub"),
        ("onnx -o out/o", "onnx"),
    ],
    "gallery": [("-o out/g", "pipeline"), ("-o out/g --photo photo.png", "albumentations")],
    "reproduce": [("metrics/report.html", "pipeline")],
    "restore": [("photo.png -o restored.png", ""), ("photo.png -o r.png --weights runs:/a/model", "pipeline")],
    "runs": [("", "pipeline"), ("--sync", "pipeline"), ("--delete a-run", "pipeline")],
    "trace": [("metrics/summary.json:gain_psnr", "pipeline")],
    "ui": [("--no-browser", "pipeline")],
}
"""Every command -> arguments, and the extra that they need; '' where a plain installation will do."""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def brought(name: str) -> set[str]:
    """``name`` and all that is installed with it, but for what its extras bring."""
    found, ahead = set(), [name]
    while ahead:
        found.add(normal(current := ahead.pop()))
        try:
            lines = requires(current) or []
        except PackageNotFoundError:  # of another platform
            continue
        needed = [one for one in map(Requirement, lines) if not one.marker or one.marker.evaluate({"extra": ""})]
        ahead += [one.name for one in needed if normal(one.name) not in found]
    return found


@pytest.fixture(scope="module")
def absent() -> list[str]:
    """What can be imported here and is not there after a plain ``pip install cea``."""
    there = brought("cea")
    modules = [name for name, owners in packages_distributions().items() if not there & {normal(one) for one in owners}]
    assert {"mlflow", "dvc", "lightning", "polars", "sklearn", "nicegui"} < set(modules)
    assert not {"torch", "numpy", "typer", "filelock"} & set(modules)
    return sorted({*modules, *EXTRAS} - {"filelock", "jinja2", "fsspec"})  # these come with torch


@pytest.fixture(scope="module")
def source(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What git has of the package, alone, and what an earlier build left."""
    folder = tmp_path_factory.mktemp("source")
    wanted = ("cea", "pipeline", "*.toml", "setup.py", "README.md", "LICENSE")
    command = ["git", "ls-files", "-co", "--exclude-standard", *wanted]
    for name in subprocess.run(command, cwd=root, capture_output=True, text=True).stdout.split():
        if (root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((root / name).read_bytes())
    exact = "cea/degradations/exact"
    left = f"build/lib.{sysconfig.get_platform()}-{sys.implementation.cache_tag}/{exact}"
    for place in (folder / exact, folder / left):
        place.mkdir(parents=True, exist_ok=True)
        (place / f"kernels{EXTENSION_SUFFIXES[0]}").write_bytes(b"of another Python, and too old")
    return folder


def built(source: Path, folder: Path, **environment: str) -> Path:
    """The wheel that ``pip`` makes of ``source``."""
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), "."]
    environment = {**os.environ, **environment}
    subprocess.run(command, cwd=source, env=environment, check=True, capture_output=True, timeout=300)
    (made,) = folder.glob("*.whl")
    return made


def libraries(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return [Path(name).name for name in archive.namelist() if re.search(r"/kernels\..*(so|pyd)$", name)]


@pytest.fixture(scope="module")
def archive(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(source, tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def wheel(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel, laid out as ``pip`` would."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
    return folder


@pytest.fixture
def bare(wheel: Path, absent: list[str], tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``cea ARGUMENTS`` of the wheel, beside the picture photo.png, where nothing else is installed."""
    write_image(tmp_path / "photo.png", to_uint8(picture((64, 80))))

    def run(arguments: str, **others: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(wheel)} | others
        command = [sys.executable, "-c", WITHOUT_THEM.format(absent=absent), *arguments.split()]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)

    return run


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_one_wheel_serves_every_python(archive: Path, wheel: Path):
    """The loops are loaded by ctypes, so neither they nor the wheel are of one Python; nothing old comes along."""
    assert re.fullmatch(r"cea-[\d.]+-py3-none-(?!any)\w+\.whl", archive.name)
    assert libraries(archive) == [f"kernels{EXTENSION_SUFFIXES[-1]}"] * 2
    told = Parser().parsestr(next(wheel.glob("*.dist-info/WHEEL")).read_text(encoding="utf-8"))
    assert (told["Root-Is-Purelib"], told["Tag"]) == ("false", "-".join(archive.stem.split("-")[2:]))
    code = (
        "from cea.degradations.exact import compiled as loops; from cea.models.fused import compiled as block; "
        "print(loops.LIBRARY._name, block.LIBRARY._name)"
    )
    environment = {**os.environ, "PYTHONPATH": str(wheel)}
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd="/", env=environment, capture_output=True, text=True)
    found = [Path(name).parent.relative_to(wheel).as_posix() for name in done.stdout.split()]
    assert found == ["cea/degradations/exact", "cea/models/fused"], done.stderr


def test_without_a_compiler_the_wheel_is_for_every_machine(source: Path, archive: Path, tmp_path: Path):
    made = built(source, tmp_path, CC="false")
    assert re.fullmatch(r"cea-[\d.]+-py3-none-any\.whl", made.name)
    assert libraries(made) == []


def test_only_light_libraries_are_required(wheel: Path):
    metadata = Parser().parsestr(next(wheel.glob("*.dist-info/METADATA")).read_text(encoding="utf-8"))
    required = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    names = {line.split(";")[0].split("[")[0].strip().rstrip("<>=,.0123456789 !~").lower() for line in required}
    assert names == LIGHT


def test_it_restores_and_degrades(bare: Callable[[str], subprocess.CompletedProcess[str]], tmp_path: Path):
    done = bare("restore photo.png -o restored.png")
    assert done.returncode == 0, done.stderr
    assert "the default restorer" in done.stdout
    assert (read_rgb(tmp_path / "restored.png") != read_rgb(tmp_path / "photo.png")).any()
    done = bare("degrade photo.png --recipe real/camera -o b.png --maps --record")
    assert done.returncode == 0, done.stderr
    assert np.shape(read_rgb(tmp_path / "b.png")) == (64, 80, 3)


def test_every_command_is_tried():
    assert set(COMMANDS) == set(get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "arguments", "extra"), [(name, *one) for name, all in COMMANDS.items() for one in all]
)
def test_a_command_works_or_names_its_extra(
    name: str, arguments: str, extra: str, bare: Callable[[str], subprocess.CompletedProcess[str]], tmp_path: Path
):
    done = bare(f"{name} {arguments}")
    if not extra:
        assert done.returncode in ((0, 1) if name == "doctor" else (0,)), done.stderr
        assert "not installed" not in done.stdout + done.stderr
        return
    assert done.returncode == 2
    subject = "runs:/a/model" if "--weights" in arguments else f"cea {name}"
    assert re.fullmatch(
        rf"error: {subject}[^;]* needs \w+, which is not installed; expected the extra '{extra}'; "
        rf"run in cea's clone: pip install '.\[{extra}\]'\n",
        done.stderr,
    )
    assert done.stdout == ""
    assert not (tmp_path / "out").exists()


def test_doctor_looks_at_the_rest_where_a_store_is_named(bare: Callable[..., subprocess.CompletedProcess[str]]):
    done = bare("doctor", MLFLOW_TRACKING_URI="sqlite:///runs.db")
    assert done.returncode in (0, 1), done.stderr
    assert "MLflow is not installed" in done.stdout
    assert "MLFLOW_TRACKING_URI=sqlite:///runs.db" in done.stdout
