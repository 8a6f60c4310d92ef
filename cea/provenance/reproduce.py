"""A recorded run, made again and compared with what it was: ``cea reproduce``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from cea.config import read_params
from cea.errors import DataError
from cea.io.images import write_bytes
from cea.lineage.facts import hardware
from cea.lineage.project import open_project
from cea.lineage.record import Record, Source, code_digests, raw_digests, source_now
from cea.lineage.stored import Found
from cea.provenance.comparing import ORDER, Row, data_rows, metric_rows, order_of, promise, threads_in, weight_rows
from cea.provenance.environment import (
    Environment,
    changed,
    commands,
    environment_of,
    lock_differences,
    own,
    rebuilt,
    version_differences,
)
from cea.provenance.worktree import cache_folder, checked_out, dvc, find_raw, require_commit, restore_raw

LATER = ("train", "evaluate", "report")
"""What follows the data."""


@dataclass(frozen=True)
class Options:
    """What to make again.

    Attributes:
        start: the first stage that runs; what comes before it is taken from DVC's cache by its digest. None: all.
        data_only: without the training and what follows it.
        now: with the code as it is here, instead of the recorded one.
        keep: leave the temporary folder.
        python: run the stages with this interpreter; None: with the one of this process.
        rebuild: make a new environment from requirements.lock of the recorded commit and run the stages in it.
    """

    start: str | None = None
    data_only: bool = False
    now: bool = False
    keep: bool = False
    python: Path | None = None
    rebuild: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came out.

    Attributes:
        rows: all comparisons.
        first: the first that differs; ``why`` says why.
        versions: package -> ``there -> here``, where it is another one that can change a result, changed or not.
        folder: where everything was left, if it was to be.
    """

    rows: list[Row]
    first: Row | None
    why: str
    versions: Mapping[str, str]
    folder: Path | None

    @property
    def identical(self) -> bool:
        """Whether everything that is promised is the same."""
        return self.first is None


def plan(recorded: Found, root: Path, options: Options, target: str) -> dict[str, Any]:
    """What would be done, and what already differs here, as plain values in the order in which one reads them.

    Args:
        recorded: the record.
        root: the project in whose repository the commit is.
        options: what to make again.
        target: how the user named the run.

    Raises:
        DataError: the code is not to be had, or a stage has another name.
    """
    record = recorded.record
    source = _source(record, root, options)
    require_commit(source)
    places = find_raw(record.raw, root, cache_folder(root))
    stages = [*_to_run(record, options), *(() if options.data_only else LATER)]
    outputs = sum(len(paths) for name, paths in record.stages.items() if name != "code")
    return {
        "run": f"{record.name} {record.run_id}",
        "commit": source.commit,
        "uncommitted changes": f"{len(source.difference)} bytes",
        "untracked files": sorted(source.untracked),
        "raw input": {path: "missing" if place is None else str(place) for path, place in places.items()},
        **_versions(record, options, target),
        "other hardware": changed(_machine(record), hardware()),
        "stages that run": stages,
        "time": _time(record, stages),
        "compared": f"{outputs} outputs bit for bit" + ("" if options.data_only else f"; {promise(record).words}"),
    }


def reproduce(recorded: Found, root: Path, options: Options) -> Outcome:
    """Make a run again in a temporary worktree, and compare.

    Args:
        recorded: its record and its figures.
        root: the project in whose repository the commit is.
        options: what to make again.

    Raises:
        DataError: it could not be made again.
    """
    record = recorded.record
    with checked_out(_source(record, root, options), options.keep) as project:
        environment = _environment(record, project, options)
        restore_raw(find_raw(record.raw, root, cache_folder(root)), project)
        _run(record, root, project, options, environment.python)
        rows = list(data_rows(record, open_project(project)))
        if not options.data_only:
            held = promise(record, project)
            rows += chain(weight_rows(record, project, held), metric_rows(recorded, project, held))
        first = next((row for row in rows if row.same is False), None)
        why = "" if first is None else reason(record, project, first.stage, environment.versions)
        versions = version_differences(record, environment.versions)
        return Outcome(rows, first, why, versions, project if options.keep else None)


def reason(record: Record, project: Path, stage: str, versions: Mapping[str, str]) -> str:
    """Why a stage's output is another one, in words: what is known to differ, the closest cause first.

    Args:
        record: of the run.
        project: where it was made again.
        stage: the first whose output differs.
        versions: of the packages it was made with.
    """
    listed = _listed(project, stage)
    now = code_digests(project)
    code = sorted(path for path in listed if not now[path].startswith(record.code.get(path, "none")))
    raw = changed(record.raw, raw_digests(project))
    source = source_now(project)
    threads = {"threads": threads_in(record, project)}
    causes = {
        "other code": ", ".join(code),
        "other commit": f"{source.commit[:10]} instead of {record.source.commit[:10]}"
        if source.commit != record.source.commit and code
        else "",
        "other parameters": _other_params(record, project),
        "other data": ", ".join(raw),
        "other versions": _spelled(version_differences(record, versions)),
        "other hardware": _spelled(changed(record.hardware, hardware() | threads)),
    }
    known = "; ".join(f"{what}: {details}" for what, details in causes.items() if details)
    return known or "code, data, versions and hardware are those of the record; chance must have come in"


