"""Several processes train as one would: same patches, gradients, weights; a run goes on with another number of them."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from cea.data.loaders import PatchSpec
from cea.errors import ConfigError
from cea.training.callbacks import TIMINGS
from cea.training.data import REPEATED, RestorationData
from cea.training.fit import fingerprint, fit
from cea.training.processes import ALONE, Processes
from tests.together import MODEL, TRAIN, assert_same_weights
from tests.toy_training import make_job

SLURM = {"SLURM_NTASKS": "4", "SLURM_NNODES": "2", "SLURM_STEP_ID": "0", "SLURM_JOB_ID": "71234"}


class TestWhoTheyAre:
    def test_without_a_launcher_there_is_one(self):
        assert Processes.found({}) == ALONE
        assert ALONE.first

    def test_torchrun_and_ray_train_say_it_by_the_same_names(self):
        names = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
        found = Processes.found(names)
        assert found == Processes(rank=5, size=8, place=1, here=4)
        assert (found.machines, found.node_rank(), found.first) == (2, 1, False)
        assert str(found) == "process 6 of 8"

    def test_slurm_says_it_to_the_steps_of_srun(self):
        assert Processes.found(SLURM | {"SLURM_PROCID": "3", "SLURM_LOCALID": "1"}) == Processes(3, 4, 1, 2)

    def test_what_sbatch_runs_without_srun_is_one_process(self):
        batch = {name: value for name, value in SLURM.items() if name != "SLURM_STEP_ID"}
        assert Processes.found(batch | {"SLURM_PROCID": "0", "SLURM_LOCALID": "0"}) == ALONE

    @pytest.mark.parametrize(
        ("names", "said"),
        [
            ({"RANK": "8", "WORLD_SIZE": "8", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "4"}, "process 8 of 8"),
            ({"RANK": "x", "WORLD_SIZE": "8", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "4"}, "x, 8, 0, 4"),
            (SLURM | {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "3"}, "3 tasks on 2 nodes"),
        ],
    )
    def test_numbers_that_contradict_each_other_are_refused(self, names, said):
        with pytest.raises(ConfigError, match=f"the launcher says .*{said}.*; expected .*torchrun"):
            Processes.found(names)


class TestShares:
    @pytest.mark.parametrize("accumulate", [1, 2])
    def test_the_shares_of_a_step_are_the_batch_of_one_process(self, shards, tmp_path, accumulate):
        config = TRAIN.model_copy(update={"batch": 8, "accumulate": accumulate})
        one, *two = (
            RestorationData(*job_data(shards), config, 3, processes=processes)
            for processes in (ALONE, Processes(0, 2, 0, 2), Processes(1, 2, 1, 2))
        )
        for step in range(6):
            shared = [order for data in two for order in data.sequence.orders(step)]
            assert shared == one.sequence.orders(step)
            assert all(isinstance(order, PatchSpec) for order in shared)

    @pytest.mark.parametrize("size", [2, 4, 5, 7])
    def test_each_validation_image_counts_once(self, shards, size):
        every = [
            [batch[2] for batch in RestorationData(*job_data(shards), whole(size), 3, processes=one).val_dataloader()]
            for one in (Processes(rank, size, rank, size) for rank in range(size))
        ]
        assert len({len(numbers) for numbers in every}) == 1  # or one would wait for the others
        counted = sorted(number for numbers in every for number in numbers if number != REPEATED)
        assert counted == [0, 0, 0, 1, 1, 1]

    def test_a_batch_that_cannot_be_shared_equally_is_refused(self, shards):
        with pytest.raises(
            ConfigError, match=r"train.batch = 4: 3 processes share it; expected a multiple of 3; set train.batch to 6"
        ):
            RestorationData(*job_data(shards), TRAIN, 3, processes=Processes(0, 3, 0, 3))

    def test_devices_that_nobody_has_started_are_refused(self, shards, tmp_path):
        with pytest.raises(ConfigError, match=r"train.devices = 2: this process is the only one; .*torchrun"):
            fit(make_job(shards, tmp_path), TRAIN.model_copy(update={"devices": 2}), MODEL)
        assert not (tmp_path / "state").exists()

    def test_a_run_may_go_on_with_another_number_of_them(self, shards, tmp_path):
        marks = {
            fingerprint(make_job(shards, tmp_path), TRAIN.model_copy(update={"devices": count}), MODEL)
            for count in (1, 2)
        }
        assert len(marks) == 1


def job_data(shards: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    return tuple((shards / "train").iterdir()), tuple((shards / "val").iterdir())


def whole(size: int):
    return TRAIN.model_copy(update={"batch": size})


def start(root: Path, arguments: list[str], environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=root,
        text=True,
        stderr=subprocess.PIPE,
        env=clean | {"OMP_NUM_THREADS": "1"} | (environment or {}),
    )


def train(root: Path, shards: Path, folder: Path, what: dict[str, object], launcher: list[str] | None = None) -> str:
    """Train in the processes of ``launcher``, in one without; what it says, which must end well."""
    process = start(root, [*(launcher or []), "-m", "tests.together", str(shards), str(folder), json.dumps(what)])
    said = words_of(process)
    assert process.returncode == 0, said
    return said


def words_of(process: subprocess.Popen[str]) -> str:
    """What it says until its end; in no case does it go on behind the test."""
    try:
        return process.communicate(timeout=500)[1]
    finally:
        if process.poll() is None:
            process.terminate()  # launchers end what they have started
            with suppress(subprocess.TimeoutExpired):
                process.wait(60)
            process.kill()


def error_in(said: str) -> str:
    """The only line that tells of an error."""
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    return line


TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture(scope="module")
def one(root: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one")
    train(root, shards, folder, {})
    return folder


@pytest.fixture(scope="module")
def two(root: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    said = train(root, shards, folder, {}, TORCHRUN)
    assert "Warning" not in said
    return folder


@pytest.mark.slow
class TestAsOne:
    def test_the_same_gradients(self, one, two):
        alone, *shared = (
            torch.load(file, weights_only=True)
            for file in (one / "gradients-0.pt", two / "gradients-0.pt", two / "gradients-1.pt")
        )
        for gradients in shared:
            for step in range(TRAIN.max_steps):
                assert max(float((alone[step][key] - gradients[step][key]).abs().max()) for key in alone[step]) < 1e-9

    def test_the_same_weights(self, one, two):
        assert_same_weights(one, two)

    def test_the_same_curves(self, one, two):
        a, b = (json.loads((folder / "history.json").read_text()) for folder in (one, two))
        assert a.keys() == b.keys()
        for name in a.keys() - TIMINGS:
            assert [step for step, _ in a[name]] == [step for step, _ in b[name]]
            assert [value for _, value in a[name]] == pytest.approx([value for _, value in b[name]], abs=1e-6)

    def test_a_run_of_two_goes_on_as_one(self, root, shards, one, tmp_path):
        train(root, shards, tmp_path, {"end_at": 7}, TORCHRUN)
        assert not (tmp_path / "out").exists()
        train(root, shards, tmp_path, {})
        assert_same_weights(one, tmp_path)

    def test_a_run_of_one_goes_on_as_two_under_slurm(self, root, shards, one, tmp_path):
        """The variables that srun sets; `tests/faults/test_slurm.py` has a real one."""
        train(root, shards, tmp_path, {"end_at": 7})
        for status, said in under_slurm(root, shards, tmp_path, {}):
            assert status == 0, said
        assert_same_weights(one, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [{}, {"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "train"}])
def test_what_srun_did_not_start_is_one_process_without_a_word(root, shards, one, tmp_path, batch):
    """On a machine that has srun, outside of Slurm and in a script of sbatch; Lightning has opinions about both."""
    (tmp_path / "srun").touch(0o755)
    arguments = ["-m", "tests.together", str(shards), str(tmp_path / "run"), "{}"]
    process = start(root, arguments, {"PATH": f"{tmp_path}:{os.environ['PATH']}"} | batch)
    assert words_of(process) == ""
    assert_same_weights(one, tmp_path / "run")


RAY_TRAIN = """
import sys
from pathlib import Path

