"""The record of a run: everything that ``cea reproduce`` needs to make it again, as one folder and as one line of text.

The folder (artifact ``record/`` of the MLflow run) holds ``record.json``, the parameters, the pipeline, its lock, the
installed packages, the uncommitted difference, and the untracked files that stages read. The line (`to_line`) stands in
``metrics/lineage.json`` and thereby in the report, for somebody who has the page and no store.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import sys
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from cea.errors import DataError
from cea.io.images import write_bytes
from cea.lineage.facts import UNKNOWN, git, git_state, hardware, uncommitted_changes, untracked_inputs, versions
from cea.lineage.project import open_project
from cea.lineage.times import known

SCHEMA = 1
"""Raised when a reader of an older record would misread it."""

FOLDER = "record"
"""Where the record lies among a run's artifacts."""

_LINE = re.compile(r"cea-record-(\d+):([\w=-]+)")
_LONGEST_LINE = 60_000
_ENOUGH = 8
"""Hex digits by which the line tells a changed file from an unchanged one."""

_LATER = ("train", "evaluate", "report")
_SWITCHES = re.compile(r"^(OMP|MKL|OPENBLAS|OPENCV|BLIS|NUMEXPR|KMP|GOMP|TORCH|ATEN|CUBLAS|CUDA|VECLIB)_|^CEA_WORKERS$")


@dataclass(frozen=True)
class Source:
    """The code that ran: a commit and what the working tree had beyond it.

    Attributes:
        commit: 40 hex digits, or ``unknown``.
        branch: or ``unknown``.
        dirty: ``true``, ``false`` or ``unknown``.
        prefix: the project's folder inside its repository, ``""`` at the top.
        shallow: whether the clone was one without its history: ``true``, ``false`` or ``unknown``.
        difference: of tracked files to the commit, a patch for ``git apply`` at the repository's top.
        untracked: path in the project -> bytes, of files that stages read and git does not hold.
    """

    commit: str
    branch: str
    dirty: str
    prefix: str
    shallow: str
    difference: bytes = b""
    untracked: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """What a run was made from, and what came out of each stage.

    Attributes:
        run_id: of the MLflow run, and ``name`` its name.
        source: the code.
        stages: stage -> output -> DVC digest; of the stages before the training.
        weights: file name -> SHA-256.
        raw: file below data/raw that git does not hold -> MD5.
        inputs: stage -> dependency -> DVC digest.
        code: path -> digest of each file that a stage runs; its first digits in a record out of a page.
        versions: package -> version, of all that was installed.
        hardware: processor, memory and training threads, in words.
        environment: variables that may change numbers.
        command: of the training.
        seconds: stage -> wall time of its latest run, where it is known.
        params, pipeline, lock: the files params.yaml, dvc.yaml and dvc.lock; empty in a record out of a page.
    """

    run_id: str
    name: str
    source: Source
    stages: Mapping[str, Mapping[str, str]]
    weights: Mapping[str, str]
    raw: Mapping[str, str]
    inputs: Mapping[str, Mapping[str, str]]
    code: Mapping[str, str]
    versions: Mapping[str, str]
    hardware: Mapping[str, str]
    environment: Mapping[str, str]
    command: list[str]
    seconds: Mapping[str, float]
    params: str = ""
    pipeline: str = ""
    lock: str = ""


def source_now(root: Path) -> Source:
    """The code of the project at ``root`` as it is now; what git does not answer is ``unknown``."""
    state = git_state(root)
    prefix, shallow = (git("rev-parse", what, folder=root) for what in ("--show-prefix", "--is-shallow-repository"))
    return Source(
        commit=state["commit"],
        branch=state["branch"],
        dirty=state["dirty"],
        prefix=UNKNOWN if prefix is None else os.fsdecode(prefix).strip("\n"),
        shallow=UNKNOWN if shallow is None else shallow.decode().strip(),
        difference=uncommitted_changes(root) or b"",
        untracked={path: (root / path).read_bytes() for path in untracked_inputs(root) or []},
    )


