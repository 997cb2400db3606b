"""Settings of a run that say where and how long it runs, whatever it trains."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from rso_jax.cli.flags import OptionalFloat, OptionalInt, OptionalName, OptionalPath
from rso_jax.cli.joining import check_flags
from rso_jax.errors import UserError, check_name
from rso_jax.training.tensorboard import check_tensorboard

TENSORBOARD = "tensorboard"
LOGS = (TENSORBOARD, "none")
"""What can be written besides the run folder's own files."""


@dataclass(frozen=True)
class Stopping:
    """When a run is scored and when it stops."""

    max_minutes: OptionalFloat = None
    """Minutes after which the run stops and saves."""
    score_every: OptionalInt = None
    """Cycles from one evaluation to the next."""
    overwrite: bool = False
    """Replace the run in --out."""
    log: OptionalName = None
    """tensorboard: event files in the folder; or none."""


@dataclass(frozen=True)
class Devices:
    """Which devices and processes share the work."""

    mesh: OptionalName = None
    """Such as data=2,candidate=3; else all on data."""
    coordinator: OptionalName = None
    """HOST:PORT of process 0; auto in Slurm, MPI, TPU."""
    processes: OptionalInt = None
    """Number of processes that share the run."""
    process: OptionalInt = None
    """Number of this one, from 0, which writes the run."""


@dataclass(frozen=True)
class Running:
    """Where and how long to run."""

    seed: int = 0
    """Seed of all random numbers."""
    out: OptionalPath = None
    """New run folder; by default one under runs/."""
    resume: OptionalPath = None
    """Run folder to go on with, by its own settings."""
    stopping: Annotated[Stopping, tyro.conf.arg(name="run", help="")] = Stopping()
    devices: Annotated[Devices, tyro.conf.arg(name="device", help="")] = Devices()

    def check(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            UserError: the value and what it must be.
        """
        if not 0 <= self.seed < 2**32:
            raise UserError(f"--seed is {self.seed}; it must be from 0 to {2**32 - 1}")
        stopping, devices = self.stopping, self.devices
        if stopping.score_every is not None and stopping.score_every < 1:
            raise UserError(f"--score-every is {stopping.score_every}; it must be at least 1")
        if stopping.max_minutes is not None and not stopping.max_minutes > 0:
            raise UserError(f"--max-minutes is {stopping.max_minutes}; it must be above 0")
        if stopping.log is not None:
            check_name("--log", stopping.log, LOGS)
        if stopping.log == TENSORBOARD:
            check_tensorboard(f"--log {TENSORBOARD}", ", or pass --log none")
        check_flags(devices.coordinator, devices.processes, devices.process)
        if self.resume is not None:
            self._check_resumed(self.resume)

    def _check_resumed(self, folder: object) -> None:
        if self.out is not None and self.out != folder:
            raise UserError(f"--resume {folder} goes on in that folder; leave --out {self.out} out")
        if self.stopping.overwrite:
            raise UserError(
                "--resume goes on with a run and --overwrite starts it again; choose one"
            )
