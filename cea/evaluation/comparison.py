"""Methods against a reference, image by image: what is left of a difference once images and seeds are accounted for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import t as student

from cea.errors import DataError
from cea.evaluation.judge import HARM_DB
from cea.rng import generator, stream

CONFIDENCE = 0.95
_DRAWS = 4000

COMPARISON: dict[str, Any] = {
    "by": pl.String,
    "group": pl.String,
    "variant": pl.String,
    "seeds": pl.Int64,
    "images": pl.Int64,
    "scenes": pl.Int64,
    "gain_psnr": pl.Float64,
    "gain_psnr_sd": pl.Float64,
    "output_psnr": pl.Float64,
    "output_ssim": pl.Float64,
    "harm_rate": pl.Float64,
    "difference": pl.Float64,
    "difference_sd": pl.Float64,
    "seeds_low": pl.Float64,
    "seeds_high": pl.Float64,
    "scenes_low": pl.Float64,
    "scenes_high": pl.Float64,
    "ahead": pl.Float64,
}
"""Columns of the comparison, one row per group of images and variant.

``gain_psnr`` in dB is the mean over images, then over seeds; ``gain_psnr_sd`` the standard deviation over seeds (null
for one). ``difference`` in dB is variant minus reference, paired by image and seed, ``difference_sd`` its standard
deviation over seeds. Two 95 % intervals, for two questions: ``seeds_*`` (Student's t over the seeds' means) says
whether training again could change the sign on these images, ``scenes_*`` (bootstrap over the photographs, all samples
of one together) whether other photographs could. ``ahead`` is the share of pairs in which the variant is better."""


def compare(images: pl.DataFrame, reference: str) -> pl.DataFrame:
    """Means, spread and paired differences by group of images (see `groups`) and variant, columns `COMPARISON`.

    Args:
        images: per-image tables (`cea.evaluation.columns.IMAGES`) of all runs on top of each other, with the columns
            ``variant`` and ``seed`` beside them.
        reference: the variant that the others are compared with.

    Raises:
        DataError: two rows for one image of one run, or a reference that is not there.
    """
    if images.select("variant", "seed", "sample_id").is_duplicated().any():
        raise DataError("one image twice in a run", expected="one row per run and image", remedy="pass each run once")
    if reference not in images["variant"]:
        raise DataError(
            f"no run of {reference!r} to compare with",
            expected=f"one of {', '.join(images['variant'].unique(maintain_order=True))}",
            remedy="add it to the comparison",
        )
    rows = [
        {"by": by, "group": name, "variant": variant, **_facts(subset, variant, reference, (by, name))}
        for by, name, subset in groups(images)
        for variant in images["variant"].unique(maintain_order=True)
        if variant in subset["variant"]
    ]
    return pl.DataFrame(rows, schema=COMPARISON)


def groups(images: pl.DataFrame) -> Iterator[tuple[str, str, pl.DataFrame]]:
    """The groups that a comparison tells apart, as (by, name, images); empty ones are left out.

    Compositions that were never trained on (column ``seen``; where it is missing or null, all were) stand under
    ``recipe`` and ``composition`` alone, so that adding some changes no other number.
    """
    seen = pl.col("seen").fill_null(True) if "seen" in images.columns else pl.lit(True)
    images = images.with_columns(seen.alias("seen"))
    trained, composed = pl.col("seen"), pl.col("n_components") > 1
    wanted = [("all", "all", trained)]
    wanted += [("recipe", name, pl.col("recipe") == name) for name in images["recipe"].unique(maintain_order=True)]
    wanted += [
        ("degradations", str(count), trained & (pl.col("n_components") == count))
        for count in sorted(images["n_components"].unique())
    ]
    wanted += [("field", "uniform", trained & pl.col("uniform")), ("field", "uneven", trained & ~pl.col("uniform"))]
    wanted += [("composed field", "uniform", trained & composed & pl.col("uniform"))]
    wanted += [("composed field", "uneven", trained & composed & ~pl.col("uniform"))]
    wanted += [("composition", "seen", trained & composed), ("composition", "unseen", ~trained)]
    for by, name, which in wanted:
        subset = images.filter(which)
        if len(subset):
            yield by, name, subset


def _facts(subset: pl.DataFrame, variant: str, reference: str, path: tuple[str, ...]) -> dict[str, Any]:
    own = subset.filter(pl.col("variant") == variant)
    by_seed = own.group_by("seed").agg(pl.col("gain_psnr").mean())["gain_psnr"]
    return {
        "seeds": own["seed"].n_unique(),
        "images": own["sample_id"].n_unique(),
        "scenes": own["clean_id"].n_unique(),
        "gain_psnr": by_seed.mean(),
        "gain_psnr_sd": by_seed.std(),
        "output_psnr": own["output_psnr"].mean(),
        "output_ssim": own["output_ssim"].mean(),
        "harm_rate": (own["gain_psnr"] < -HARM_DB).mean(),
        **({} if variant == reference else _paired(own, subset.filter(pl.col("variant") == reference), path)),
    }


def _paired(own: pl.DataFrame, other: pl.DataFrame, path: tuple[str, ...]) -> dict[str, Any]:
    """Differences over the images and seeds that both have; nothing where they share none."""
    pairs = own.join(other, on=["seed", "sample_id"], suffix="_other", validate="1:1").select(
        "seed", "clean_id", difference=pl.col("output_psnr") - pl.col("output_psnr_other")
    )
    if pairs.is_empty():
        return {}
    seeds = pairs.group_by("seed").agg(pl.col("difference").mean())["difference"]
    low, high = seeds_interval(seeds.to_numpy())
    scenes_low, scenes_high = scenes_interval(pairs, path)
    return {
        "difference": seeds.mean(),
        "difference_sd": seeds.std(),
        "seeds_low": low,
        "seeds_high": high,
        "scenes_low": scenes_low,
        "scenes_high": scenes_high,
        "ahead": (pairs["difference"] > 0).mean(),
    }


def seeds_interval(means: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """Student's t interval of the mean over runs that differ in their seed alone; (None, None) for a single run."""
    if len(means) < 2:
        return None, None
    half = student.ppf((1 + CONFIDENCE) / 2, len(means) - 1) * means.std(ddof=1) / len(means) ** 0.5
    return float(means.mean() - half), float(means.mean() + half)


def scenes_interval(pairs: pl.DataFrame, path: tuple[str, ...]) -> tuple[float | None, float | None]:
    """Percentile bootstrap of the mean ``difference`` over scenes (``clean_id``); (None, None) for a single scene.

    The samples of one photograph stand or fall together: drawn one by one they would promise more than there is. With
    few photographs the interval is little more than the range of their means. ``path`` names the stream of the draws.
    """
    scenes = pairs.group_by("clean_id").agg(pl.col("difference").sum().alias("sum"), pl.len()).sort("clean_id")
    if len(scenes) < 2:
        return None, None
    random = generator(stream(0, "comparison", *path))
    times = random.multinomial(len(scenes), np.full(len(scenes), 1 / len(scenes)), size=_DRAWS)
    means = (times @ scenes["sum"].to_numpy()) / (times @ scenes["len"].to_numpy())
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