import ray
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer


def train(settings):
    from tests.together import main

    main(settings["shards"], settings["folder"], {})


settings = {"shards": Path(sys.argv[1]), "folder": Path(sys.argv[2])}
ray.init(num_cpus=2, include_dashboard=False)
TorchTrainer(
    train,
    train_loop_config=settings,
    scaling_config=ScalingConfig(num_workers=2),
    run_config=RunConfig(storage_path=sys.argv[3]),
).fit()
"""


@pytest.mark.slow
def test_two_workers_of_ray_train_end_with_the_same_weights(root, shards, one, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    more = {"PYTHONPATH": str(root), "RAY_USAGE_STATS_ENABLED": "0"}
    process = start(root, ["-c", RAY_TRAIN, str(shards), str(folder), str(tmp_path / "ray")], more)
    said = words_of(process)
    if process.returncode and not list(folder.iterdir()) and "timed out during startup" in said:
        pytest.skip("this machine is too busy to start Ray in the time that it allows")
    assert process.returncode == 0, said
    assert_same_weights(one, folder)


def unused_port() -> str:
    """Below those that the system gives to connections, one of which could take it before it is used."""
    while True:
        port = random.randrange(20000, 30000)
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port))
            return str(port)


def under_slurm(root: Path, shards: Path, folder: Path, what: dict[str, object]) -> list[tuple[int, str]]:
    """Two processes that nobody watches: the status of each, and what it says."""
    port = unused_port()
    slurm = SLURM | {"SLURM_NTASKS": "2", "SLURM_NNODES": "1", "SLURM_NODELIST": "localhost", "MASTER_PORT": port}
    arguments = ["-m", "tests.together", str(shards), str(folder), json.dumps(what)]
    tasks = [
        start(root, arguments, slurm | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)}) for rank in range(2)
    ]
    said = [words_of(task) for task in tasks]
    return [(task.returncode, words) for task, words in zip(tasks, said, strict=True)]


def launched(root: Path, shards: Path, folder: Path, what: dict[str, object]) -> tuple[int, str]:
    """Two processes of `launch`: its status, and what it says at the end."""
    arguments = ["-m", "tests.together", str(shards), str(folder), json.dumps(what)]
    script = (
        "import sys\n"
        "from cea.errors import InputError\n"
        "from cea.training.processes import launch\n"
        f"try: launch(2, {arguments!r})\n"
        "except InputError as error: sys.exit(f'error: {error}')\n"
    )
    process = start(root, ["-c", script])
    said = words_of(process)
    return process.returncode, error_in(said)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "ended"),
    [
        ({"kill_at": 7, "rank": 1}, "process 2 of 2 was ended by SIGKILL; so were the others"),
        ({"kill_at": 7, "rank": 0}, "process 1 of 2 was ended by SIGKILL; so were the others"),
        ({"kill_at": 7, "rank": 0, "signal": "SIGTERM"}, "process 1 of 2 was ended by SIGTERM; so were the others"),
        ({"tell_at": 7}, "SIGTERM ended all 2 processes"),
    ],
)
def test_a_process_that_ends_takes_the_others_along_with_one_error_and_the_run_goes_on(
    root, shards, one, tmp_path, what, ended
):
    assert launched(root, shards, tmp_path, what) == (
        1,
        f"error: {ended}; expected all of them until the end; the same command goes on from the last checkpoint",
    )
    assert not (tmp_path / "out").exists()
    train(root, shards, tmp_path, {})
    assert_same_weights(one, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_where_nobody_watches_the_one_that_is_left_says_so_and_the_run_goes_on(root, shards, one, tmp_path, rank):
    """As with srun; the first process also keeps the list of all of them."""
    found = under_slurm(root, shards, tmp_path, {"kill_at": 7, "rank": rank})
    assert found[rank][0] == -signal.SIGKILL
    status, said = found[1 - rank]
    assert status == 2
    assert error_in(said) == (
        f"error: process {2 - rank} of 2: another process of this training ended; expected all of them until the end; "
        "read the message of that process; the same command goes on from the last checkpoint"
    )
    train(root, shards, tmp_path, {})
    assert_same_weights(one, tmp_path)
