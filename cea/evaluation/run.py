"""The evaluation of one trained network: every table, figure and picture that ``metrics/`` holds of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cea.evaluation.calibration import calibrate
from cea.evaluation.cases import Case, clean_cases
from cea.evaluation.config import EvaluationConfig
from cea.evaluation.examples import write_pictures
from cea.evaluation.folder import Method
from cea.evaluation.photographs import judge_photographs
from cea.evaluation.routing import measure_routing, summarise_routing
from cea.evaluation.schema import checked
from cea.evaluation.summary import gain_table, severity_table, summarise, to_json
from cea.evaluation.table import evaluate
from cea.evaluation.testsets import judge_testsets
from cea.inference import Estimates, restore, restore_judged, tile_for
from cea.io.images import write_bytes
from cea.io.tables import write_table
from cea.models.checkpoint import load_weights
from cea.models.diagnostics import adapter_statistics, affinity_maps
from cea.models.network import RestorationNetwork, build
from cea.types import ImageF, ImageU8

ARTIFACTS = (
    "pictures",
    "images.parquet",
    "testsets.parquet",
    "photographs.parquet",
    "summary.json",
    "gains.csv",
    "severity.csv",
)
"""What an evaluation leaves that belongs to the run."""


@dataclass(frozen=True)
class Subject:
    """What is evaluated.

    Attributes:
        weights: a file of weights.
        digest: its SHA-256.
        seed: of the network before training, which the routing is compared with.
    """

    weights: Path
    digest: str
    seed: int


def evaluate_run(
    subject: Subject,
    trained: list[Case],
    unseen: list[Case],
    config: EvaluationConfig,
    folders: tuple[Path, Path],
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Judge the weights on the test shards, on the sets and photographs of ``config``, and write everything.

    Args:
        subject: the weights.
        trained: test images of the recipes that were trained on.
        unseen: those of the others.
        config: how to judge.
        folders: where the results go, and where what is needed to resume is kept.
        log: takes lines for the user.

    Returns:
        The summary, as ``summary.json`` holds it.
    """
    metrics, state = folders
    model, _ = load_weights(subject.weights, trust_code=True)
    whole = partial(restore, model)

    def tiled(image: ImageU8) -> ImageF:
        return restore(model, image, tile=tile_for(image))

    tables = evaluate(trained + unseen, whole, config, progress="test images")
    untouched = evaluate(clean_cases(trained), whole, config, progress="clean images").images
    log("adapters, routing and calibration ...")
    adapters = adapter_statistics(model, [case.read().degraded for case in _one_per_recipe(trained)])
    routing = _routing(trained, model, config, subject.seed) if adapters else None
    summary = summarise(tables.images, adapters, tables.bins, untouched, routing)
    benchmarks, pairs = judge_testsets(Method(subject.digest, tiled), config, state, log)
    photographs, scored, missing = judge_photographs({n: Path(p) for n, p in config.photographs.items()}, tiled)
    summary |= {"benchmarks": benchmarks, "photographs": photographs, "skipped": tables.skipped | missing}
    summary |= _calibration(trained, model)
    log("pictures for the report ...")
    maps = partial(affinity_maps, model) if adapters else None
    write_pictures(metrics / "pictures", trained + unseen, tables.images, config.examples, whole, maps)
    tables_by_name = {"images": tables.images, "bins": tables.bins, "testsets": pairs, "photographs": scored}
    for name, table in tables_by_name.items():
        write_table(metrics / f"{name}.parquet", table)
    write_bytes(metrics / "gains.csv", gain_table(tables.images).write_csv().encode())
    write_bytes(metrics / "severity.csv", severity_table(summary).write_csv(float_precision=4).encode())
    write_bytes(metrics / "summary.json", to_json(checked(summary)))
    return summary


def headline(summary: Mapping[str, Any]) -> list[str]:
    """The result in a few lines."""
    means = (summary[key] for key in ("images", "input_psnr", "output_psnr"))
    lines = ["{} images: {:.2f} dB -> {:.2f} dB".format(*means)]
    for name, group in summary["compositions"].items():
        lines.append(f"  {name.replace('_', ', ')}: {group['gain_psnr']:+.2f} dB on {group['images']} images")
    return [*lines, *(f"{name} left out: {reason}" for name, reason in summary["skipped"].items())]


def _routing(cases: Sequence[Case], model: RestorationNetwork, config: EvaluationConfig, seed: int) -> dict[str, Any]:
    """How the routing follows the severity, beside the same before training."""
    networks = model, build(model.config, seed).eval()
    correlations = [measure_routing(cases, partial(affinity_maps, network), config.routing) for network in networks]
    return summarise_routing(*correlations)


def _calibration(cases: Sequence[Case], model: RestorationNetwork) -> dict[str, Any]:
    """``calibration``, for a network with heads whose estimates can be compared."""
    if not model.config.severity and not model.config.error_gate:
        return {}

    def estimate(image: ImageU8) -> Estimates:
        return restore_judged(model, image)[1]

    return {"calibration": calibrate(cases, clean_cases(cases), estimate)}


def _one_per_recipe(cases: Sequence[Case]) -> list[Case]:
    """The first case of each recipe."""
    return list({case.recipe: case for case in reversed(cases)}.values())
