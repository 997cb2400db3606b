"""The loop: cycles of stages, with metrics, checkpoints and interruption.

The state of a run is the method's state and a ``Progress``; everything else (mini-batches,
order, perturbations) follows from the seed and the cycle, so that a run resumed from a
checkpoint ends with the same parameters, bit for bit, as one that was not interrupted.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh

from rso_jax.arrays import structs_of, weak_as
from rso_jax.data import Dataset, draw_minibatches
from rso_jax.errors import UserError
from rso_jax.mesh import placed, placed_rows
from rso_jax.networks.functional import Network
from rso_jax.training import processes, run_folder
from rso_jax.training.checkpoint import has_checkpoints, load_checkpoint, save_checkpoint
from rso_jax.training.evaluation import calibrate
from rso_jax.training.interruption import StopRequest
from rso_jax.training.method import Method, Stage
from rso_jax.training.progress import Reporter, SilentReporter, Status
from rso_jax.training.record import Progress, added, score_cycle

PyTree = Any

CALL_SECONDS = 1.0
"""About how long the device works between two looks at the clock and the stop request; as far as
the cuts of the stage allow."""
CHECKPOINT_SECONDS = 60.0
"""Within a stage a checkpoint is written this often."""
CHECKPOINT_SHARE = 0.05
"""A checkpoint is written after every stage, but of many short ones only after as many that saving
takes about this share of the time."""


class Outcome(NamedTuple):
    """What a run came to."""

    params: PyTree
    statistics: PyTree
    """Of batch norm, from training data; see ``calibrate``."""
    metrics: list[dict[str, Any]]
    """One entry for each cycle scored, as in metrics.jsonl."""
    progress: Progress
    stopped: str | None
    """Why the run ended early; None if it is complete."""


def train(
    method: Method,
    network: Network,
    data: Dataset,
    *,
    cycles: int,
    batch_size: int | Callable[[int], int],
    stacked: int | None = None,
    score_every: int = 1,
    seed: int = 0,
    folder: Path | None = None,
    resume: bool = False,
    stop: StopRequest | None = None,
    reporter: Reporter | None = None,
    loss_is_sum: bool = False,
    mesh: Mesh | None = None,
    shared: Mapping[str, Any] | None = None,
) -> Outcome:
    """Train a network.

    In several processes (``jax.distributed``) each calls this with the same arguments; the first
    one writes, reports and restores, and a stop asked of any of them stops all.

    Args:
        method: how; see ``search_method`` and ``rso_jax.baselines``.
        network: what.
        data: images already normalised.
        cycles: passes over all weights (epochs of a gradient method).
        batch_size: examples in a mini-batch, or that as a function of the cycle, counted from 0.
            Of each shuffle, what does not fill one is left out of that cycle. Every size is
            compiled anew.
        stacked: mini-batches drawn for a cycle; as many as the data fill, if not given.
        score_every: cycles from one evaluation to the next; the last is evaluated too.
        seed: of initial weights, mini-batches and perturbations.
        folder: run folder for metrics, parameters and checkpoints; nothing is written without.
        resume: go on from the newest checkpoint in ``folder``.
        stop: asked between calls to the device; see ``stop_on_signals``.
        reporter: told how it goes.
        loss_is_sum: the method's loss sums over the mini-batch; it is reported per example.
        mesh: devices that share the work, the same that the method was made for.
        shared: arrays by name that go into every mini-batch beside ``image`` and ``label``, the
            same for all examples (class weights, a temperature); the search is made with
            ``rso(..., shared=lambda path: path in names)``.

    Raises:
        UserError: a batch size that the data cannot fill, a folder that cannot be written or
            resumed, or one of another run.
    """
    if taken := {"image", "label"} & set(shared or {}):
        raise UserError(f"shared holds {taken.pop()!r}, which is of examples; use another name")
    if cycles < 1:
        raise UserError(f"cycles is {cycles}; train for at least 1")
    if score_every < 1:
        raise UserError(f"score_every is {score_every}; it must be at least 1")
    stop, reporter = stop or StopRequest(None), reporter or SilentReporter()
    if not processes.is_first():
        folder, reporter = None, SilentReporter()
    if folder is not None and not resume and has_checkpoints(folder / run_folder.CHECKPOINTS):
        raise UserError(
            f"{folder} holds a run; pass resume=True to go on, or choose another folder"
        )
    size_of = batch_size if callable(batch_size) else lambda cycle: batch_size
    key = jax.random.key(seed)
    params = network.init(jax.random.fold_in(key, 0), jax.numpy.asarray(data.x_train[:1]))
    state = method.init(jax.random.fold_in(key, 1), params)
    like, progress = structs_of(state), Progress()
    metrics: list[dict[str, Any]] = []
    if resume:
        state, progress, metrics = _restore(folder, state, progress)
    if resume or processes.several():  # the same to the last bit, whatever machines compute it
        state = weak_as(like, placed(mesh, processes.from_first(state)))

    def batches_of(cycle: int) -> PyTree:
        rng = np.random.default_rng([seed, cycle])
        rows = draw_minibatches(rng, len(data.y_train), size_of(cycle), at_most=stacked)
        examples = placed_rows(mesh, {"image": data.x_train, "label": data.y_train}, rows)
        return examples | placed(mesh, dict(shared or {}))

    def cycle_key(cycle: int) -> Array:
        return jax.random.fold_in(jax.random.fold_in(key, 2), cycle)

    saved_at, saving_took = time.monotonic(), 0.0

    def save(progress: Progress, unless_within: float = 0.0) -> Progress:
        nonlocal saved_at, saving_took
        began = time.monotonic()
        if folder is None or began - saved_at < unless_within:
            return progress
        progress = progress._replace(checkpoint=progress.checkpoint + 1)
        with run_folder.writing(folder):
            save_checkpoint(
                folder / run_folder.CHECKPOINTS, progress.checkpoint, state, progress._asdict()
            )
        saved_at = time.monotonic()
        saving_took = saved_at - began
        return progress

    def begun(progress: Progress) -> tuple[Progress, PyTree, list[Stage]]:
        """The mini-batches and stages of this cycle, if there is one left."""
        if progress.cycle == cycles:
            return progress, None, []
        began = time.monotonic()
        batches = jax.block_until_ready(batches_of(progress.cycle))
        stages = method.stages(cycle_key(progress.cycle), state, batches)
        took = time.monotonic() - began
        return progress._replace(seconds=progress.seconds + took), batches, stages

    status = Status()
    status.test_accuracy = metrics[-1]["test_accuracy"] if metrics else None
    progress, batches, stages = begun(progress)
    compiled: set[str] = set()
    reporter.begin(cycles, progress.cycle + _share_done(progress, stages))
    _, reason = _agreed(1, stop)
    try:
        while progress.cycle < cycles and reason is None:
            this_key = cycle_key(progress.cycle)
            if progress.stage < len(stages):
                stage = stages[progress.stage]
                began = time.monotonic()
                prepared = jax.block_until_ready(method.prepare(this_key, state, stage, batches))
                took = time.monotonic() - began
                progress = progress._replace(seconds=progress.seconds + took)
                advance = partial(method.advance, this_key)
                size = 1
                while progress.visit < stage.visits and reason is None:
                    end = stage.cut_near(progress.visit, size)
                    began = time.monotonic()
                    state, tally = jax.block_until_ready(
                        advance(state, stage, prepared, progress.visit, end)
                    )
                    took = time.monotonic() - began
                    done = end - progress.visit
                    size, reason = _agreed(_next_call_size(done, took), stop)
                    examples = size_of(progress.cycle) if loss_is_sum else 1
                    progress = added(progress, stage, tally, end, took, 1.0 / examples)
                    if stage.name in compiled or stage.name not in progress.pace:
                        pace = took / (done * size_of(progress.cycle))
                        progress = progress._replace(pace=progress.pace | {stage.name: pace})
                    compiled.add(stage.name)
                    status.images_per_second = tally.image_evaluations / took
                    _update(status, progress, stages, cycles, size_of)
                    now = progress.cycle + _share_done(progress, stages)
                    reporter.visits(progress.cycle, stage.name, now, status)
                    progress = save(progress, unless_within=CHECKPOINT_SECONDS)
                if progress.visit == stage.visits:
                    progress = progress._replace(stage=progress.stage + 1, visit=0)
                worthwhile = 0.0 if reason else saving_took / CHECKPOINT_SHARE
                progress = save(progress, unless_within=worthwhile)
                continue
            state = method.finish_cycle(state)
            if scored := (progress.cycle + 1) % score_every == 0 or progress.cycle + 1 == cycles:
                params = method.params(state)
                aux = method.aux(this_key, state, batches) if method.aux else None
                line, statistics = score_cycle(
                    params, network, data, progress, mesh, method.trained(params), aux
                )
                metrics.append(line)
                status.test_accuracy = line["test_accuracy"]
                if folder is not None:
                    with run_folder.writing(folder):
                        run_folder.write_metrics(folder, metrics)
                        run_folder.write_params(folder, method.params(state), statistics)
                reporter.cycle(line)
            progress = progress._replace(
                cycle=progress.cycle + 1,
                stage=0,
                visit=0,
                accepted={},
                proposed={},
                not_finite=0,
                candidates=0,
            )
            _, reason = _agreed(1, stop)
            progress = save(
                progress, unless_within=0.0 if scored or reason else saving_took / CHECKPOINT_SHARE
            )
            progress, batches, stages = begun(progress)
    finally:
        reporter.end()

    params = method.params(state)
    statistics = calibrate(network, params, data.x_train, mesh)
    if folder is not None:
        with run_folder.writing(folder):
            run_folder.write_params(folder, params, statistics)
    complete = progress.cycle >= cycles
    return Outcome(params, statistics, metrics, progress, None if complete else reason)


def _agreed(size: int, stop: StopRequest) -> tuple[int, str | None]:
    """The visits of the next call, and why to stop, as all processes see it."""
    mine = stop.reason()
    size, stopping = processes.agreed(size, mine is not None)
    return size, mine or ("stopped by another process" if stopping else None)


def _restore(
    folder: Path | None, state: PyTree, progress: Progress
) -> tuple[PyTree, Progress, list[dict[str, Any]]]:
    def warn(message: str) -> None:
        print(f"rso: {message}", flush=True)

    lines: list[dict[str, Any]] = []
    if folder is not None:
        found = load_checkpoint(folder / run_folder.CHECKPOINTS, state, warn)
        if found is None:
            warn(f"no usable checkpoint in {folder}; starting from the beginning")
        else:
            _, state, stored = found
            # Fields that an older version did not have yet take their defaults.
            progress = Progress(
                **{name: stored[name] for name in stored if name in Progress._fields}
            )
            # A line may have been written for a cycle whose checkpoint was not: that runs again.
            lines = [x for x in run_folder.read_metrics(folder) if x["cycle"] <= progress.cycle]
    progress = Progress(**processes.text_from_first(progress._asdict()))
    return state, progress, lines


def _next_call_size(size: int, took: float) -> int:
    """Visits for the next call: aim at CALL_SECONDS, grow at most eightfold.

    The first call of a stage compiles, so its time says little; the next ones correct it.
    """
    return max(1, min(8 * size, int(size * CALL_SECONDS / max(took, 1e-6))))


def _share_done(progress: Progress, stages: list[Stage]) -> float:
    """Of this cycle."""
    done = sum(stage.visits for stage in stages[: progress.stage]) + progress.visit
    return done / max(1, sum(stage.visits for stage in stages))


def _update(
    status: Status,
    progress: Progress,
    stages: list[Stage],
    cycles: int,
    size_of: Callable[[int], int],
) -> None:
    status.loss = progress.loss
    status.accepted_share = sum(progress.accepted.values()) / sum(progress.proposed.values())
    # A visit takes about as long as its mini-batch is large.
    later = sum(size_of(cycle) for cycle in range(progress.cycle + 1, cycles))
    remaining = {s.name: float(later * s.visits) for s in stages}
    for i, s in enumerate(stages[progress.stage :]):
        left = s.visits - (progress.visit if i == 0 else 0)
        remaining[s.name] += left * size_of(progress.cycle)
    status.estimate({name: n for name, n in remaining.items() if n}, progress.pace)
