"""``CHANGES_NO_RESULT`` is a promise that nothing can prove: who of the stages' code relies on it is written down here.

A module that says so is in no listing, so a change in it re-runs nothing. A further file that imports one fails this
test until somebody has looked whether a value that it takes from there can reach data, weights or scores.
"""

from __future__ import annotations

from pathlib import Path

from cea.lineage import code as listings
from pipeline import code

ROOT = Path(__file__).resolve().parents[3]
ALLOWED = {
    "pipeline/stage.py": {
        "cea/lineage/times.py",
        "pipeline/preflight/guard.py",
    },  # told: a stage begins, ends
    "cea/data/on_ray.py": {"cea/progress.py"},  # told how many tars there are
    "cea/training/fit.py": {"cea/training/progress.py", "cea/training/validation_pictures.py"},  # told, never asked
    "cea/evaluation/table.py": {"cea/progress.py"},  # told how far it is
    "cea/evaluation/photographs.py": {"cea/progress.py"},
    "pipeline/train.py": {  # the run's record; speed; shards from afar
        "cea/data/remote.py",
        "cea/lineage/training.py",
        "cea/models/measure/allocator.py",
    },
    "cea/training/config.py": {"cea/data/remote.py"},  # what comes from afar has the digests of the index, or fails
    "cea/data/reading.py": {"cea/data/rendered.py"},  # so has what is rendered from records
    "pipeline/evaluate.py": {"cea/lineage/facts.py", "cea/lineage/tracking.py"},  # after every score is written
    "pipeline/report.py": {  # earlier runs, beside this one; how long its evaluation took
        "cea/lineage/facts.py",
        "cea/lineage/times.py",
        "cea/lineage/tracking.py",
    },
}


def neutral_imports() -> dict[str, set[str]]:
    """File of a stage's listing -> the modules it imports that are left out of it."""
    stages = [f"pipeline.{name}" for name in (*code.STAGES, *code.PER_RECIPE)]
    found: dict[str, set[str]] = {}
    for file in listings.closure(stages, ROOT):
        if file.suffix != ".py":
            continue
        for level, module in listings._facts(ROOT / file).imports:
            for imported in listings._locate(listings._absolute(level, module, file.parent.parts), ROOT):
                if listings._facts(imported).neutral and imported.name != "__init__.py":
                    found.setdefault(file.as_posix(), set()).add(imported.relative_to(ROOT).as_posix())
    return found


def test_only_modules_that_listed_code_imports_say_so():
    """What only they import is left out with them: there the word would promise and decide nothing."""
    files = [file for room in ("cea", "pipeline") for file in (ROOT / room).rglob("*.py") if file.name != "__init__.py"]
    said = {file.relative_to(ROOT).as_posix() for file in files if listings._facts(file).neutral}
    assert said == set().union(*ALLOWED.values())


def test_no_further_file_relies_on_a_module_that_changes_no_result():
    assert neutral_imports() == ALLOWED


def test_packages_that_are_left_out_give_names_and_compute_nothing():
    """``from cea import Restorer`` looks a name up in ``cea/__init__.py``; no module of a stage does so."""
    packages = [file for file in (ROOT / "cea").rglob("__init__.py") if file.stat().st_size]
    assert {file.relative_to(ROOT).as_posix() for file in packages} == {
        "cea/__init__.py",
        "cea/degradations/__init__.py",
    }
    files = listings.closure([f"pipeline.{name}" for name in (*code.STAGES, *code.PER_RECIPE)], ROOT)
    imports = {
        (listings._absolute(level, module, file.parent.parts))
        for file in files
        if file.suffix == ".py"
        for level, module in listings._facts(ROOT / file).imports
    }
    assert not imports & {"cea.Restorer", "cea.OnTheFly", "cea.degradations.degrade", "cea.degradations.Degrade"}
