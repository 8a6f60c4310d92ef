"""Stages that are killed at random moments, run out of room, or may not write: nothing half-made is taken for whole.

``make test-faults ARGS="--kills 60 --seed 1"``. Moments follow from the seed and the machine's speed; they are printed.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.toy import Stage, Zygote, digests, make, stages

Request = pytest.FixtureRequest
pytestmark = [pytest.mark.faults, pytest.mark.slow]
STAGES = stages()
NAMES = [f"{stage.name}-{number}" for number, stage in enumerate(STAGES)]
NOBODY = 65534


class Reference:
    """The toy after one undisturbed run: what each stage made, and how long it took."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        make(folder)
        self.zygote = Zygote(folder)
        self.seconds: list[float] = []
        self.made: list[dict[str, str]] = []
        for stage in STAGES:
            answer = self.zygote.run(stage)
            assert answer["status"] == 0, (stage.name, answer["said"])
            self.seconds.append(answer["seconds"])
            self.made.append(digests(folder, stage))
            assert self.made[-1], stage.name

    def finish(self, number: int) -> None:
        """Run the stage again, undisturbed, and expect what it made before."""
        answer = self.zygote.run(STAGES[number])
        assert answer["status"] == 0, (STAGES[number].name, answer["said"])
        assert digests(self.folder, STAGES[number]) == self.made[number]
        assert leftovers(self.folder, STAGES[number]) == []


def leftovers(folder: Path, stage: Stage) -> list[str]:
    """Partial files beside a stage's outputs, and below them."""
    places = [folder / out for out in stage.outs]
    return [str(path) for place in places for path in (*place.parent.glob(".*.partial"), *place.rglob(".*.partial"))]


@pytest.fixture(scope="module")
def toy() -> Iterator[Reference]:
    folder = Path(tempfile.mkdtemp(prefix="cea-faults-"))
    folder.chmod(0o755)
    try:
        reference = Reference(folder / "toy")
        yield reference
        reference.zygote.close()
    finally:
        shutil.rmtree(folder)


def moments(request: Request) -> tuple[random.Random, int]:
    """The dice of this test, and how often each stage is killed."""
    seed, kills = request.config.getoption("--seed"), request.config.getoption("--kills")
    return random.Random(f"{seed}-{request.node.name}"), max(1, -(-kills // len(STAGES)))


@pytest.mark.parametrize("number", range(len(STAGES)), ids=NAMES)
def test_a_killed_stage_ends_the_same(toy: Reference, number: int, request: Request) -> None:
    dice, kills = moments(request)
    done, delays = 0, []
    for _ in range(3 * kills):  # some end before they are killed
        delays.append(dice.uniform(0, toy.seconds[number]))
        answer = toy.zygote.run(STAGES[number], delay=delays[-1])
        assert answer["status"] in (0, -9), answer["said"]
        expected = toy.made[number]
        for name, digest in digests(toy.folder, STAGES[number]).items():
            assert digest == expected[name], f"{name} after {delays[-1]} s"  # what has its name is whole
        done += answer["status"] == -9
        if done == kills:
            break
    sys.stdout.write(f"{STAGES[number].name}: {done} kills after {', '.join(f'{delay:.3f}' for delay in delays)} s\n")
    assert done
    toy.finish(number)


@pytest.mark.parametrize("number", range(1, len(STAGES)), ids=NAMES[1:])
def test_a_full_disk_is_one_line_and_leaves_nothing(toy: Reference, number: int, request: Request) -> None:
    """No file may grow beyond a few bytes: what the system then says is told with the file."""
    dice, _ = moments(request)
    answer = toy.zygote.run(STAGES[number], file_size=dice.choice([0, 1, 8]))
    assert answer["status"] == 2, answer["said"]
    assert sum(line.startswith("error: ") for line in answer["said"].splitlines()) == 1
    assert "Traceback" not in answer["said"]
    assert digests(toy.folder, STAGES[number]) == {}
    toy.finish(number)


@pytest.mark.skipif("os.getuid() != 0", reason="only root can become somebody who may not write")
@pytest.mark.parametrize("number", range(1, len(STAGES)), ids=NAMES[1:])
def test_a_folder_that_may_not_be_written_is_one_line(toy: Reference, number: int) -> None:
    answer = toy.zygote.run(STAGES[number], user=NOBODY)
    assert answer["status"] == 2, answer["said"]
    assert "Traceback" not in answer["said"]
    assert len([line for line in answer["said"].splitlines() if line.startswith("error: ")]) == 1
    toy.finish(number)


# The tables of clean images and records have no digest of their own: their bytes are DVC's to watch (test_dvc.py).
FLIPPED = {
    "data/clean/images/*.png": "shard",
    "data/shards/train/noise/*.tar": "train",
    "data/shards/train/noise/index.parquet": "train",
    "data/shards/val/noise/index.json": "train",
    "data/shards/test/low_haze/*.tar": "evaluate",
    "data/shards/test/low_haze/index.parquet": "evaluate",
    "data/dataset/train.json": "train",
    "metrics/images.parquet": "report",
}


@pytest.mark.parametrize("pattern", FLIPPED)
def test_a_flipped_byte_is_noticed_or_changes_nothing(toy: Reference, pattern: str, request: Request) -> None:
    """Of a file that a stage reads: one line that names it, or the same result; never another one."""
    dice, _ = moments(request)
    number = next(number for number, stage in enumerate(STAGES) if stage.name == FLIPPED[pattern])
    path = dice.choice(sorted(toy.folder.glob(pattern)))
    whole = path.read_bytes()
    try:
        for _ in range(3):
            data = bytearray(whole)
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
            path.write_bytes(data)
            answer = toy.zygote.run(STAGES[number])
            if answer["status"] == 0:
                assert digests(toy.folder, STAGES[number]) == toy.made[number]
            else:
                assert answer["status"] == 2, answer["said"]
                assert "Traceback" not in answer["said"]
    finally:
        path.write_bytes(whole)
    toy.finish(number)
