"""The loop: cycles of stages, with metrics, checkpoints and interruption.

The state of a run is the method's state and a ``Progress``; everything else (mini-batches,
order, perturbations) follows from the seed and the cycle, so that a run resumed from a
checkpoint ends with the same parameters, bit for bit, as one that was not interrupted.
"""

import math
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from rso_jax.data import Dataset, stack_minibatches
from rso_jax.errors import UserError
from rso_jax.networks.functional import Network
from rso_jax.training import run_folder
from rso_jax.training.checkpoint import load_checkpoint, save_checkpoint
from rso_jax.training.evaluation import calibrate, score
from rso_jax.training.interruption import StopRequest
from rso_jax.training.method import Method, Stage, Tally, count_weights
from rso_jax.training.progress import Reporter, SilentReporter, Status

PyTree = Any

TRAIN_SCORE_EXAMPLES = 10_000
"""The training loss of a cycle is taken over at most the first 10,000 training examples."""
CALL_SECONDS = 1.0
"""About how long the device works between two looks at the clock and the stop request; as far as
the cuts of the stage allow."""
CHECKPOINT_SECONDS = 60.0
"""A checkpoint is written after every stage, and within a stage this often."""


class Progress(NamedTuple):
    """Where a run stands, and what it cost so far."""

    checkpoint: int = 0
    cycle: int = 0
    stage: int = 0
    visit: int = 0
    accepted: dict[str, int] = {}  # noqa: RUF012 (never mutated)
    """Accepted changes by stage, in this cycle."""
    proposed: dict[str, int] = {}  # noqa: RUF012
    """Proposed changes by stage, in this cycle."""
    loss: float = math.nan
    """Mini-batch loss after the last visit, per example; NaN before the first."""
    weight_updates: int = 0
    image_evaluations: int = 0
    seconds: float = 0.0
    """Spent in stages, compilation included; evaluation and checkpoints are not."""


class Outcome(NamedTuple):
    """What a run came to."""

    params: PyTree
    statistics: PyTree
    """Of batch norm, from training data; see ``calibrate``."""
    metrics: list[dict[str, Any]]
    """One entry per completed cycle, as in metrics.jsonl."""
    progress: Progress
    stopped: str | None
    """Why the run ended early; None if it is complete."""


def train(
    method: Method,
    network: Network,
    data: Dataset,
    *,
    cycles: int,
    batch_size: int,
    seed: int = 0,
    folder: Path | None = None,
    resume: bool = False,
    stop: StopRequest | None = None,
    reporter: Reporter | None = None,
    loss_is_sum: bool = False,
) -> Outcome:
    """Train a network.

    Args:
        method: how; see ``search_method`` and ``rso_jax.baselines``.
        network: what.
        data: images already normalised.
        cycles: passes over all weights (epochs of a gradient method).
        batch_size: examples in a mini-batch. Of each shuffle, what does not fill one is left
            out of that cycle.
        seed: of initial weights, mini-batches and perturbations.
        folder: run folder for metrics, parameters and checkpoints; nothing is written without.
        resume: go on from the newest checkpoint in ``folder``.
        stop: asked between calls to the device; see ``stop_on_signals``.
        reporter: told how it goes.
        loss_is_sum: the method's loss sums over the mini-batch; it is reported per example.

    Raises:
        UserError: a batch size that the data cannot fill, or a folder that cannot be written.
    """
    if cycles < 1:
        raise UserError(f"cycles is {cycles}; train for at least 1")
    stop, reporter = stop or StopRequest(None), reporter or SilentReporter()
    loss_scale = 1.0 / batch_size if loss_is_sum else 1.0
    key = jax.random.key(seed)
    params = network.init(jax.random.fold_in(key, 0), jax.numpy.asarray(data.x_train[:1]))
    state = method.init(jax.random.fold_in(key, 1), params)
    progress = Progress()
    metrics: list[dict[str, Any]] = []
    if resume and folder is not None:
        state, progress, metrics = _restore(folder, state, progress)

    def batches_of(cycle: int) -> PyTree:
        rng = np.random.default_rng([seed, cycle])
        return jax.device_put(stack_minibatches(rng, data.x_train, data.y_train, batch_size))

    def cycle_key(cycle: int) -> Array:
        return jax.random.fold_in(jax.random.fold_in(key, 2), cycle)

    def save(progress: Progress) -> Progress:
        progress = progress._replace(checkpoint=progress.checkpoint + 1)
        if folder is not None:
            with run_folder.writing(folder):
                save_checkpoint(
                    folder / run_folder.CHECKPOINTS, progress.checkpoint, state, progress._asdict()
                )
        return progress

    status = Status()
    status.test_accuracy = metrics[-1]["test_accuracy"] if metrics else None
    batches = batches_of(progress.cycle)
    stages = method.stages(cycle_key(progress.cycle), state, batches)
    visits_per_cycle = sum(stage.visits for stage in stages)
    started = progress.cycle * visits_per_cycle + sum(s.visits for s in stages[: progress.stage])
    reporter.begin(cycles, cycles * visits_per_cycle, started + progress.visit)
    reason = stop.reason()
    saved_at = time.monotonic()
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
                    size = _next_call_size(done, took)
                    progress = _add(progress, stage, tally, end, took, loss_scale)
                    _update(status, progress, stage, stages, cycles, tally, done, took)
                    reporter.visits(progress.cycle, stage.name, done, status)
                    reason = stop.reason()
                    if time.monotonic() - saved_at > CHECKPOINT_SECONDS:
                        progress, saved_at = save(progress), time.monotonic()
                if progress.visit == stage.visits:
                    progress = progress._replace(stage=progress.stage + 1, visit=0)
                progress, saved_at = save(progress), time.monotonic()
                continue
            state = method.finish_cycle(state)
            line, statistics = _score_cycle(method.params(state), network, data, progress)
            metrics.append(line)
            status.test_accuracy = line["test_accuracy"]
            if folder is not None:
                with run_folder.writing(folder):
                    run_folder.write_metrics(folder, metrics)
                    run_folder.write_params(folder, method.params(state), statistics)
            reporter.cycle(line)
            progress = progress._replace(
                cycle=progress.cycle + 1, stage=0, visit=0, accepted={}, proposed={}
            )
            progress, saved_at = save(progress), time.monotonic()
            if progress.cycle < cycles:
                batches = batches_of(progress.cycle)
                stages = method.stages(cycle_key(progress.cycle), state, batches)
            reason = stop.reason()
    finally:
        reporter.end()

    params = method.params(state)
    statistics = calibrate(network, params, data.x_train)
    if folder is not None:
        with run_folder.writing(folder):
            run_folder.write_params(folder, params, statistics)
    complete = progress.cycle >= cycles
    return Outcome(params, statistics, metrics, progress, None if complete else reason)