def make_record(
    root: Path, run: tuple[str, str], params: Mapping[str, Any], weights: Mapping[str, str], seconds: float
) -> Record:
    """The record of a training that has just ended in ``root``.

    Args:
        root: the project.
        run: id and name.
        params: all of params.yaml.
        weights: file name -> SHA-256.
        seconds: of its stage so far.
    """
    stages = locked_stages(root, params)
    return Record(
        *run,
        source=source_now(root),
        stages={name: stage.outputs for name, stage in stages.items()},
        weights=weights,
        raw=raw_digests(root),
        inputs={name: stage.inputs for name, stage in stages.items()},
        code=code_digests(root),
        versions=installed(),
        hardware=hardware() | {"threads": training_threads(params, switches())},
        environment=switches(),
        command=[sys.executable, *sys.orig_argv[1:]],
        seconds={**known(stages, root), "train": round(seconds, 1)},
        params=_text(root / "params.yaml"),
        pipeline=_text(root / "dvc.yaml"),
        lock=_text(root / "dvc.lock"),
    )


def locked_stages(root: Path, params: Mapping[str, Any]) -> dict[str, Any]:
    """The stages of dvc.lock before the training, those of recipes and sets that params.yaml no longer has left out."""
    if not (root / "dvc.lock").is_file():
        return {}
    judged = params.get("evaluate", {})
    keys = {*params.get("recipes", {}), *judged.get("testsets", {}), *judged.get("photographs", {})}
    stages = open_project(root).stages.items()
    return {
        name: stage
        for name, stage in stages
        if name not in _LATER and (name.partition("@")[2] in keys or "@" not in name)
    }


def raw_digests(root: Path) -> dict[str, str]:
    """MD5 of each file below data/raw, those that git holds left out."""
    folder = root / "data/raw"
    held = {os.fsdecode(path) for path in (git("ls-files", "-z", "data/raw", folder=root) or b"").split(b"\0")}
    files = {path.relative_to(root).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: md5(path) for name, path in files.items() if name not in held}


def code_digests(root: Path) -> dict[str, str]:
    """Path -> digest, of all listings that stage ``code`` wrote."""
    lines = [line for file in sorted((root / "data/code").rglob("*.txt")) for line in file.read_text().splitlines()]
    return {path: digest for digest, _, path in (line.partition("  ") for line in lines)}