def _versions(record: Record, options: Options, target: str) -> dict[str, Any]:
    """What differs from the record's versions and from its commit's requirements.lock, and how to have those."""
    if options.rebuild:
        return {"environment": "made anew from requirements.lock of the commit"}
    here = (own() if options.python is None else environment_of(options.python)).versions
    other, lock = version_differences(record, here), lock_differences(record.source, here)
    differs = {"requirements.lock of the commit": "none in it" if lock is None else lock or "as installed"}
    remedy = {"rebuild the environment": ["--rebuild, or:", *commands(record, target)]} if other or lock else {}
    return {"other versions": other, **differs, **remedy}


def _environment(record: Record, project: Path, options: Options) -> Environment:
    if options.rebuild:
        return rebuilt(project, record.versions.get("python", ""))
    return own() if options.python is None else environment_of(options.python)


def _machine(record: Record) -> dict[str, str]:
    """The record's hardware; its threads are the parameters'."""
    return {name: value for name, value in record.hardware.items() if name != "threads"}


def _source(record: Record, root: Path, options: Options) -> Source:
    return source_now(root) if options.now else record.source


def _time(record: Record, stages: list[str]) -> dict[str, Any]:
    """How long the stages took where the record was made, each and in all, in seconds."""
    by_stage = {name: record.seconds[name] for name in stages if name in record.seconds}
    unknown = [name for name in stages if name not in record.seconds]
    took = {"in all, s": round(sum(by_stage.values()), 1)} if by_stage else {}
    return took | {"not recorded": unknown, "by stage, s": by_stage}


def _to_run(record: Record, options: Options) -> list[str]:
    names = sorted(record.stages, key=order_of)
    if options.start is None:
        return names
    if options.start not in ORDER:
        raise DataError(
            f"--from {options.start}: no stage", expected=", ".join(ORDER), remedy="name one of these stages"
        )
    return [name for name in names if order_of(name) >= ORDER.index(options.start)]


def _run(record: Record, root: Path, project: Path, options: Options, python: Path) -> None:
    (project / "dvc.lock").unlink(missing_ok=True)
    names = _to_run(record, options)
    if options.start is not None:
        _reuse(record, root, project, [name for name in record.stages if name not in names])
    targets = names if options.data_only else [*names, *LATER]
    single = ["--force", "--single-item"] if options.start is not None else []
    if not dvc(project, "repro", *single, *targets, environment=record.environment, python=python):
        raise DataError(
            f"dvc repro in {project} failed; its output says why",
            expected="a pipeline that runs",
            remedy="correct the cause; with --keep the folder stays and can be looked into",
        )


def _reuse(record: Record, root: Path, project: Path, names: list[str]) -> None:
    """Lay out what was made before, by its digests: nothing of another digest can come out of DVC's cache."""
    if not record.lock:
        raise DataError("--from needs the run's dvc.lock", expected="a run of the store", remedy="leave --from out")
    write_bytes(project / "dvc.lock", record.lock.encode())
    outputs = [path for name in names for path in record.stages[name]]
    if not (
        dvc(project, "cache", "dir", "--local", str(cache_folder(root).resolve()))
        and dvc(project, "checkout", *outputs)
    ):
        raise DataError(
            "what the run made before is not in DVC's cache",
            expected="the outputs of the stages before --from in the cache",
            remedy="run dvc pull, or leave --from out",
        )


def _listed(project: Path, stage: str) -> list[str]:
    name, _, key = stage.partition("@")
    file = project / "data/code" / (f"{name}/{key}.txt" if key else f"{name}.txt")
    return [line.partition("  ")[2] for line in file.read_text().splitlines()] if file.is_file() else []


def _other_params(record: Record, project: Path) -> str:
    if not record.params or record.params == (project / "params.yaml").read_text(encoding="utf-8"):
        return ""
    write_bytes(project / ".recorded-params.yaml", record.params.encode())
    before, after = read_params(project / ".recorded-params.yaml"), read_params(project / "params.yaml")
    return ", ".join(sorted(key for key in {*before, *after} if before.get(key) != after.get(key)))


def _spelled(changes: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {change}" for name, change in changes.items())
