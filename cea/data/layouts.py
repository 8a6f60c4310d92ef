"""Folder layouts of known test sets, and the rules by which the files of each pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cea.data.pairing import SAME, VARIANTS, WORDS, Rule
from cea.degradations.contract.cdd11 import COMPOSITIONS

SIGMAS = (15, 25, 50)
"""Grey levels of the noise that is added to clean denoising sets."""


@dataclass(frozen=True)
class SetLayout:
    """Where a set lies below the folder of its collection, and how its files pair.

    Attributes:
        name: of the set.
        inputs: folder of degraded images; None where noise is added to the clean ones.
        targets: folder of clean images.
        components: what degraded the inputs.
        rules: tried in turn for every input.
    """

    name: str
    inputs: str | None
    targets: str
    components: tuple[str, ...]
    rules: tuple[Rule, ...] = (SAME,)


def _cdd11(prefix: str) -> tuple[SetLayout, ...]:
    return tuple(
        SetLayout(f"CDD-11-{kind}", f"{prefix}{kind}", f"{prefix}clear", tuple(kind.split("_")))
        for kind in COMPOSITIONS
    )


LAYOUTS: dict[str, tuple[SetLayout, ...]] = {
    "promptir": (
        *(SetLayout(name, None, f"denoise/{name}", ("noise",)) for name in ("bsd68", "urban100", "kodak24")),
        SetLayout("Rain100L", "derain/Rain100L/input", "derain/Rain100L/target", ("rain",), (SAME, WORDS)),
        SetLayout("SOTS-outdoor", "dehaze/input", "dehaze/target", ("haze",), (SAME, VARIANTS)),
        SetLayout("GoPro", "deblur/gopro/input", "deblur/gopro/target", ("blur",)),
        SetLayout("LOL-v1", "enhance/lol/input", "enhance/lol/target", ("low",)),
    ),
    "moceir": (
        SetLayout("CBSD68", None, "denoising/cBSD68/original_png", ("noise",)),
        SetLayout("Rain100L", "deraining/Rain100L/rainy", "deraining/Rain100L/gt", ("rain",), (SAME, WORDS)),
        SetLayout(
            "SOTS-outdoor", "dehazing/SOTS/outdoor/hazy", "dehazing/SOTS/outdoor/gt", ("haze",), (SAME, VARIANTS)
        ),
        SetLayout("GoPro", "deblurring/GoPro/test/input", "deblurring/GoPro/test/target", ("blur",)),
        SetLayout("LOL-v1", "llie/LOLv1/Test/input", "llie/LOLv1/Test/target", ("low",)),
        *_cdd11("cdd11/test/"),
    ),
    "onerestore": (*_cdd11("CDD-11_test/"), *_cdd11("")),
}
"""Layouts by family; see docs/protocol.md for the whole trees."""

Layout = Literal["auto", "promptir", "moceir", "onerestore", "plain"]
"""Which layout to look for; ``auto`` for whichever is there."""

PLAIN = (
    ("input", "target"),
    *(("degraded", "clean"), ("lq", "gt"), ("rainy", "gt"), ("hazy", "gt"), ("noisy", "clean"), ("blur", "sharp")),
    *(("low", "high"), ("low", "normal"), ("lq", "hq"), ("lr", "hr"), ("rain", "norain"), ("hazy", "clear")),
    *(
        (name, "gt")
        for name in ("input", "degraded", "low", "rain", "haze", "snow", "noisy", "blur", "data", "synthetic")
    ),
    *((name, "clean") for name in ("input", "rain", "rainy", "hazy", "haze", "snow", "noise", "blur", "low")),
    *(("rainy_image", "ground_truth"), ("noisy", "gt_clean"), ("input", "groundtruth"), ("haze", "clear")),
)
"""Folder names of a plain pair, in any case, in the order in which they are looked for."""
