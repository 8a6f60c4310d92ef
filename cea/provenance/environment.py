"""The packages that a recorded run had, those that are here, and an environment made anew from requirements.lock."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cea.errors import DataError
from cea.io import child
from cea.lineage.facts import PACKAGES, git
from cea.lineage.record import Record, Source, installed, locked

_LOCK = "requirements.lock"
_LIST = """
import json, platform
from importlib.metadata import distributions
found = {one.metadata["Name"].lower().replace("_", "-"): one.version for one in reversed(list(distributions()))}
print(json.dumps(found | {"python": platform.python_version()}))
"""


@dataclass(frozen=True)
class Environment:
    """An interpreter, and the version of each package that it sees."""

    python: Path
    versions: Mapping[str, str]


def own() -> Environment:
    """The one that runs this process."""
    return Environment(Path(sys.executable), installed())


def environment_of(python: Path) -> Environment:
    """The one of another interpreter.

    Raises:
        DataError: it does not start, or DVC is not among its packages.
    """
    try:
        done = subprocess.run([python, "-c", _LIST], capture_output=True, text=True, check=True)
        versions = dict(json.loads(done.stdout))
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        raise DataError(f"{python}: {error}", expected="a Python interpreter", remedy="correct --python") from None
    if "dvc" not in versions:
        raise DataError(
            f"{python}: has no DVC", expected=f"the packages of {_LOCK}", remedy=f"pip install -r {_LOCK} with it"
        )
    return Environment(python.absolute(), versions)


def rebuilt(project: Path, python: str) -> Environment:
    """A new environment in ``project`` with the packages of its requirements.lock, and the project itself.

    Args:
        project: the recorded code, laid out.
        python: the version that the record names, such as ``3.11.7``; its first two numbers count.

    Raises:
        DataError: no such Python, no requirements.lock, or pip could not install it.
    """
    name = f"python{'.'.join(python.split('.')[:2])}"
    found = sys.executable if name == f"python{sys.version_info[0]}.{sys.version_info[1]}" else shutil.which(name)
    if found is None:
        raise DataError(f"{name} is not here", expected=f"Python {python}", remedy="install it, or leave --rebuild out")
    if not (project / _LOCK).is_file():
        raise DataError(
            f"the commit holds no {_LOCK}", expected="the list of its packages", remedy="leave --rebuild out"
        )
    folder = project / ".venv"
    inside = folder / "bin/python"
    pip: list[str | Path] = [inside, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    steps: tuple[list[str | Path], ...] = (
        [found, "-m", "venv", folder],
        [*pip, "--requirement", _LOCK],
        [*pip, "--no-deps", "--no-build-isolation", "--editable", "."],
    )
    for step in steps:
        if child.run(step, cwd=project, stdout=2) != 0:
            raise DataError(
                f"{shlex.join(map(str, step))} failed, as it says above",
                expected=f"an environment as in {_LOCK} of the commit",
                remedy="make it by hand, then pass --python",
            )
    return environment_of(inside)


def commands(record: Record, target: str) -> list[str]:
    """What makes the run's environment by hand and makes the run again in it."""
    commit = record.source.commit
    name = f"cea-{commit[:10]}"
    python = f"python{'.'.join(record.versions.get('python', '3').split('.')[:2])}"
    return [
        f"git show {commit}:{record.source.prefix}{_LOCK} > {name}.txt",
        f"{python} -m venv {name}",
        f"{name}/bin/pip install --requirement {name}.txt",
        f"cea reproduce {shlex.quote(target)} --python {name}/bin/python",
    ]


def version_differences(record: Record, here: Mapping[str, str]) -> dict[str, str]:
    """Package -> ``there -> here``, of the packages that can change a result; the code itself is compared by commit."""
    wanted = {name: version for name, version in record.versions.items() if name in {*PACKAGES, "python"} - {"cea"}}
    return changed(wanted, {name: here.get(name, "none") for name in wanted})


def lock_differences(source: Source, here: Mapping[str, str]) -> dict[str, str] | None:
    """Package -> ``locked -> here``, of requirements.lock of the recorded commit; None where that holds none."""
    text = git("show", f"{source.commit}:{source.prefix}{_LOCK}")
    if text is None:
        return None
    wanted = locked(text.decode("utf-8", "replace"))
    return changed(wanted, {name: here.get(name, "none").split("+")[0] for name in wanted})


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """Key -> ``before -> after``, where they differ."""
    return {key: f"{value} -> {after.get(key, 'none')}" for key, value in before.items() if after.get(key) != value}