def md5(path: Path) -> str:
    """Hex MD5 of a file, as DVC has it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def installed() -> dict[str, str]:
    """Version of Python and of every package there is."""
    installed: dict[str, str] = {}
    for one in distributions():
        installed.setdefault(one.metadata["Name"].lower().replace("_", "-"), one.version)  # the first is imported
    return versions() | dict(sorted(installed.items()))


def locked(text: str) -> dict[str, str]:
    """Package -> version, of a requirements.lock."""
    lines = (line.partition("#")[0].partition(";")[0].strip() for line in text.splitlines())
    pairs = (line.split("==") for line in lines if "==" in line)
    return {name.strip().lower().replace("_", "-"): version.strip().split("+")[0] for name, version in pairs}


def training_threads(params: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    """Over how many threads the training divides its work, which its last bits depend on.

    Args:
        params: of params.yaml; ``train.threads`` of 0 leaves it to PyTorch.
        environment: the switches that are set.
    """
    count = params.get("train", {}).get("threads", "default")
    return str(count or environment.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))


def switches() -> dict[str, str]:
    """Variables of the environment that may change numbers: threads, BLAS, OpenCV, CUDA."""
    return {name: value for name, value in sorted(os.environ.items()) if _SWITCHES.search(name)}


def write_record(record: Record, folder: Path) -> None:
    """The record as files below ``folder``."""
    facts = asdict(record) | {"schema": SCHEMA}
    files = {"params.yaml": "params", "dvc.yaml": "pipeline", "dvc.lock": "lock"}
    for name, key in files.items():
        write_bytes(folder / name, facts.pop(key).encode())
    requirements = "".join(f"{name}=={version}\n" for name, version in record.versions.items() if name != "python")
    write_bytes(folder / "requirements.txt", requirements.encode())
    write_bytes(folder / "uncommitted.diff", record.source.difference)
    for path, data in record.source.untracked.items():
        write_bytes(folder / "untracked" / path, data)
    facts["source"] |= {"difference": "uncommitted.diff", "untracked": sorted(record.source.untracked)}
    write_bytes(folder / "record.json", (json.dumps(facts, indent=2) + "\n").encode())


def read_record(folder: Path) -> Record:
    """What `write_record` wrote.

    Raises:
        DataError: files that are missing or of another schema.
    """
    try:
        facts = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        for name, key in {"params.yaml": "params", "dvc.yaml": "pipeline", "dvc.lock": "lock"}.items():
            facts[key] = _text(folder / name)
        facts["source"]["difference"] = (folder / "uncommitted.diff").read_bytes()
        named = facts["source"]["untracked"]
        facts["source"]["untracked"] = {path: (folder / "untracked" / path).read_bytes() for path in named}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(str(folder), error) from None
    return _record(facts, str(folder))


def to_line(record: Record) -> str:
    """The record as one line, without files that its commit holds; no uncommitted changes where they are long."""
    facts = asdict(record) | {"schema": SCHEMA}
    names = {"params", "pipeline", "lock", "inputs", "command"}
    facts = {key: value for key, value in facts.items() if key not in names}
    facts["versions"] = versions()
    facts["code"] = {path: digest[:_ENOUGH] for path, digest in record.code.items()}
    line = _encoded(facts | {"source": _as_text(record.source)})
    return line if len(line) <= _LONGEST_LINE else _encoded(facts | {"source": _as_text(record.source, whole=False)})


def from_text(text: str, where: str) -> Record:
    """The record that stands in a page or a file of facts.

    Raises:
        DataError: there is none in it, or one of another schema.
    """
    match = _LINE.search(text)
    if match is None:
        raise DataError(f"{where}: holds no record", expected="a report that cea wrote", remedy="pass the run's id")
    try:
        facts = json.loads(zlib.decompress(base64.urlsafe_b64decode(match[2])))
        source = facts["source"]
        if source.pop("left_out"):
            raise DataError(
                f"{where}: the run's uncommitted changes were too long for the page",
                expected="the MLflow store of the run",
                remedy=f"pass the run's id, {facts['run_id']}",
            )
        source["difference"] = base64.b64decode(source["difference"])
        source["untracked"] = {path: base64.b64decode(data) for path, data in source["untracked"].items()}
    except DataError:
        raise
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise _damaged(where, error) from None
    return _record({"inputs": {}, "command": []} | facts, where)


def seconds_beside(page: str) -> dict[str, float]:
    """Stage -> seconds that a page says beside its record, of stages that ended after it; {} where it says none."""
    match = re.search(r'"record":"cea-record-[^"]*","seconds":(\{[^{}]*\})', page)
    found = json.loads(match[1]) if match else {}
    return {str(name): float(value) for name, value in found.items()}


def _as_text(source: Source, whole: bool = True) -> dict[str, Any]:
    untracked = {path: base64.b64encode(data).decode() for path, data in source.untracked.items()}
    return asdict(source) | {
        "difference": base64.b64encode(source.difference).decode() if whole else "",
        "untracked": untracked if whole else {},
        "left_out": not whole,
    }


def _encoded(facts: Mapping[str, Any]) -> str:
    data = zlib.compress(json.dumps(facts, separators=(",", ":")).encode(), 9)
    return f"cea-record-{SCHEMA}:{base64.urlsafe_b64encode(data).decode()}"


def _record(facts: dict[str, Any], where: str) -> Record:
    schema = facts.pop("schema", None)
    if schema != SCHEMA:
        raise DataError(
            f"{where}: a record of schema {schema}", expected=f"schema {SCHEMA}", remedy="use the cea that wrote it"
        )
    try:
        known = {one.name for one in fields(Record)}
        source = Source(**facts["source"])
        return Record(**{key: value for key, value in facts.items() if key in known} | {"source": source})
    except (KeyError, TypeError) as error:
        raise _damaged(where, error) from None


def _damaged(where: str, error: Exception) -> DataError:
    return DataError(
        f"{where}: not a whole record ({error})", expected="a record as cea wrote it", remedy="name another run"
    )


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
