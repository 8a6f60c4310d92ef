"""What MLflow's pages show of a run: some twenty figures, a few tags, a description, and the columns of the list."""

from __future__ import annotations

import getpass
import json
import os
import shlex
from collections.abc import Mapping

CURVES = ("train/loss", "train/lr", "val/gain_psnr")
"""Curves that are charts; all others are in the artifact ``model/history.parquet``."""

_FIGURES = {
    "gain_psnr": "gain_psnr",
    "gain_ssim": "gain_ssim",
    "output_psnr": "output_psnr_db",
    "harm_rate": "harm_rate",
    "training.seconds": "training/seconds",
    "training.steps": "training/steps",
    "training.best_step": "training/best_step",
    "cost.parameters": "cost/parameters",
    "cost.gmacs_224": "cost/gmacs_224px",
}
"""Dotted name in a summary -> the metric's name, with its unit where it has one."""

COLUMNS = {
    "metrics.`gain_psnr`": 110,
    "params.`model.adapter`": 120,
    "params.`model.rank`": 105,
    "params.`train.max_steps`": 130,
    "metrics.`training/seconds`": 130,
    "params.`seed`": 80,
}
"""Of the list of runs, as MLflow's page names them, behind the run's name: width in pixels."""

VIEW = "cea"
"""The key under which the list's view is stored with the experiment (``?viewStateShareKey=cea``)."""

VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"

NOTE_TAG = "mlflow.note.content"

_FACTS = ("git", "versions", "hardware", "environment")
_SHOWN_TAGS = ("git.commit", "git.branch", "git.dirty", "hardware.cpu", "versions.torch")


def figures(summary: Mapping[str, float]) -> dict[str, float]:
    """Of a summary's dotted numbers, those that are metrics; the file itself is an artifact."""
    chosen = {shown: summary[key] for key, shown in _FIGURES.items() if key in summary}
    for key, value in summary.items():
        match key.split("."):
            case ["recipes", recipe, "gain_psnr"]:
                chosen[f"gain_psnr_db/{recipe}"] = value
    return chosen


def shown_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The few tags to look at or to search for; all of them are in the artifact ``lineage.json``."""
    return {key: value for key, value in tags.items() if key in _SHOWN_TAGS or key.split(".")[0] not in _FACTS}


def origin_tags(tags: Mapping[str, str], command: str) -> dict[str, str]:
    """What MLflow's own fields take: user, source, commit."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container whose user has no name
        user = str(os.getuid())
    known = {
        "mlflow.user": user,
        "mlflow.source.name": command,
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": tags.get("git.commit", ""),
        "mlflow.source.git.branch": tags.get("git.branch", ""),
    }
    return {key: value for key, value in known.items() if value not in ("", "unknown")}


def description(run_id: str, params: Mapping[str, str], metrics: Mapping[str, float], picture: str | None) -> str:
    """Markdown: the result in one line, a picture, and the commands to make the run again.

    Args:
        run_id: of the run.
        params: flattened parameters.
        metrics: of the run, by the names of `figures`.
        picture: address of a picture to show.
    """
    model = f"{params.get('model.adapter', '?')} adapter, rank {params.get('model.rank', '?')}"
    budget = f"{params.get('train.max_steps', '?')} steps"
    gain = metrics.get("gain_psnr")
    head = f"**{gain:+.2f} dB** on the held-out images" if gain is not None else "Not evaluated yet"
    recipes = {key.split("/", 1)[1]: value for key, value in metrics.items() if key.startswith("gain_psnr_db/")}
    ordered = sorted(recipes.items(), key=lambda item: -item[1])
    rows = [f"| {name} | {value:+.2f} |" for name, value in ordered]
    table = ["| recipe | gain, dB |", "|---|---:|", *rows] if rows else []
    shown = [f"![degraded, restored, clean]({picture})"] if picture else []
    again = f"Made again and compared: `cea reproduce {shlex.quote(run_id)}`"
    parts = [f"{head}; {model}, {budget}.", again, *shown, "\n".join(table)]
    return "\n\n".join(part for part in parts if part)


def view_state() -> str:
    """The list of runs with the columns that matter, as MLflow's page stores a shared view."""
    state = {
        "orderByKey": next(iter(COLUMNS)),
        "orderByAsc": False,
        "searchFilter": "",
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": list(COLUMNS),
        "columnOrder": list(COLUMNS),
        "columnWidths": COLUMNS,
    }
    return json.dumps(state)
