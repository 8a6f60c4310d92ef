"""A small evaluated run, written as `evaluate` and `train` write it."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import cv2
import numpy as np
import polars as pl

from cea.evaluation.cases import Case, Pixels, clean_cases
from cea.evaluation.config import EvaluationConfig, ExamplesConfig, RoutingConfig
from cea.evaluation.examples import write_pictures
from cea.evaluation.routing import measure_routing, summarise_routing
from cea.evaluation.summary import summarise, to_json
from cea.evaluation.table import evaluate
from cea.io.tables import write_table
from cea.report.inputs import ReportFiles

RECIPES = {"noise": ("noise",), "haze": ("haze",), "low_haze": ("low", "haze"), "haze_rain": ("haze", "rain")}
UNSEEN = {"low_rain": ("low", "rain")}
SITES = ("level0.adapter0", "level1.adapter0", "level2.adapter1")


def scene(number: int, height: int, width: int) -> np.ndarray:
    """A smooth coloured picture with edges, uint8."""
    generator = np.random.default_rng(number)
    picture = generator.integers(0, 256, (6, 9, 3), dtype=np.uint8)
    picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(12):
        centre = (int(generator.integers(width)), int(generator.integers(height)))
        colour = tuple(int(value) for value in generator.integers(0, 256, 3))
        cv2.circle(picture, centre, int(generator.integers(5, height // 4)), colour, -1)
    return picture


def make_cases(
    recipes=RECIPES, scenes: int = 3, height: int = 60, width: int = 90, photograph=scene, seen: bool = True
) -> list[Case]:
    """Each scene under each recipe: a veil from left to right, and noise."""
    cases = []
    for recipe, components in recipes.items():
        for number in range(scenes):
            clean = photograph(number, height, width)
            generator = np.random.default_rng([number, len(recipe)])
            veil = np.linspace(0.1, 0.7, clean.shape[1])[None, :, None] * len(components) / 2
            noisy = clean * (1 - veil) + 200 * veil + generator.normal(0, 6 + 6 * number, clean.shape)
            band = np.broadcast_to((veil[..., 0] * 255).astype(np.uint8), clean.shape[:2])
            pixels = Pixels(
                np.clip(noisy, 0, 255).astype(np.uint8), clean, np.stack([band, band[:, ::-1]][: len(components)])
            )
            name = f"scene{number}-{recipe}-0000"
            cases.append(
                Case(name, recipe, f"scene{number}", components, number % 2 == 0, lambda pixels=pixels: pixels, seen)
            )
    return cases


def smooth(image: np.ndarray) -> np.ndarray:
    """A restorer that helps against noise and not much else."""
    return np.clip((cv2.GaussianBlur(image, (0, 0), 1.0) / 255 - 0.1) * 1.25, 0, 1)


def maps(image: np.ndarray) -> dict[str, np.ndarray]:
    """Affinity maps such as CEA's: eight signed planes per site."""
    grey = image.mean(axis=2) / 255 - 0.5
    frequencies = np.arange(1, 9)[:, None, None]
    waves = np.sin(frequencies * np.linspace(0, math.pi, grey.shape[1])) * grey
    return {site: waves[:, :: 2**level, :: 2**level] for level, site in enumerate(SITES)}


def write_run(folder: Path, cases: list[Case], restore=smooth, experts=maps, **examples) -> ReportFiles:
    """Evaluate ``cases`` and write all files of a run into ``folder``."""
    result = evaluate(cases, restore, EvaluationConfig())
    untouched = evaluate(clean_cases(cases), restore, EvaluationConfig()).images if experts else None
    facts = {"effective_rank_a": 6.4, "effective_rank_d": 3.1, "rank": 8.0, "varying_share_a": 0.12}
    adapters = dict.fromkeys(SITES if experts else (), facts)
    routing = summarise_routing(measure_routing(cases, experts, RoutingConfig())) if experts else None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.json").write_bytes(to_json(summarise(result.images, adapters, result.bins, untouched, routing)))
    write_table(folder / "images.parquet", result.images)
    write_pictures(folder / "pictures", cases, result.images, ExamplesConfig(**examples), restore, experts)
    steps = np.arange(25, 3001, 25)
    curves = {"train/loss": 0.3 * np.exp(-steps / 600) + 0.05, "train/lr": 1e-3 * np.cos(steps / 2000) ** 2}
    curves |= {f"val/gain_psnr{suffix}": np.log(steps) - level for level, suffix in enumerate(["", "/noise", "/haze"])}
    curves |= {f"adapters/{site}/effective_rank_a": 6 + np.sin(steps / 500 + len(site)) for site in SITES}
    rows = [(name, int(s), float(y)) for name, ys in curves.items() for s, y in zip(steps, ys, strict=True)]
    write_table(folder / "history.parquet", pl.DataFrame(rows, schema=["curve", "step", "value"], orient="row"))
    (folder / "training.json").write_text(json.dumps({"parameters": 262144, "steps": 3000, "seconds": 312.5}))
    (folder / "cost.json").write_text(json.dumps(COST if experts else {}))
    return ReportFiles(
        folder / "summary.json",
        *(folder / name for name in ("images.parquet", "pictures", "history.parquet", "training.json", "cost.json")),
    )


