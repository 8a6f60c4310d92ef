"""What dvc.lock says of a project: which command made which file, from what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cea.errors import DataError, foreign
from cea.io.documents import read_yaml


@dataclass(frozen=True)
class LockedStage:
    """One stage as it last ran.

    Attributes:
        name: as DVC addresses it, ``shard@low_haze``.
        command: what was run.
        inputs: path -> DVC digest (MD5, ``.dir`` for folders).
        outputs: the same.
        params: dotted key -> value, of params.yaml.
    """

    name: str
    command: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Project:
    """A folder with a dvc.lock, and the stages in it by name."""

    root: Path
    stages: Mapping[str, LockedStage]

    def instances(self, stage: str) -> Iterator[LockedStage]:
        """The stage of that name, or every ``stage@...`` made of it, in the order of dvc.lock."""
        return (one for name, one in self.stages.items() if name.split("@")[0] == stage)

    def maker(self, path: Path) -> LockedStage | None:
        """The stage that wrote ``path`` (relative to the root, or absolute) or a folder above it."""
        inside = self._relative(path)
        if inside is None:
            return None
        above = {str(inside), *map(str, inside.parents)}
        return next((one for one in self.stages.values() if above & set(one.outputs)), None)

    def chain(self, stage: LockedStage) -> list[LockedStage]:
        """``stage`` and all that it needed, what ran first in front; each once."""
        ordered: dict[str, LockedStage] = {}
        for path in stage.inputs:
            maker = self.maker(self.root / path)
            if maker is not None and maker.name != stage.name:
                ordered |= {one.name: one for one in self.chain(maker)}
        return list((ordered | {stage.name: stage}).values())

    def _relative(self, path: Path) -> PurePosixPath | None:
        whole = (self.root / path).resolve()
        if not whole.is_relative_to(self.root.resolve()):
            return None
        return PurePosixPath(whole.relative_to(self.root.resolve()).as_posix())


def open_project(root: Path) -> Project:
    """The project at ``root``.

    Raises:
        DataError: no dvc.lock there, or not one that DVC wrote.
    """
    path = root / "dvc.lock"
    if not path.exists():
        raise DataError(
            f"{path}: no such file",
            expected="a project whose pipeline has run",
            remedy="run this in the project's folder, or pass --project",
        )
    remedy = "git checkout dvc.lock, or run dvc repro"
    lock = read_yaml(path, expected="what DVC wrote", remedy=remedy)
    with foreign(f"{path}: not a dvc.lock", expected="what DVC wrote", remedy=remedy):
        return Project(root, {name: _stage(name, entry) for name, entry in lock["stages"].items()})


def _stage(name: str, entry: Mapping[str, Any]) -> LockedStage:
    params = {key: value for values in entry.get("params", {}).values() for key, value in values.items()}
    return LockedStage(name, str(entry["cmd"]), _digests(entry, "deps"), _digests(entry, "outs"), params)


def _digests(entry: Mapping[str, Any], kind: str) -> dict[str, str]:
    return {one["path"]: one.get("md5", "") for one in entry.get(kind, [])}
