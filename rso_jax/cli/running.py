"""Settings of a run that say where and how long it runs, whatever it trains."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from rso_jax.cli.flags import OptionalFloat, OptionalInt, OptionalName, OptionalPath
from rso_jax.cli.joining import check_flags
from rso_jax.errors import UserError


@dataclass(frozen=True)
class Stopping:
    """When a run is scored and when it stops."""

    max_minutes: OptionalFloat = None
    """Stop by itself after so many minutes, and save."""
    score_every: OptionalInt = None
    """Cycles from one evaluation to the next; 1, or enough for 50 in all."""
    overwrite: bool = False
    """Replace the run that --out holds."""


@dataclass(frozen=True)
class Devices:
    """Which devices and processes share the work."""

    mesh: OptionalName = None
    """Devices along the axes data (examples) and candidate (candidates at
    once), as data=2,candidate=3; by default all on data."""
    coordinator: OptionalName = None
    """HOST:PORT of the first of several processes; or auto, where Slurm,
    Open MPI or Cloud TPU say this and the next two."""
    processes: OptionalInt = None
    """How many processes share the run."""
    process: OptionalInt = None
    """Which of them this is, from 0; 0 writes the run folder."""


@dataclass(frozen=True)
class Running:
    """Where and how long to run."""

    seed: int = 0
    """Of initial weights, mini-batches and perturbations."""
    out: OptionalPath = None
    """Run folder to create; by default a new one under runs/."""
    resume: OptionalPath = None
    """Go on with the run in this folder, with its own settings."""
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
