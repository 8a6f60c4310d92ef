"""Training over several processes: who they are, and what they tell each other.

A launcher starts the processes and says so in their environment: torchrun, Slurm's ``srun``, Ray Train, or `launch`,
which is torchrun for the processes of one machine. Each takes its share of every batch; the first one alone writes.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import distributed

from cea.errors import ConfigError, DataError

_RUN = "cea"
"""What `launch` calls its group of processes, so that they know who reports a death among them."""

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_SLURM = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_STEP_ID", "SLURM_NNODES")

T = TypeVar("T")


@dataclass(frozen=True)
class Processes(ClusterEnvironment):
    """The processes of one training, as this one of them sees them.

    Attributes:
        rank: of this process, from 0.
        size: how many there are, on all machines.
        place: the rank among those on this machine.
        here: how many there are on this machine.
    """

    rank: int = 0
    size: int = 1
    place: int = 0
    here: int = 1

    @classmethod
    def found(cls, environment: Mapping[str, str] = os.environ) -> Processes:
        """Those that the environment's launcher has started; one alone where there is none.

        Raises:
            ConfigError: numbers that contradict each other.
        """
        if all(name in environment for name in _TORCHRUN):
            return cls._checked(*(environment[name] for name in _TORCHRUN))
        if all(name in environment for name in _SLURM):  # a step: what srun started, and not sbatch
            rank, size, place, _, nodes = (environment[name] for name in _SLURM)
            if int(size) % int(nodes):
                raise _odd(f"{size} tasks on {nodes} nodes")
            return cls._checked(rank, size, place, str(int(size) // int(nodes)))
        return cls()

    @classmethod
    def _checked(cls, *numbers: str) -> Processes:
        if not all(number.isdecimal() for number in numbers):
            raise _odd(f"rank, size, rank and size on this machine {', '.join(numbers)}")
        found = cls(*(int(number) for number in numbers))
        if not (found.rank < found.size and found.place < found.here and found.size % found.here == 0):
            raise _odd(f"process {found.rank} of {found.size}, {found.place} of {found.here} on this machine")
        return found

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    @property
    def machines(self) -> int:
        """How many there are."""
        return self.size // self.here

    def __str__(self) -> str:
        return f"process {self.rank + 1} of {self.size}"

    # What Lightning asks of a cluster.

    creates_processes_externally = True

    @property
    def main_address(self) -> str:
        """Of the machine with the first process."""
        nodes = os.environ.get("SLURM_NODELIST", "127.0.0.1")
        return os.environ.get("MASTER_ADDR") or SLURMEnvironment.resolve_root_node_address(nodes)

    @property
    def main_port(self) -> int:
        """Where the first process listens: by the number of Slurm's job, where nobody says."""
        return int(os.environ.get("MASTER_PORT") or 15000 + int(os.environ.get("SLURM_JOB_ID", "0")[-4:]))

    @staticmethod
    def detect() -> bool:
        """Lightning is told."""
        return False

    def world_size(self) -> int:
        """All processes."""
        return self.size

    def global_rank(self) -> int:
        """Among all."""
        return self.rank

    def local_rank(self) -> int:
        """Among those of this machine."""
        return self.place

    def node_rank(self) -> int:
        """Of this machine."""
        return self.rank // self.here

    def set_world_size(self, size: int) -> None:
        """Known already."""
        assert size == self.size

    def set_global_rank(self, rank: int) -> None:
        """Known already."""
        assert rank == self.rank


ALONE = Processes()
"""One process, as without a launcher."""


def _odd(what: str) -> ConfigError:
    return ConfigError(
        f"the launcher says {what}",
        expected="as many processes on each machine",
        remedy="start them with torchrun, with srun --ntasks-per-node, or with Ray Train (docs/scale.md)",
    )


@contextmanager
def joined(processes: Processes, *, gpu: bool) -> Iterator[None]:
    """Connect the processes, where there are several and nobody has yet; all of them leave together.

    Raises:
        PeerError: another process ended.
    """
    if processes.size == 1:
        yield
        return
    if gpu:
        torch.cuda.set_device(processes.place)
    connected = distributed.is_initialized()  # Ray Train has
    try:
        if not connected:
            os.environ.setdefault("MASTER_ADDR", processes.main_address)
            os.environ.setdefault("MASTER_PORT", str(processes.main_port))
            distributed.init_process_group(
                "cpu:gloo,cuda:nccl" if gpu else "gloo", rank=processes.rank, world_size=processes.size
            )
        yield
        distributed.barrier()  # nobody leaves before the first has written
        if not connected:
            distributed.destroy_process_group()
    except RuntimeError as error:
        if not _is_loss(error):
            raise
        raise PeerError(
            f"{processes}: another process of this training ended",
            expected="all of them until the end",
            remedy="read the message of that process; the same command goes on from the last checkpoint",
        ) from None


class EndAtOnce(Callback):
    """SIGTERM ends this process, and thereby the others: Lightning's handler would wait for them, out of turn."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the place of Lightning's handler, which the trainer removes in the end; it has none in a thread."""
        if threading.current_thread() is threading.main_thread():  # Ray Train trains in another, and ends it itself
            signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


LOST = 75
"""Exit status of a process that lost another one and leaves it to others to say so."""


class PeerError(DataError):
    """Another process of this training is gone; its own error is the one to read."""


def speaks(processes: Processes) -> bool:
    """Whether this process tells of the loss of another, and not who launched them: the first two do, of which one
    is left when the other is lost."""
    return processes.rank < 2 and os.environ.get("TORCHELASTIC_RUN_ID") != _RUN


def _is_loss(error: RuntimeError) -> bool:
    return isinstance(error, distributed.DistError) or any(word in str(error) for word in ("gloo", "NCCL", "TCPStore"))


def of_first(make: Callable[[], T], processes: Processes) -> T:
    """What ``make`` gives in the first process, for all of them."""
    if processes.size == 1:
        return make()
    box = [make() if processes.first else None]
    distributed.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return box[0]  # type: ignore[return-value]


def of_all(own: T, processes: Processes) -> list[T]:
    """What each process has, in the order of their ranks, for all of them."""
    if processes.size == 1:
        return [own]
    everyone: list[T] = [own] * processes.size
    distributed.all_gather_object(everyone, own)
    return everyone


def launch(count: int, arguments: Sequence[str]) -> None:
    """Run ``python ARGUMENTS`` in ``count`` processes of this machine that know of each other, as torchrun does.

    When one fails, the others are ended; SIGTERM to this process ends all of them.

    Raises:
        DataError: one was killed or told to end, or this process was.
        SystemExit: one failed, with its status; it has said why.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    config = LaunchConfig(
        1, 1, count, run_id=_RUN, rdzv_backend="c10d", rdzv_endpoint="localhost:0", max_restarts=0, monitor_interval=0.1
    )
    try:
        elastic_launch(config, sys.executable)(*arguments)
    except ChildFailedError as error:
        rank, failure = min(error.failures.items(), key=lambda one: (one[1].exitcode == LOST, one[1].timestamp))
        number = -failure.exitcode if failure.exitcode < 0 else failure.exitcode - 128  # 143: `EndAtOnce`
        if number not in {one.value for one in signal.Signals}:
            sys.exit(failure.exitcode)
        name = signal.Signals(number).name
        raise _ended(f"process {rank + 1} of {count} was ended by {name}; so were the others") from None
    except SignalException as error:
        raise _ended(f"{error.sigval.name} ended all {count} processes") from None


def _ended(what: str) -> DataError:
    return DataError(
        what, expected="all of them until the end", remedy="the same command goes on from the last checkpoint"
    )