COST = {
    **{"parameters": 262144.0, "gmacs_224": 1.9, "adapter_parameters_ratio": 1.12, "adapter_macs_ratio": 1.05},
    **{"forward_256_ms": 143.2, "forward_256_ratio": 1.31, "forward_256_mb": 88.0},
}


def with_real_images(files: ReportFiles, folder: Path) -> ReportFiles:
    """The same run with benchmarks and photographs, a repeat with another seed, and a run of something else."""
    summary = json.loads(files.summary.read_text())
    means = {name: summary[name] for name in summary if name.split("_")[-1] in ("psnr", "ssim", "rate", "images")}
    means |= {"harmed_pixels": 0.1, "identical": 0}
    sets = {"Rain100L": means | {"output_psnr": 27.125}, "bsd68-sigma25": means | {"output_psnr": 28.375}}
    scores = {"images": 2, "input": 0.311, "output": 0.422}
    summary |= {
        "benchmarks": {"aio": {"protocol": "promptir", **means, "sets": sets}},
        "photographs": {"real": {"blur_effect": {**scores, "sets": {"fog": scores}}}},
        "skipped": {"LPIPS": "torchvision is not installed"},
    }
    folder.mkdir(parents=True, exist_ok=True)
    again = {**summary, "gain_psnr": summary["gain_psnr"] + 0.5, "output_psnr": summary["output_psnr"] + 0.5}
    for name, content in (("summary", summary), ("again", again), ("other", again)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    others = {"seed 2": folder / "again.json", "rank16": folder / "other.json"}
    return dataclasses.replace(files, summary=folder / "summary.json", others=others, repeats=frozenset({"seed 2"}))


LINEAGE = {
    "command": "git checkout 0123abcd && make repro",
    "git": {"commit": "0123abcd" * 5, "dirty": "false", "branch": "main"},
    "seed": 0,
    "hardware": {"cpu": "a processor", "cores": "2", "memory_gib": "8"},
    "versions": {"python": "3.11.9", "torch": "2.13.0", "polars": "2.0"},
    "data": {"data/shards/train/haze": "d41d8cd98f00b204e9800998ecf8427e.dir"},
}

RECORD = "cea-record-1:eJyrVg=="
"""Not a whole one: the page does not look into it."""


def facts_of(sample: str) -> dict:
    """What `cea.provenance.samples.drawn_facts` says of a sample."""
    members = {
        f"{sample}.{part}.png": {"offset": at, "bytes": 900} for part, at in (("clean", 512), ("degraded", 2048))
    }
    photograph = {"id": "scene0", "source": "a <b>folder</b>", "licence": "CC0 & more", "sha256": "ab" * 32}
    field = {"low": 0.25, "high": 1.0, "parameter": None, "kind": "gradient", "angle_deg": 211.4219}
    return {
        "sample": sample,
        "clean photograph": photograph | {"width": 90, "height": 60, "kind": "photograph"},
        **{"recipe": "haze", "variant": 3, "split": "test", "order": "cdd11", "crop": [0, 4, 60, 80]},
        "degradations": {
            "haze": {"family": "haze", "params": {"beta": 1.2156297659791993, "rgb": [0.5, 0.5, 0.5]}, "field": field},
        },
        "scene": {"horizon": 0.5395536916479073, "depth_given": False, "depth_sha256": None},
        "shard": {"tar": "data/shards/test/haze/000000.tar", "members": members, "degraded pixels": "cd" * 32},
    }