def _restore(
    folder: Path, state: PyTree, progress: Progress
) -> tuple[PyTree, Progress, list[dict[str, Any]]]:
    def warn(message: str) -> None:
        print(f"rso: {message}", flush=True)

    found = load_checkpoint(folder / run_folder.CHECKPOINTS, state, warn)
    if found is None:
        warn(f"no usable checkpoint in {folder}; starting from the beginning")
        return state, progress, []
    _, state, stored = found
    progress = Progress(**stored)
    # A line may have been written for a cycle whose checkpoint was not: that cycle runs again.
    lines = [line for line in run_folder.read_metrics(folder) if line["cycle"] <= progress.cycle]
    return state, progress, lines


def _next_call_size(size: int, took: float) -> int:
    """Visits for the next call: aim at CALL_SECONDS, grow at most eightfold.

    The first call of a stage compiles, so its time says little; the next ones correct it.
    """
    return max(1, min(8 * size, int(size * CALL_SECONDS / max(took, 1e-6))))


def _add(
    progress: Progress, stage: Stage, tally: Tally, visit: int, took: float, loss_scale: float
) -> Progress:
    accepted, proposed = dict(progress.accepted), dict(progress.proposed)
    accepted[stage.name] = accepted.get(stage.name, 0) + int(tally.accepted)
    proposed[stage.name] = proposed.get(stage.name, 0) + tally.proposed
    return progress._replace(
        visit=visit,
        accepted=accepted,
        proposed=proposed,
        loss=float(tally.loss) * loss_scale,
        weight_updates=progress.weight_updates + tally.weight_updates,
        image_evaluations=progress.image_evaluations + tally.image_evaluations,
        seconds=progress.seconds + took,
    )


def _update(
    status: Status,
    progress: Progress,
    stage: Stage,
    stages: list[Stage],
    cycles: int,
    tally: Tally,
    done: int,
    took: float,
) -> None:
    status.loss = progress.loss
    status.accepted_share = sum(progress.accepted.values()) / sum(progress.proposed.values())
    status.measure(stage.name, done, tally.image_evaluations, took)
    later = cycles - progress.cycle - 1
    remaining = {s.name: later * s.visits for s in stages}
    for i, s in enumerate(stages[progress.stage :]):
        remaining[s.name] += s.visits - (progress.visit if i == 0 else 0)
    status.estimate(remaining)


def _score_cycle(
    params: PyTree, network: Network, data: Dataset, progress: Progress
) -> tuple[dict[str, Any], PyTree]:
    statistics = calibrate(network, params, data.x_train)
    part = slice(0, TRAIN_SCORE_EXAMPLES)
    on_train = score(network, params, statistics, data.x_train[part], data.y_train[part])
    on_test = score(network, params, statistics, data.x_test, data.y_test)
    accepted, proposed = sum(progress.accepted.values()), sum(progress.proposed.values())
    line = {
        "cycle": progress.cycle + 1,
        "train_loss": _json_number(on_train.loss),
        "train_accuracy": on_train.accuracy,
        "test_loss": _json_number(on_test.loss),
        "test_accuracy": on_test.accuracy,
        "minibatch_loss": _json_number(progress.loss),
        "accepted": accepted,
        "accepted_share": accepted / proposed,
        "accepted_share_by_array": {
            name: progress.accepted[name] / proposed for name, proposed in progress.proposed.items()
        },
        "weight_updates": progress.weight_updates,
        "updates_per_weight": progress.weight_updates / count_weights(params),
        "image_evaluations": progress.image_evaluations,
        "seconds": round(progress.seconds, 3),
    }
    return line, statistics


def _json_number(value: float) -> float | None:
    """JSON has no NaN and no infinity: a diverged loss is null."""
    return value if math.isfinite(value) else None
