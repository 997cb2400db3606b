"""From settings as given to what a run consists of: data, network, schedule, method."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from jax.sharding import Mesh

from rso_jax.cli.devices import choose_mesh
from rso_jax.cli.methods import Schedule
from rso_jax.cli.problem import Posed, pose
from rso_jax.cli.settings import Train, flatten
from rso_jax.cli.start import start_from
from rso_jax.method import Method
from rso_jax.tasks import Task, classification
from rso_jax.training import keys, run_folder
from rso_jax.training.checkpoint import has_checkpoints


class Assembly(NamedTuple):
    """What a run consists of, settled: nothing is left to the data or the preset."""

    settings: Train[Any]
    """As given."""
    posed: Posed
    schedule: Schedule
    method: Method
    task: Task

    @property
    def mesh(self) -> Mesh | None:
        """Devices that share the work; None for one."""
        return self.method.mesh

    def values(self) -> dict[str, Any]:
        """Every setting by its name, with the defaults that data and preset decide."""
        found = flatten(self.settings) | flatten(self.settings.method.fill_in())
        settled = {
            "model": self.posed.model,
            "norm": self.posed.norm,
            **self.posed.readout,
            "cycles": self.schedule.cycles,
            "batch_size": self.schedule.batch_sizes,
            "batches_per_cycle": self.schedule.batches_per_cycle,
            "score_every": self.schedule.score_every,
        }
        return found | {name: value for name, value in settled.items() if name in found}


def assemble(settings: Train[Any]) -> Assembly:
    """Load the data and build network, schedule and method for all devices asked for.

    Raises:
        UserError: a setting that cannot work, before any training.
    """
    settings.check()
    given, running = settings.method, settings.running
    posed = pose(settings.problem, given.conventions)
    schedule = given.settle(posed.data.name, posed.examples)
    if running.stopping.score_every is not None:
        schedule = schedule._replace(score_every=running.stopping.score_every)
    mesh = choose_mesh(running.devices.mesh, schedule.batch_sizes)
    method = given.method(posed, schedule, mesh)
    task = pose_task(posed, schedule, mesh)
    start = settings.problem.details.start
    if start is not None and not _goes_on_without(Path(start), running.resume):
        params = start_from(Path(start), task.init(keys.of_initial_parameters(running.seed)))
        task = replace(task, init=lambda key: params)
    return Assembly(settings, posed, schedule, method, task)


def _goes_on_without(start: Path, resumed: Path | None) -> bool:
    """Whether a run has its weights in a checkpoint, and no longer the file that it began with."""
    if resumed is None or start.exists():
        return False
    return has_checkpoints(resumed / run_folder.CHECKPOINTS)


def pose_task(posed: Posed, schedule: Schedule, mesh: Mesh | None) -> Task:
    """The task of classifying the data with mini-batches as scheduled."""
    return classification(
        posed.network,
        posed.data,
        batch_size=schedule.batch_size,
        batches_per_cycle=schedule.batches_per_cycle,
        mesh=mesh,
        augment=posed.augment,
    )
