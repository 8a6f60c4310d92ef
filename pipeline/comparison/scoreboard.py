"""A comparison as a page of Markdown: what was held equal, who leads the reference, where, and how confidently."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import polars as pl

from cea.config import load
from cea.models.config import ModelSection
from cea.training.config import TrainConfig
from pipeline.comparison import curves

SURE = "*"


@dataclass(frozen=True)
class Contest:
    """A finished comparison.

    Attributes:
        table: columns `cea.evaluation.comparison.COMPARISON`.
        settings: params.yaml of a run of the reference.
        costs: `cea.models.measure.cost.figures` by variant.
        runs: ``variant``, ``seed``, ``training``, ``lineage``, ``key`` and ``val_gain_psnr`` of each run, as its
            record holds them.
        reference: the variant that the others are compared with.
        missing: names of the runs that were asked for and are not there.
    """

    table: pl.DataFrame
    settings: Mapping[str, Any]
    costs: Mapping[str, Mapping[str, float]]
    runs: Sequence[Mapping[str, Any]]
    reference: str
    missing: tuple[str, ...] = ()


def page(contest: Contest) -> str:
    """The page, with a line feed at its end."""
    parts = [
        "# Comparison",
        *_partial(contest),
        _budget(contest),
        f"## All images of the recipes trained on\n\n{_overall(contest)}",
        f"## By group: gain of {contest.reference}, then each rival's difference to it (dB)\n\n{_by_group(contest)}",
        f"## Gain on the validation images over steps\n\n{_curves(contest)}",
        f"{SURE}: neither 95 % interval of the difference, over seeds or over photographs, contains zero. In a table "
        "with so many cells some do so by chance. `docs/comparison.md` says how each number is made.",
    ]
    return "\n\n".join(parts) + "\n"


def _partial(contest: Contest) -> list[str]:
    """What is missing, in front of everything else."""
    if not contest.missing:
        return []
    asked = len(contest.runs) + len(contest.missing)
    return [
        f"**Partial: {len(contest.runs)} of {asked} runs.** Missing: {', '.join(contest.missing)}. Variants may stand "
        "on different seeds; only the paired differences compare like with like."
    ]


def _curves(contest: Contest, rows: int = 10) -> str:
    """The curves as a figure, a sentence and a table of at most so many steps."""
    gains = curves.by_variant(contest.runs)
    steps = sorted({step for curve in gains.values() for step in curve})
    every = -(-len(steps) // rows)
    lines = [
        [
            str(step),
            *("{:+.2f} ({:+.2f} to {:+.2f})".format(*curve[step]) if step in curve else "" for curve in gains.values()),
        ]
        for step in steps[::-1][::every][::-1]
    ]
    table = _table(["steps", *gains], lines)
    return f"![curves](curves.svg)\n\n{curves.verdict(gains)} Mean in dB (range over seeds):\n\n{table}"


def _budget(contest: Contest) -> str:
    """What every run had in common."""
    train, model = load(TrainConfig, contest.settings, "train"), load(ModelSection, contest.settings, "model")
    lineage = contest.runs[0]["lineage"]
    minutes = fmean(run["training"]["seconds"] for run in contest.runs) / 60
    seeds = sorted({run["seed"] for run in contest.runs})
    commits = sorted({run["lineage"]["git"]["commit"][:8] for run in contest.runs})
    hardware = lineage["hardware"]
    batch = f"{train.batch} patches of {train.patch} px"
    batch = f"batches with the pixels of {batch}, growing," if train.patches else batch
    return (
        f"{len(contest.runs)} runs: {len(contest.costs)} variants, seeds {_listed(seeds)}, "
        f"{_listed({run['training']['steps'] for run in contest.runs})} steps of {batch} "
        f"by {train.optimizer} ({_rates(contest)}); network {model.size}, {model.block}; "
        f"CEA: {_options(model)}; data of seed {contest.settings['seed']}; commit {_listed(commits)}; "
        f"{hardware.get('accelerator', hardware.get('cpu', 'unknown'))}, PyTorch {lineage['versions'].get('torch')}; "
        f"{minutes:.1f} minutes of training per run."
    )


def _options(model: ModelSection) -> str:
    """What CEA is, and every key of it that is not at its default."""
    default = ModelSection.model_validate({"size": model.size, "block": model.block})
    named = ("rank", "affinity", "residual_scale", "key_cell")
    others = [key for key, value in model if key not in (*named, "sites") and value != getattr(default, key)]
    return ", ".join([*(f"{key} {getattr(model, key)}" for key in (*named, *others)), f"sites {'+'.join(model.sites)}"])


def _rates(contest: Contest) -> str:
    """The peak learning rates, once where all variants share them."""
    by_variant = {run["variant"]: _rate(load(TrainConfig, run["key"], "train")) for run in contest.runs}
    if len(set(by_variant.values())) == 1:
        return f"rates {by_variant[contest.reference]}"
    return "rates " + "; ".join(f"{variant} {rate}" for variant, rate in by_variant.items())


def _rate(train: TrainConfig) -> str:
    return f"{train.muon_lr:g}, {train.lr:g}" if train.optimizer == "muon" else f"{train.lr:g}"


def _overall(contest: Contest) -> str:
    head = ["variant", "parameters", "GMACs", "seeds", "gain, dB", "sd over seeds", "SSIM", "made worse"]
    head += ["difference, dB", "95 % over seeds", "95 % over photographs"]
    rows = []
    for row in contest.table.filter(pl.col("by") == "all").sort("gain_psnr", descending=True).to_dicts():
        cost = contest.costs[row["variant"]]
        counted = [f"{cost['parameters'] / 1e6:.4g} M", f"{cost['gmacs_224']:.3g}"]
        means = [_signed(row["gain_psnr"]), _number(row["gain_psnr_sd"]), f"{row['output_ssim']:.4f}"]
        between = [_span(row["seeds_low"], row["seeds_high"]), _span(row["scenes_low"], row["scenes_high"])]
        compared = [f"{row['harm_rate']:.0%}", _signed(row["difference"]), *between]
        rows.append([row["variant"], *counted, str(row["seeds"]), *means, *compared])
    return _table(head, rows)


def _by_group(contest: Contest) -> str:
    rivals = [name for name in contest.table["variant"].unique(maintain_order=True) if name != contest.reference]
    head = ["by", "group", "images", contest.reference, *rivals]
    rows = []
    for (by, group), part in contest.table.group_by("by", "group", maintain_order=True):
        cells = {row["variant"]: row for row in part.to_dicts()}
        own = cells.get(contest.reference)
        first = [str(by), str(group), str(part["images"][0]), _signed(own["gain_psnr"]) if own else ""]
        rows.append([*first, *(_difference(cells.get(name)) for name in rivals)])
    return _table(head, rows)


def _difference(row: Mapping[str, Any] | None) -> str:
    if row is None or row["difference"] is None:
        return ""
    return _signed(row["difference"]) + (f" {SURE}" if is_sure(row) else "")


def is_sure(row: Mapping[str, Any]) -> bool:
    """Whether neither interval of the difference contains zero."""
    ends = [row[f"{over}_{end}"] for over in ("seeds", "scenes") for end in ("low", "high")]
    return None not in ends and (min(ends) > 0 or max(ends) < 0)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _span(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:+.2f} to {high:+.2f}"


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(str(value) for value in sorted(values))
