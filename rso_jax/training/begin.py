"""The beginning of a run: what it is made of, checked; its state, new or from a checkpoint."""

from pathlib import Path
from typing import Any, NamedTuple

from rso_jax.arrays import structs_of, weak_as
from rso_jax.errors import UserError, whole_number
from rso_jax.mesh import place
from rso_jax.method import Method
from rso_jax.tasks.task import Task
from rso_jax.training import keys, processes, run_folder
from rso_jax.training.checkpoint import has_checkpoints, load_checkpoint
from rso_jax.training.checkpointer import Checkpointer
from rso_jax.training.checks import check_batch_sizes, check_parts, check_surroundings
from rso_jax.training.interruption import StopRequest
from rso_jax.training.reporter import Reporter, SilentReporter
from rso_jax.training.run import Progress, Run

PyTree = Any


class Setup(NamedTuple):
    """What a run is made of, the same from its first cycle to its last."""

    method: Method
    task: Task
    batch_sizes: tuple[int, ...]
    """Of every cycle."""
    seed: int
    score_every: int
    folder: Path | None
    """None where nothing is written: in all processes but the first."""
    checkpointer: Checkpointer
    stop: StopRequest
    reporter: Reporter

    def scores(self, cycle: int) -> bool:
        """Whether a cycle, counted from 0, is scored."""
        return (cycle + 1) % self.score_every == 0 or cycle + 1 == len(self.batch_sizes)


def set_up(
    method: Any,
    task: Any,
    *,
    cycles: Any,
    seed: Any,
    score_every: Any,
    folder: str | Path | None,
    resume: bool,
    stop: StopRequest | None,
    reporter: Reporter | None,
) -> Setup:
    """Check what ``train`` is given.

    Raises:
        UserError: as ``train`` says.
    """
    check_parts(method, task)
    check_surroundings(folder, stop, reporter)
    cycles = whole_number("cycles", cycles, 1)
    score_every = whole_number("score_every", score_every, 1)
    seed = whole_number("seed", seed, 0)
    batch_sizes = check_batch_sizes(task, cycles)
    if folder is None and resume:
        raise UserError("resume=True needs the folder of the run to go on with")
    folder = None if folder is None else Path(folder)
    stop = StopRequest() if stop is None else stop
    reporter = SilentReporter() if reporter is None else reporter
    if not processes.is_first():
        folder, reporter = None, SilentReporter()
    if folder is not None:
        _check_folder(folder, resume, cycles)
    checkpointer = Checkpointer(folder, seed)
    return Setup(method, task, batch_sizes, seed, score_every, folder, checkpointer, stop, reporter)


def _check_folder(folder: Path, resume: bool, cycles: int) -> None:
    """Refuse to begin where there is a run, and to go on where one is over."""
    there = has_checkpoints(folder / run_folder.CHECKPOINTS)
    if there and not resume:
        raise UserError(
            f"{folder} holds a run; pass resume=True to go on, or choose another folder"
        )
    if resume and not there:
        _refuse_complete(folder, cycles)


def _refuse_complete(folder: Path, cycles: int) -> None:
    if run_folder.is_complete(folder, cycles):
        raise UserError(
            f"the run in {folder} is complete, and without checkpoints there is nothing to go on "
            f"with: its {run_folder.METRICS} holds cycle {cycles}; begin another in another folder"
        )


def begin_run(setup: Setup, resume: bool) -> Run:
    """The run before its first visit, or as its newest checkpoint has it.

    Raises:
        UserError: the checkpoint holds another state than the method's, or is of another seed; or
            there is none that is whole, and the run is complete.
    """
    params = setup.task.init(keys.of_initial_parameters(setup.seed))
    run = Run(setup.method.init(keys.of_method(setup.seed), params))
    if not resume and not processes.several():
        return run
    like = structs_of(run.state)
    if resume:
        run = _restore(setup, run)
    # The same to the last bit, whatever machines compute it.
    state = place(setup.method.mesh, processes.from_first(run.state))
    return run._replace(state=weak_as(like, state))


def _restore(setup: Setup, run: Run) -> Run:
    folder, found = setup.folder, None
    if folder is not None:
        found = load_checkpoint(folder / run_folder.CHECKPOINTS, run.state, _warn)
        if found is None:
            _refuse_complete(folder, len(setup.batch_sizes))
            _warn(f"no usable checkpoint in {folder}; starting from the beginning")
    if folder is not None and found is not None:
        _, state, stored = found
        # An older version did not write it down.
        if stored.get("seed", setup.seed) != setup.seed:
            raise UserError(
                f"seed is {setup.seed}, but the run in {folder} was begun with seed "
                f"{stored['seed']}; go on with that one, or begin another in another folder"
            )
        # Fields that an older version did not have yet take their defaults.
        progress = Progress(**{name: stored[name] for name in stored if name in Progress._fields})
        # A line may have been written for a cycle whose checkpoint was not: that runs again.
        lines = [x for x in run_folder.read_metrics(folder) if x["cycle"] <= progress.cycle]
        run = Run(state, progress, tuple(lines))
    agreed = processes.text_from_first(run.progress._asdict())
    return run._replace(progress=Progress(**agreed))


def _warn(message: str) -> None:
    print(f"rso: {message}", flush=True)
