"""Whether the default run gave the committed results: data bit for bit, gains within what another processor changes.

    python -m benchmarks.same_numbers              # the files here against those of the last commit
    python -m benchmarks.same_numbers --commit main

Times differ from run to run and weights from processor to processor (docs/reproducibility.md), so the files cannot
simply be compared. Exit status 1 names everything that differs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

DATA = ("ingest", "synthesize", "shard", "dataset", "leaks")
MEAN_DB, RECIPE_DB = 0.5, 1.5
"""How far gains may be off. Measured between two processors: 0.13 in the mean, 0.48 in one recipe."""


def digests(lock: str) -> dict[str, str]:
    """Output -> digest, of all stages that make data."""
    stages = YAML(typ="safe", pure=True).load(lock)["stages"]
    made = [out for name, stage in stages.items() if name.split("@")[0] in DATA for out in stage.get("outs", [])]
    return {out["path"]: out["md5"] for out in made}


def gains(summary: Mapping[str, Any]) -> dict[str, float]:
    """The mean gain and that of each recipe, in dB."""
    return {"gain_psnr": summary["gain_psnr"]} | {
        f"recipes.{name}": recipe["gain_psnr"] for name, recipe in summary["recipes"].items()
    }


def differences(old: tuple[str, str], new: tuple[str, str]) -> list[str]:
    """What differs between two (dvc.lock, summary.json), in words; empty where nothing that matters does."""
    before, after = digests(old[0]), digests(new[0])
    said = [
        f"{path}: {before.get(path, 'absent')} -> {after.get(path, 'absent')}"
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    ]
    was, now = gains(json.loads(old[1])), gains(json.loads(new[1]))
    for name in sorted(was.keys() | now.keys()):
        allowed = MEAN_DB if name == "gain_psnr" else RECIPE_DB
        if name not in was or name not in now or not abs(was[name] - now[name]) <= allowed:
            said.append(f"{name}: {was.get(name)} -> {now.get(name)} dB, allowed are {allowed}")
    return said


def main() -> int:
    """Compare, say what differs, and give the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commit", default="HEAD", help="whose results are expected")
    commit = parser.parse_args().commit
    names = ("dvc.lock", "metrics/summary.json")
    old = [
        subprocess.run(["git", "show", f"{commit}:./{name}"], capture_output=True, text=True, check=True).stdout
        for name in names
    ]
    said = differences((old[0], old[1]), (Path(names[0]).read_text(), Path(names[1]).read_text()))
    sys.stdout.write("\n".join(said or [f"as at {commit}"]) + "\n")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
