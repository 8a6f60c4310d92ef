"""The Dockerfiles of docs/docker name what is there, install by the lock, and do not run as root."""

from __future__ import annotations

import importlib.util
import re
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FILES = ("restore", "pipeline")


@pytest.fixture
def folder(root: Path) -> Path:
    return root / "docs/docker"


def copied(text: str) -> list[str]:
    """What is copied from the project's folder."""
    lines = [line.split()[1:-1] for line in text.splitlines() if line.startswith("COPY ") and "--from=" not in line]
    return [name for line in lines for name in line]


@pytest.mark.parametrize("name", FILES)
def test_what_is_copied_exists_and_is_not_ignored(root: Path, folder: Path, name: str):
    sources = copied((folder / f"{name}.Dockerfile").read_text(encoding="utf-8"))
    ignore = (folder / f"{name}.Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignore
    assert {line[1:] for line in ignore if line.startswith("!")} == set(sources)
    for source in sources:
        assert (root / source).exists(), source


@pytest.mark.parametrize("name", FILES)
def test_it_runs_as_a_user_and_installs_by_digest(folder: Path, name: str):
    text = (folder / f"{name}.Dockerfile").read_text(encoding="utf-8")
    assert int(re.findall(r"^USER (\d+)$", text, re.MULTILINE)[-1]) > 0
    for command in re.findall(r"pip install ([^\\\n]+)", text):
        assert "--require-hashes" in command or command.strip().endswith("--no-deps --no-build-isolation .")


def test_modules_of_the_command_are_there(folder: Path):
    text = (folder / "pipeline.Dockerfile").read_text(encoding="utf-8")
    modules = re.findall(r"-m (pipeline\.[\w.]+)", text)
    assert len(modules) == 3
    assert all(importlib.util.find_spec(module) for module in modules)


def needed(package: str, found: set[str]) -> set[str]:
    """All that ``package`` installs without extras, here."""
    for text in requires(package) or []:
        wanted = Requirement(text)
        name = canonicalize_name(wanted.name)
        if (wanted.marker is None or wanted.marker.evaluate({"extra": ""})) and name not in found:
            found.add(name)
            needed(name, found)
    return found


def test_the_list_for_restoring_is_what_a_plain_installation_needs(root: Path, folder: Path):
    names = (folder / "restore.txt").read_text(encoding="utf-8").split()
    assert {canonicalize_name(name) for name in names} == needed("cea", {"setuptools"})
    locked = (root / "requirements.sha256").read_text(encoding="utf-8")
    for name in names:  # as the Dockerfile's grep finds them
        assert re.search(rf"^{name}==\S+ --hash=sha256:[0-9a-f]{{64}}$", locked, re.MULTILINE), name


def test_the_page_builds_files_that_exist(root: Path):
    page = (root / "docs/docker.md").read_text(encoding="utf-8")
    built = re.findall(r"docker build -f (\S+)", page)
    assert {(root / file).name for file in built} == {f"{name}.Dockerfile" for name in FILES}
    assert all((root / file).is_file() for file in built)
