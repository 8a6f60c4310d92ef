"""The same record gives the same uint8 pixels, and the same PNG bytes, whatever the CPU can do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = """
import hashlib, json, sys, warnings
warnings.simplefilter("ignore")
import numpy as np
from cea.config import parse
from cea.degradations.contract.registry import FAMILIES
from cea.degradations.engine.recipes import RecipeConfig
from cea.degradations.engine.draw import draw
from cea.degradations.engine.render import render
from cea.io.images import encode_png, pixel_sha256
from cea.rng import SampleKey, generator

clean = (generator(3).random((150, 211, 3)) ** 2 * 255).astype(np.uint8)
clean[40:90, 50:140] = (200, 180, 90)
found = {}
recipes = {name: {"nodes": {name: {}}} for name in FAMILIES if name != "albumentations"}
recipes["low_haze_rain"] = {"order": "cdd11", "nodes": {"low": {}, "rain": {}, "haze": {"unevenness": 0.5}}}
recipes["low_haze_snow"] = {"order": "physical", "nodes": {"low": {}, "snow": {}, "haze": {}}}
for name, settings in recipes.items():
    recipe = parse(RecipeConfig, settings, name)
    for variant in range(4):
        key = SampleKey(7, pixel_sha256(clean), name, variant)
        record = draw(name, recipe, key, clean_id="x", split="test", crop=None, nonuniform=bool(variant % 2))
        degraded = render(record, clean).degraded
        found[f"{name}/{variant}"] = pixel_sha256(degraded)
        found[f"{name}/{variant}.png"] = hashlib.sha256(encode_png(degraded)).hexdigest()
print(json.dumps(found))
"""


def _run(environment: dict[str, str]) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
        cwd=Path(__file__).resolve().parents[2],
    )
    return json.loads(done.stdout)


def _restricted() -> dict[str, str]:
    """Everything switched off that NumPy was built to dispatch to, and what OpenCV and glibc know."""
    from numpy._core._multiarray_umath import __cpu_dispatch__ as dispatched
    from numpy._core._multiarray_umath import __cpu_features__ as features

    names = [name for name in dispatched if features.get(name)]
    return {
        "NPY_DISABLE_CPU_FEATURES": " ".join(names),
        "OPENCV_CPU_DISABLE": "AVX512-SKX,AVX512-ICL,AVX512-COMMON,AVX2,FMA3,FP16,AVX,SSE4.2,SSE4.1",
        "OPENCV_IPP": "sse42",  # render switches IPP off; on, it would take other code on another CPU
        "CEA_COMPILED": "0",  # NumPy's loops here, the compiled ones for this processor there
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4,-AVX512F",
    }


@pytest.mark.slow
def test_pixels_do_not_depend_on_the_instruction_set() -> None:
    fast, slow = _run({}), _run(_restricted())
    assert np.unique(list(fast.values())).size > len(fast) * 0.9  # the hashes tell samples apart
    assert {name for name in fast if fast[name] != slow[name]} == set()
