"""Photographs of one's own, which git does not hold: in another clone, in an experiment's own folder, by links."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from cea.data.sources.bundled import Bundled, BundledConfig
from tests.pipeline.test_full_run import Project, copied
from tests.pipeline.test_reproduce import tiny

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

NAMES = ["astronaut", "coffee", "chelsea"]


def own(params: dict[str, Any]) -> None:
    tiny(params)
    params["recipes"] = {"noise": params["recipes"]["noise"]}
    params["ingest"]["source"] = "folder"
    params["ingest"]["leaves"] |= {"count": 2, "val_count": 1}


def photographs(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for one in Bundled(BundledConfig(names=NAMES)).items():
        shutil.copy2(one.path, folder)
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Three photographs in data/raw/mine, taken in; the lock is committed."""
    project = copied(tmp_path_factory.mktemp("own") / "project", own, photograph=False)
    photographs(project.folder / "data/raw/mine")
    project.run("dvc", "repro", "ingest")
    commit(project)
    return project


def commit(project: Project) -> None:
    project.run("git", "add", "-A")
    project.run("git", "commit", "-q", "-m", "state")


def cloned(project: Project, folder: Path) -> Project:
    """Another clone, with what has been made, out of the same cache."""
    project.run("git", "clone", "-q", str(project.folder), str(folder))
    clone = Project(folder)
    clone.run("dvc", "cache", "dir", str(project.folder / ".dvc/cache"), "--local")
    clone.run("dvc", "checkout", "--allow-missing", check=False)
    return clone


def made(project: Project) -> dict[str, bytes]:
    folders = [project.folder / "data" / name for name in ("clean", "code")]
    return {str(path): path.read_bytes() for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_clone_without_them_refuses_in_one_line_and_keeps_everything(project: Project, tmp_path: Path):
    clone = cloned(project, tmp_path / "clone")
    before = made(clone)
    assert any("clean.parquet" in name for name in before)
    done = clone.run("dvc", "repro", "ingest", check=False)
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert said.startswith("error: data/raw: no image files; expected files ending in ")
    assert done.returncode != 0
    assert made(clone) == before
    assert not clone.run("git", "status", "--porcelain").stdout
    pipeline = (clone.folder / "dvc.yaml").read_text()
    (clone.folder / "dvc.yaml").write_text(pipeline.replace("  ingest:\n", "  ingest:\n    frozen: true\n", 1))
    clone.run("dvc", "repro", "synthesize@noise")
    assert (clone.folder / "data/records/noise.parquet").is_file()
    assert made(clone) == before


def test_a_linked_folder_that_dvc_would_not_watch_is_refused_by_name(project: Project, tmp_path: Path):
    clone = cloned(project, tmp_path / "clone")
    before = made(clone)
    (clone.folder / "data/raw/linked").symlink_to(photographs(tmp_path / "elsewhere"))
    done = clone.run("dvc", "repro", "--force", "--single-item", "code", check=False)
    assert "error: data/raw/linked: a link to a folder, whose files DVC does not see; " in done.stderr
    assert done.returncode != 0
    assert made(clone) == before


def test_an_experiment_in_a_folder_of_its_own_says_so_or_takes_them_along(project: Project):
    experiment = ("dvc", "exp", "run", "--temp", "ingest")
    alone = project.run(*experiment, "-S", "ingest.min_side=65", check=False)
    assert alone.returncode != 0
    assert "error: data/raw: no image files; " in alone.stdout + alone.stderr
    project.run(*experiment, "-S", "ingest.min_side=66", "-C", "data/raw/mine", "-n", "carried")
    assert "carried" in project.run("dvc", "exp", "list", "--name-only").stdout


def test_tracked_ones_are_in_every_clone_and_in_every_experiment(project: Project, tmp_path: Path):
    project.run("dvc", "add", "data/raw/mine")
    project.run("git", "add", "data/raw/mine.dvc")
    project.run("dvc", "repro", "ingest")
    commit(project)
    clone = cloned(project, tmp_path / "clone")
    assert sorted(path.name for path in (clone.folder / "data/raw/mine").iterdir()) == sorted(
        path.name for path in (project.folder / "data/raw/mine").iterdir()
    )
    assert "Running stage" not in clone.run("dvc", "repro", "ingest").stdout
    project.run("dvc", "exp", "run", "--temp", "ingest", "-S", "ingest.min_side=67", "-n", "tracked")
    assert "tracked" in project.run("dvc", "exp", "list", "--name-only").stdout
