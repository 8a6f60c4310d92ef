"""A recorded run, made again and compared with what it was: ``cea reproduce``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cea.config import read_params
from cea.errors import DataError
from cea.io.images import write_bytes
from cea.lineage.facts import PACKAGES, hardware
from cea.lineage.project import Project, open_project
from cea.lineage.record import Record, Source, code_digests, installed, raw_digests, source_now
from cea.lineage.stored import Found
from cea.lineage.tracking import file_sha256
from cea.provenance.worktree import cache_folder, checked_out, dvc, find_raw, require_commit, restore_raw

TOLERANCE_DB = 0.05
"""How far metrics of two runs on one type of processor may be apart."""

TOLERANCE_OTHER_PROCESSOR_DB = 0.2
"""Of means over all images, on two types of processor: 4.32 and 4.45 dB were measured for the default run."""

TOLERANCE_OTHER_PROCESSOR_RECIPE_DB = 0.6
"""Of means over the images of one recipe: up to 0.48 dB was measured."""

ORDER = ("code", "ingest", "synthesize", "shard", "dataset", "testset", "photographs", "leaks", "train")
"""The stages as they follow one another."""


@dataclass(frozen=True)
class Options:
    """What to make again.

    Attributes:
        start: the first stage that runs; what comes before it is taken from DVC's cache by its digest. None: all.
        data_only: without the training and what follows it.
        now: with the code as it is here, instead of the recorded one.
        keep: leave the temporary folder.
    """

    start: str | None = None
    data_only: bool = False
    now: bool = False
    keep: bool = False


@dataclass(frozen=True)
class Row:
    """One comparison; ``same`` is None where nothing is promised (weights on another type of processor)."""

    stage: str
    output: str
    expected: str
    got: str
    same: bool | None


@dataclass(frozen=True)
class Outcome:
    """What came out: all comparisons, the first that differs, and why."""

    rows: list[Row]
    first: Row | None
    why: str
    folder: Path | None

    @property
    def identical(self) -> bool:
        """Whether everything that is promised is the same."""
        return self.first is None


def plan(recorded: Found, root: Path, options: Options) -> dict[str, Any]:
    """What would be done, and what already differs here, as plain values in the order in which one reads them.

    Raises:
        DataError: the code is not to be had, or a stage has another name.
    """
    record = recorded.record
    source = _source(record, root, options)
    require_commit(source)
    places = find_raw(record.raw, root, cache_folder(root))
    names = _to_run(record, options)
    outputs = sum(len(paths) for name, paths in record.stages.items() if name != "code")
    return {
        "run": f"{record.name} {record.run_id}",
        "commit": source.commit,
        "uncommitted changes": f"{len(source.difference)} bytes",
        "untracked files": sorted(source.untracked),
        "raw input": {path: "missing" if place is None else str(place) for path, place in places.items()},
        "other versions": version_differences(record),
        "other hardware": _changed(record.hardware, hardware()),
        "stages that run": names if options.data_only else [*names, "train", "evaluate", "report"],
        "seconds it took": dict(record.seconds) or "not recorded",
        "compared": f"{outputs} outputs bit for bit" + ("" if options.data_only else ", weights, metrics"),
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
        restore_raw(find_raw(record.raw, root, cache_folder(root)), project)
        _run(record, root, project, options)
        made = open_project(project)
        rows = [*_data_rows(record, made)]
        if not options.data_only:
            rows += [*_weight_rows(record, project), *_metric_rows(recorded, project)]
        first = next((row for row in rows if row.same is False), None)
        why = "" if first is None else reason(record, project, first.stage)
        return Outcome(rows, first, why, project if options.keep else None)


def reason(record: Record, project: Path, stage: str) -> str:
    """Why a stage's output is another one, in words: what is known to differ, the closest cause first."""
    listed = _listed(project, stage)
    now = code_digests(project)
    code = sorted(path for path in listed if not now[path].startswith(record.code.get(path, "none")))
    raw = _changed(record.raw, raw_digests(project))
    source = source_now(project)
    causes = {
        "other code": ", ".join(code),
        "other commit": f"{source.commit[:10]} instead of {record.source.commit[:10]}"
        if source.commit != record.source.commit and code
        else "",
        "other parameters": _other_params(record, project),
        "other data": ", ".join(raw),
        "other versions": _spelled(version_differences(record)),
        "other hardware": _spelled(_changed(record.hardware, hardware())),
    }
    known = "; ".join(f"{what}: {details}" for what, details in causes.items() if details)
    return known or "code, data, versions and hardware are those of the record; chance must have come in"


