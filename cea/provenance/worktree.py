"""The code and the raw input of a recorded run, laid out again in a temporary folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from cea.errors import DataError
from cea.io import child
from cea.io.images import write_bytes
from cea.lineage.facts import UNKNOWN, git
from cea.lineage.record import Source, md5, switches


@contextmanager
def checked_out(source: Source, keep: bool = False) -> Iterator[Path]:
    """The project's folder in a temporary worktree of the current repository: commit, difference, untracked files.

    Args:
        source: what to lay out.
        keep: leave the folder where it is afterwards. Otherwise it goes, after an error, too, and a signal
            (`cea.io.child.tidy_on_signal`).

    Raises:
        DataError: the commit is unknown or not in this repository, or the difference does not apply to it.
    """
    require_commit(source)
    folder = Path(mkdtemp(prefix="cea-reproduce-")).resolve()
    tree = folder / "tree"
    try:
        add = ["git", "worktree", "add", "--detach", str(tree), source.commit]
        if child.run(add, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) != 0:  # after a signal git tidies up
            raise DataError(
                f"git worktree add {tree} {source.commit}: git refused",
                expected="a worktree",
                remedy="git worktree prune",
            )
        _apply(source.difference, tree)
        project = tree / source.prefix
        for path, data in source.untracked.items():
            write_bytes(_inside(project, path), data)
        yield project
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
            git("worktree", "remove", "--force", "--force", str(tree))  # also one that is locked, or has no folder


def require_commit(source: Source) -> None:
    """Raise a DataError unless the commit is known, and in this repository."""
    if UNKNOWN in (source.commit, source.dirty):
        raise DataError(
            f"the run's code is not known (commit {source.commit}, uncommitted changes {source.dirty})",
            expected="a run made in a git repository",
            remedy="train again inside one; --now uses the code as it is here",
        )
    if git("cat-file", "-e", source.commit + "^{commit}") is None:
        raise DataError(
            f"commit {source.commit} is not in this repository",
            expected="a clone that holds it",
            remedy="git fetch, and git fetch --unshallow in a shallow clone, in the clone of the run's project",
        )


def find_raw(raw: Mapping[str, str], root: Path, cache: Path) -> dict[str, Path | None]:
    """Where each file of data/raw is now: at its place, elsewhere in data/raw, or in DVC's cache, by its digest.

    Args:
        raw: path in the project -> MD5.
        root: the project as it is now.
        cache: DVC's.

    Returns:
        The same paths, each with a file of the same bytes, or None.
    """
    places: dict[str, Path | None] = {}
    others: dict[str, Path] = {}
    for path, digest in raw.items():
        here, cached = root / path, cache / "files/md5" / digest[:2] / digest[2:]
        source = next((one for one in (here, cached) if one.is_file() and md5(one) == digest), None)
        if source is None and not others:
            others = {md5(one): one for one in sorted((root / "data/raw").rglob("*")) if one.is_file()}
        places[path] = source or others.get(digest)
    return places


def restore_raw(places: Mapping[str, Path | None], project: Path) -> None:
    """Copy the files that `find_raw` found into ``project``.

    Raises:
        DataError: one was not found.
    """
    missing = [path for path, source in places.items() if source is None]
    if missing:
        raise DataError(
            f"{len(missing)} files of the raw input are nowhere here, {missing[0]} first",
            expected="each below data/raw under any name, or in DVC's cache",
            remedy="copy them into data/raw, or dvc pull",
        )
    for path, source in places.items():
        if source is not None:
            _inside(project, path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, _inside(project, path))


def dvc(
    project: Path, *command: str, environment: Mapping[str, str] | None = None, python: Path = Path(sys.executable)
) -> bool:
    """Run a DVC command in ``project`` with what it says on standard error; whether it succeeded.

    Args:
        project: the folder.
        command: what follows ``dvc``.
        environment: the recorded switches, which replace those of this process.
        python: the interpreter that runs it, and the stages.
    """
    foreign = ("DVC_", "MLFLOW_", "GIT_", "CEA_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    if environment is not None:
        kept = {name: value for name, value in kept.items() if name not in switches()} | dict(environment)
    path = f"{python.parent}{os.pathsep}{kept.get('PATH', '')}"
    return child.run([python, "-m", "dvc", *command], cwd=project, env=kept | {"PATH": path}, stdout=2) == 0


def cache_folder(root: Path) -> Path:
    """DVC's cache of the project at ``root``, wherever its configuration puts it."""
    done = subprocess.run([sys.executable, "-m", "dvc", "cache", "dir"], cwd=root, capture_output=True, check=False)
    return Path(os.fsdecode(done.stdout.strip())) if done.returncode == 0 else root / ".dvc/cache"


def _apply(difference: bytes, tree: Path) -> None:
    if not difference.strip():
        return
    done = subprocess.run(
        ["git", "apply", "--binary", "--whitespace=nowarn"],
        cwd=tree,
        input=difference,
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        raise DataError(
            f"the run's uncommitted changes do not apply ({done.stderr.decode(errors='replace').strip()[:200]})",
            expected="the difference to the recorded commit",
            remedy="report it: the record is damaged",
        )


def _inside(project: Path, path: str) -> Path:
    whole = (project / path).resolve()
    if not whole.is_relative_to(project.resolve()):
        raise DataError(
            f"the record names {path}",
            expected="a path in the project",
            remedy="do not reproduce it: such a path could overwrite other files",
        )
    return whole
