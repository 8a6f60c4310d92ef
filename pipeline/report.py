"""report: one page to look at, and the picture for the README."""

from __future__ import annotations

import logging
from argparse import Namespace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cea.config import load, read_params
from cea.errors import DataError
from cea.evaluation.pictures import read_pictures
from cea.io.documents import read_json
from cea.io.images import write_bytes
from cea.lineage.facts import as_tags
from cea.lineage.project import open_project
from cea.lineage.times import known
from cea.lineage.tracking import Tracker, TrackingConfig
from cea.provenance.samples import drawn_facts
from cea.report.config import ReportConfig
from cea.report.inputs import ReportFiles
from cea.report.page import build_report
from cea.report.strip import example_strip
from pipeline import stage


def main(paths: Namespace) -> None:
    """Build the page from what train and evaluate left, and attach it to their run."""
    params = read_params()
    config = load(ReportConfig, params, "report")
    lineage = paths.metrics / "lineage.json"
    facts = read_json(lineage, expected="what train writes", remedy="train again: dvc repro --force train")
    pictures, page = paths.metrics / "pictures", paths.metrics / "report.html"
    tracker = Tracker(load(TrackingConfig, params, "tracking"))
    run_id = tracker.run_of(paths.model / "best.safetensors", as_tags(facts))
    with TemporaryDirectory() as folder:
        others = tracker.other_runs(run_id, config.compare, Path(folder))
        files = ReportFiles(
            summary=paths.metrics / "summary.json",
            images=paths.metrics / "images.parquet",
            pictures=pictures,
            history=paths.model / "history.parquet",
            training=paths.metrics / "training.json",
            cost=paths.metrics / "cost.json",
            others={other.name: other.summary for other in others},
            repeats=frozenset(other.name for other in others if other.repeat),
            about={"this run": f"{params['train']['max_steps']} steps"} | {each.name: each.about for each in others},
        )
        shown = facts | {"seconds": known(["evaluate"])}
        shown |= {"command": "cea reproduce report.html" if "record" in facts.get("run", {}) else "dvc repro"}
        write_bytes(page, build_report(files, shown, config, traces(pictures)).encode())
    example_strip(pictures, paths.metrics / "example.jpg", config.strip)
    tracker.log_files(run_id, {page: "", paths.metrics / "example.jpg": ""})
    tracker.log_time(run_id)


def traces(pictures: Path) -> dict[str, dict[str, Any]]:
    """Sample id -> where it came from, of each picture; one whose records or shards are not here goes without."""
    project, found = open_project(Path()), {}
    for picture in read_pictures(pictures):
        try:
            found[picture.sample_id] = drawn_facts(project, picture.sample_id)
        except DataError as error:
            logging.info("no trace of %s in the report: %s", picture.sample_id, error.what)
    return found


if __name__ == "__main__":
    stage.run(main, "model", "metrics", check=True)