def version_differences(record: Record) -> dict[str, str]:
    """Package -> ``there -> here``, of the packages that can change a result."""
    here = installed()
    wanted = {name: version for name, version in record.versions.items() if name in (*PACKAGES, "python")}
    return _changed(wanted, {name: here.get(name, "none") for name in wanted})


def _source(record: Record, root: Path, options: Options) -> Source:
    return source_now(root) if options.now else record.source


def _kind(stage: str) -> int:
    name = stage.partition("@")[0]
    return ORDER.index(name) if name in ORDER else len(ORDER)


def _to_run(record: Record, options: Options) -> list[str]:
    names = sorted(record.stages, key=_kind)
    if options.start is None:
        return names
    if options.start not in ORDER:
        raise DataError(f"--from {options.start}: no stage", expected=", ".join(ORDER), remedy="pass one of these")
    return [name for name in names if _kind(name) >= ORDER.index(options.start)]


def _run(record: Record, root: Path, project: Path, options: Options) -> None:
    (project / "dvc.lock").unlink(missing_ok=True)
    names = _to_run(record, options)
    if options.start is not None:
        _reuse(record, root, project, [name for name in record.stages if name not in names])
    targets = names if options.data_only else [*names, "train", "evaluate", "report"]
    single = ["--force", "--single-item"] if options.start is not None else []
    if not dvc(project, "repro", *single, *targets, environment=record.environment):
        raise DataError(
            f"dvc repro in {project} failed, as it says above",
            expected="a pipeline that runs",
            remedy="mend what it says; --keep leaves the folder to look into",
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
            expected="it there",
            remedy="dvc pull, or leave --from out",
        )


def _data_rows(record: Record, made: Project) -> Iterator[Row]:
    for name in sorted(record.stages, key=_kind):
        if name == "code":  # a cause, not a result
            continue
        outputs = made.stages[name].outputs if name in made.stages else {}
        for path, expected in record.stages[name].items():
            got = outputs.get(path, "none")
            yield Row(name, path, expected, got, expected == got)


def _weight_rows(record: Record, project: Path) -> Iterator[Row]:
    promised = not _changed(_processor(record.hardware), _processor(hardware()))
    for name, expected in record.weights.items():
        path = project / "data/model" / name
        got = file_sha256(path) if path.is_file() else "none"
        same = expected == got
        yield Row("train", f"data/model/{name}", expected, got, same if same or promised else None)


def _metric_rows(recorded: Found, project: Path) -> Iterator[Row]:
    if recorded.summary is None:
        return
    again = json.loads((project / "metrics/summary.json").read_text(encoding="utf-8"))
    other = _changed(_processor(recorded.record.hardware), _processor(hardware()))
    for key, expected in _decibels(recorded.summary).items():
        elsewhere = TOLERANCE_OTHER_PROCESSOR_RECIPE_DB if key.startswith("recipes.") else TOLERANCE_OTHER_PROCESSOR_DB
        tolerance = elsewhere if other else TOLERANCE_DB
        got = _decibels(again).get(key)
        same = got is not None and abs(got - expected) <= tolerance
        yield Row("evaluate", f"{key} (within {tolerance} dB)", str(expected), str(got), same)


def _decibels(summary: Mapping[str, Any]) -> dict[str, float]:
    """The figures that are compared: PSNR of input and output, over all images and by recipe."""
    names = ("input_psnr", "output_psnr", "gain_psnr")
    groups = {"": summary, **{f"recipes.{name}.": part for name, part in summary.get("recipes", {}).items()}}
    return {f"{group}{name}": part[name] for group, part in groups.items() for name in names if name in part}


def _processor(facts: Mapping[str, str]) -> dict[str, str]:
    return {"cpu": facts.get("cpu", "unknown")}


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


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    return {key: f"{value} -> {after.get(key, 'none')}" for key, value in before.items() if after.get(key) != value}


def _spelled(changes: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {change}" for name, change in changes.items())
