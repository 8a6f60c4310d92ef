"""Where a result came from: commit, uncommitted changes, data digests, versions, machine."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cea.errors import foreign
from cea.io.documents import read_yaml
from cea.io.images import file_sha256

CHANGES_NO_RESULT = True

PACKAGES = ("cea", "torch", "lightning", "numpy", "opencv-python-headless", "polars", "dvc", "mlflow")


UNKNOWN = "unknown"
"""What is recorded where git does not answer: no repository, another owner's, or git is missing."""

CODE_TAG = "cea.code_sha256"
"""The tag of a run with the digest of the code that decides its result."""

_OUTPUTS = (":!dvc.lock", ":!metrics")
"""Files that the pipeline itself writes into the repository."""

_LONGEST_TAG = 500

_INPUTS = ("cea", "pipeline", "plugins", "params.yaml", "dvc.yaml")
"""What stages read besides data."""


def git(*arguments: str, folder: Path | None = None) -> bytes | None:
    """The output of a git command, byte for byte; None where git fails or is missing."""
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, check=False)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def uncommitted_changes(folder: Path | None = None) -> bytes | None:
    """The difference between the working tree's tracked files and the last commit, as a patch that ``git apply`` takes.

    Without what the pipeline itself writes (dvc.lock, metrics). None where git does not answer.
    """
    return git("diff", "--binary", "HEAD", "--", ".", *_OUTPUTS, folder=folder)


def untracked_inputs(folder: Path | None = None) -> list[str] | None:
    """Files that stages read and git does not hold, ignored ones included: code and plug-ins; None without git.

    Without what was made from files that git holds: compiled Python, and libraries of the package, which say by a
    digest what source they were built from (`cea.compiled`).

    Paths are relative to ``folder``, which is the project.
    """
    root = folder or Path()
    listings = (root / "data/code").rglob("*.txt")
    listed = {line.partition("  ")[2] for file in listings for line in file.read_text().splitlines()}
    untracked = git("ls-files", "--others", "-z", "--", *_INPUTS, *sorted(listed), folder=folder)
    if untracked is None:
        return None
    paths = map(os.fsdecode, filter(None, untracked.split(b"\0")))
    return sorted({path for path in paths if "__pycache__" not in Path(path).parts and not _is_built(root, path)})


def _is_built(root: Path, path: str) -> bool:
    library = root / path
    source = library.with_name(library.name.partition(".")[0] + ".c")
    return Path(path).parts[0] == "cea" and library.suffix in (".so", ".pyd") and source.is_file()


def git_state(folder: Path | None = None) -> dict[str, str]:
    """Commit, branch, and whether the code differs from it; each ``unknown`` where git does not answer.

    Untracked files that stages read are a difference.
    """
    words = {"commit": ("rev-parse", "HEAD"), "branch": ("rev-parse", "--abbrev-ref", "HEAD")}
    answers = {name: git(*command, folder=folder) for name, command in words.items()}
    state = {name: UNKNOWN if text is None else text.decode().strip() for name, text in answers.items()}
    changes, untracked = uncommitted_changes(folder), untracked_inputs(folder)
    known = changes is not None and untracked is not None
    return state | {"dirty": str(bool(changes or untracked)).lower() if known else UNKNOWN}


def dependency_digests(stage: str, folder: Path = Path()) -> dict[str, str]:
    """Digest of every dependency of a DVC stage, as DVC would spell it.

    Outputs of earlier stages are looked up in dvc.lock, which holds fresh ones by the time a stage runs; plain
    files are hashed here, because a stage's own entry in dvc.lock is written only after it ends.

    Returns:
        path -> MD5 (with ``.dir`` for folders); empty where the folder has no dvc.yaml.
    """
    if not (folder / "dvc.yaml").is_file():
        return {}
    outputs = _locked_outputs(folder / "dvc.lock")
    digests = {}
    for path in _paths(folder / "dvc.yaml", stage, "deps"):
        if path in outputs:
            digests[path] = outputs[path]
        elif (folder / path).is_file():
            digests[path] = hashlib.md5((folder / path).read_bytes(), usedforsecurity=False).hexdigest()
    return digests


def _locked_outputs(lock: Path) -> dict[str, str]:
    if not lock.is_file():
        return {}
    remedy = "git checkout dvc.lock, or run dvc repro"
    stages = read_yaml(lock, expected="what DVC wrote", remedy=remedy).get("stages", {})
    with foreign(lock, expected="what DVC wrote", remedy=remedy):
        return {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", []) if "md5" in out}


def outputs_of(stage: str, folder: Path = Path()) -> list[str]:
    """The paths that a stage of dvc.yaml writes; empty where there is no such stage."""
    path = folder / "dvc.yaml"
    if not path.is_file():
        return []
    return _paths(path, stage, "outs")


def code_digest(listings: Path) -> str | None:
    """One digest of the code that decides a result, of the folder that stage ``code`` writes; None where it is absent.

    The report's own code is left out: it changes no number.
    """
    files = sorted(path for path in listings.rglob("*.txt") if path.name != "report.txt")
    if not files:
        return None
    lines = (f"{path.relative_to(listings).as_posix()} {file_sha256(path)}\n" for path in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def code_tag() -> dict[str, str]:
    """The tag of `code_digest` for the project in the current folder; empty where unknown."""
    for path in outputs_of("code"):
        digest = code_digest(Path(path))
        if digest is not None:
            return {CODE_TAG: digest}
    return {}


def _paths(pipeline: Path, stage: str, kind: str) -> list[str]:
    """What a stage of dvc.yaml names under ``deps`` or ``outs``."""
    expected, remedy = "the pipeline's stages", "correct it, or git checkout dvc.yaml"
    stages = read_yaml(pipeline, expected=expected, remedy=remedy).get("stages", {})
    with foreign(pipeline, expected=expected, remedy=remedy):
        entries = stages.get(stage, {}).get(kind, [])
        return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def hardware() -> dict[str, str]:
    """The processor, its usable cores, memory and accelerator, in words."""
    facts = {"cpu": _cpu_name(), "cores": str(len(os.sched_getaffinity(0))), "system": platform.platform(terse=True)}
    if hasattr(os, "sysconf"):
        facts["memory_gib"] = f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f}"
    return facts | _gpu()


def versions() -> dict[str, str]:
    """Version of Python and of each package that can change a result."""
    installed = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    return installed


def lineage(seed: int) -> dict[str, Any]:
    """Everything above but the digests, as a nested mapping of strings (for tags and for the report)."""
    return {
        "git": git_state(),
        "dvc": {"experiment": os.environ.get("DVC_EXP_NAME", "")},
        "seed": str(seed),
        "versions": versions(),
        "hardware": hardware(),
    }


def as_tags(facts: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested facts as dotted tags; empty ones, and those that are too long for a tag, are left out."""
    tags: dict[str, str] = {}
    for key, value in facts.items():
        if isinstance(value, Mapping):
            tags.update(as_tags(value, f"{prefix}{key}."))
        elif 0 < len(str(value)) <= _LONGEST_TAG:
            tags[f"{prefix}{key}"] = str(value)
    return tags


def _gpu() -> dict[str, str]:
    """What NVIDIA's driver says of its devices; nothing without one."""
    texts = [path.read_text(errors="replace") for path in Path("/proc/driver/nvidia/gpus").glob("*/information")]
    names = [line.partition(":")[2].strip() for text in texts for line in text.splitlines() if line.startswith("Model")]
    return {"gpu": ", ".join(sorted(names))} if names else {}


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
