"""The loop: cycles of stages, with metrics, checkpoints and interruption.

The state of a run is the method's state and a ``Progress``; everything else (mini-batches,
order, perturbations) follows from the seed and the cycle, so that a run resumed from a
checkpoint ends with the same parameters, bit for bit, as one that was not interrupted.
"""

import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from rso_jax.mesh import DATA, place
from rso_jax.method import Info, Method, Stage, count_trained
from rso_jax.tasks.task import Task
from rso_jax.training import keys, processes, run_folder
from rso_jax.training.ahead import compile_ahead
from rso_jax.training.begin import Setup, begin_run, set_up
from rso_jax.training.checks import check_batches, check_score, is_stack, score_of
from rso_jax.training.interruption import StopRequest
from rso_jax.training.metrics import metrics_line
from rso_jax.training.reporter import ParamsReporter, Reporter, Status
from rso_jax.training.run import Cycle, Progress, Run
from rso_jax.training.time_left import cycles_done, next_call_size, seconds_left

PyTree = Any


class Outcome(NamedTuple):
    """What a run came to."""

    params: PyTree
    kept: PyTree
    """What the task keeps beside the parameters, such as statistics of batch norm."""
    metrics: list[dict[str, Any]]
    """One entry for each cycle scored, as in metrics.jsonl."""
    progress: Progress
    stopped: str | None
    """Why the run ended early; None if it is complete."""


def train(
    method: Method,
    task: Task,
    *,
    cycles: int,
    seed: int = 0,
    score_every: int = 1,
    folder: str | Path | None = None,
    resume: bool = False,
    stop: StopRequest | None = None,
    reporter: Reporter | None = None,
) -> Outcome:
    """Train on a task by a method, on the devices of the method's mesh.

    In several processes (``jax.distributed``) each calls this with the same arguments; the first
    one writes, reports and restores, and a stop asked of any of them stops all.

    Args:
        method: how; a search by ``rso``, or one of ``rso_jax.baselines``.
        task: what, and how it is judged; see ``rso_jax.tasks``.
        cycles: passes over all weights (epochs of a gradient method).
        seed: of initial weights, mini-batches and perturbations; see ``keys``.
        score_every: cycles from one evaluation to the next; the last is evaluated too.
        folder: run folder for metrics, parameters and checkpoints; nothing is written without.
        resume: go on from the newest checkpoint in ``folder``.
        stop: looked at between calls to the device; see ``StopRequest`` and ``stop_on_signals``.
        reporter: told how it goes; several by ``Reporters``.

    Raises:
        UserError: an argument of another kind, a task whose mini-batches or numbers are none, a
            folder that cannot be written or resumed, or one of another run or another seed.
    """
    setup = set_up(
        method,
        task,
        cycles=cycles,
        seed=seed,
        score_every=score_every,
        folder=folder,
        resume=resume,
        stop=stop,
        reporter=reporter,
    )
    run, cycle = open_cycle(setup, begin_run(setup, resume))
    shown = check_score(task, method.params(run.state))
    setup.reporter.begin(cycles, cycles_done(run.progress, cycle.stages), shown)
    run = stop_if_asked(setup, run)
    try:
        run = compile_left(setup, run, cycle)
        while run.stopped is None and run.progress.cycle < cycles:
            if run.progress.stage < len(cycle.stages):
                run = visit_stage(setup, run, cycle)
            else:
                run, cycle = open_cycle(setup, finish_cycle(setup, run, cycle))
    finally:
        setup.reporter.end()
    return conclude(setup, run)


def open_cycle(setup: Setup, run: Run) -> tuple[Run, Cycle]:
    """The mini-batches and stages of the cycle that the run is in; none if it is over.

    Raises:
        UserError: mini-batches that are no stack.
    """
    number, mesh = run.progress.cycle, setup.method.mesh
    key = keys.of_cycle(setup.seed, number)
    if run.stopped or number >= len(setup.batch_sizes):
        return run, Cycle(key, None, 0, [])
    began = time.monotonic()
    batches = setup.task.batches(keys.generator(setup.seed, number), number)
    batch_size = setup.batch_sizes[number]
    check_batches(batches, batch_size, mesh)
    batches = jax.block_until_ready(divided(mesh, batches, batch_size))
    stages = setup.method.stages(key, run.state, batches)
    return run.spending(time.monotonic() - began), Cycle(key, batches, batch_size, stages)


def divided(mesh: Mesh | None, batches: PyTree, batch_size: int) -> PyTree:
    """Batches on the devices of a mesh: stacks of the host divided, arrays of JAX as they lie.

    Other arrays of the host are whole on every device; numbers stay of weak type.
    """

    def put(array: Any) -> jax.Array:
        if isinstance(array, jax.Array):
            return array
        axes = (None, DATA) if is_stack(array, batch_size) else ()
        placed: jax.Array = place(mesh, array if np.isscalar(array) else np.asarray(array), *axes)
        return placed

    return jax.tree.map(put, batches)


def compile_left(setup: Setup, run: Run, cycle: Cycle) -> Run:
    """The run, once what is left of its cycle is compiled where that is worth doing ahead."""
    left = cycle.stages[run.progress.stage :]
    if not left:
        return run
    began = time.monotonic()
    compile_ahead(setup.method, cycle.key, run.state, left, cycle.batches, stop=setup.stop)
    return run.spending(time.monotonic() - began)


def visit_stage(setup: Setup, run: Run, cycle: Cycle) -> Run:
    """The run after the visits left of the stage it is in, or after those made before a stop."""
    stage = cycle.stages[run.progress.stage]
    began = time.monotonic()
    prepared = setup.method.prepare(cycle.key, run.state, stage, cycle.batches)
    jax.block_until_ready(prepared)
    run = run.spending(time.monotonic() - began)
    size, calls = 1, []
    while run.progress.visit < stage.visits and run.stopped is None:
        start = run.progress.visit
        end = stage.next_boundary(start, size)
        began = time.monotonic()
        state, info = jax.block_until_ready(
            setup.method.advance(cycle.key, run.state, stage, prepared, start, end)
        )
        took = time.monotonic() - began
        calls.append((end - start, took))
        size, stopped = agree(setup, next_call_size(calls))
        run = run.spending(took).after_visits(stage, end, state, info)
        run = run.with_pace(stage, took / ((end - start) * cycle.batch_size))
        run = run._replace(stopped=stopped)
        report_visits(setup, run, cycle, stage, info, took)
        run = setup.checkpointer.within_stage(run)
    if run.progress.visit == stage.visits:
        run = run.after_stage()
    return setup.checkpointer.between_stages(run)


def report_visits(
    setup: Setup, run: Run, cycle: Cycle, stage: Stage, info: Info, took: float
) -> None:
    """Tell the reporter of some visits that took so many seconds."""
    progress = run.progress
    left, at_least = seconds_left(progress, cycle, setup.batch_sizes)
    status = Status(
        loss=progress.loss,
        accepted_share=sum(progress.accepted.values()) / sum(progress.proposed.values()),
        examples_per_second=info.image_evaluations / took,
        unit=setup.task.unit,
        seconds_left=left,
        at_least=at_least,
        last_line=run.metrics[-1] if run.metrics else {},
    )
    done = cycles_done(progress, cycle.stages)
    setup.reporter.visits(progress.cycle, stage.name, done, status)


def finish_cycle(setup: Setup, run: Run, cycle: Cycle) -> Run:
    """The run before the next cycle, this one scored if it is its turn."""
    run = run._replace(state=setup.method.finish(run.state))
    scored = setup.scores(run.progress.cycle)
    if scored:
        run = score_cycle(setup, run, cycle)
    run = stop_if_asked(setup, run.after_cycle())
    if scored:
        return setup.checkpointer.save(run)
    return setup.checkpointer.between_stages(run)


def score_cycle(setup: Setup, run: Run, cycle: Cycle) -> Run:
    """The run with a line of metrics for the cycle it has completed; it is written and told."""
    method, task = setup.method, setup.task
    params = method.params(run.state)
    aux = method.aux(cycle.key, run.state, cycle.batches) if method.aux else None
    kept = task.keep(params)
    scored = score_of(task, params, kept)
    line = metrics_line(run.progress, scored, count_trained(method, params), aux)
    run = run._replace(metrics=(*run.metrics, line))
    if setup.folder is not None:
        with run_folder.writing(setup.folder):
            run_folder.write_metrics(setup.folder, run.metrics)
            run_folder.write_params(setup.folder, params, kept)
    if isinstance(setup.reporter, ParamsReporter):
        setup.reporter.params(line["cycle"], params)
    setup.reporter.cycle(line)
    return run


def conclude(setup: Setup, run: Run) -> Outcome:
    """What the run came to; its parameters are written once more."""
    params = setup.method.params(run.state)
    kept = setup.task.keep(params)
    if setup.folder is not None:
        with run_folder.writing(setup.folder):
            setup.folder.mkdir(parents=True, exist_ok=True)  # a run may stop before its first file
            run_folder.write_params(setup.folder, params, kept)
    complete = run.progress.cycle >= len(setup.batch_sizes)
    stopped = None if complete else run.stopped
    return Outcome(params, kept, list(run.metrics), run.progress, stopped)


def stop_if_asked(setup: Setup, run: Run) -> Run:
    """The run, with the reason to stop if there is one."""
    return run._replace(stopped=agree(setup, 1)[1])


def agree(setup: Setup, size: int) -> tuple[int, str | None]:
    """The visits of the next call, and why to stop, as all processes see it."""
    mine = setup.stop.reason()
    size, stopping = processes.agree(size, mine is not None)
    return size, mine or ("stopped by another process" if stopping else None)
