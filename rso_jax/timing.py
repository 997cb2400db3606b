"""Real seconds: how long a cycle of any method takes on this machine, from samples of its stages.

A stage is prepared once and then visited; samples of its visits are timed as a loop would run them,
compilation apart. Between two cuts lies a part of a stage, for which a method may work ahead. Where
a part is too long to be timed whole, what it takes to open it is told from what a visit takes.
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jax import Array

from rso_jax.errors import UserError
from rso_jax.method import Method, Stage

PyTree = Any

SAMPLE_SECONDS = 0.3
"""How long a sample lasts, unless the whole stage is shorter: beyond what a clock, a call and a
busy machine add."""
REPETITIONS = 3
"""Samples of a stage, whose median counts; fewer where one takes long."""
SHORT_SECONDS = 5.0
"""A preparation that took longer, compilation included, is not repeated to tell them apart: most of
it was no compilation."""


class StageTime(NamedTuple):
    """Seconds that one stage of a cycle takes."""

    name: str
    visits: int
    """Of the whole stage."""
    prepare_seconds: float
    """What the visits share, once for the stage."""
    visit_seconds: float
    """One visit, with its share of what is done ahead of several."""
    compile_seconds: float
    """More than that, once: tracing and compiling, or reading what was compiled before."""
    measured: bool = True
    """False where the seconds follow from those of other stages and from counted costs."""

    @property
    def seconds(self) -> float:
        """Of the whole stage, once it is compiled."""
        return self.prepare_seconds + self.visits * self.visit_seconds


class CycleTime(NamedTuple):
    """Seconds that a cycle takes, the sum over its stages."""

    seconds: float
    compile_seconds: float
    """More than that in the first cycle."""
    stages: list[StageTime]
    """In the order of the cycle."""


def time_cycle(
    method: Method,
    key: Array,
    state: PyTree,
    batches: PyTree,
    *,
    costs: Mapping[str, float] | None = None,
    limit: float = math.inf,
) -> CycleTime:
    """Time a sample of every stage of a cycle, and add them up.

    Args:
        method: a search or a baseline. A state that it may reuse is gone afterwards.
        key: PRNG key of the cycle.
        state: from ``method.init`` or the cycle before.
        batches: stack of mini-batches [M, n, ...].
        costs: what each stage costs, counted in any unit; the dearest are timed first. By default
            the visits of each.
        limit: seconds after which no other stage is begun; the rest is estimated by cost.
    """
    began = time.perf_counter()
    stages = method.stages(key, state, batches)
    costs = {stage.name: float(stage.visits) for stage in stages} if costs is None else costs
    found: dict[str, StageTime] = {}
    for stage in sorted(stages, key=lambda stage: -costs[stage.name]):
        if found and time.perf_counter() - began > limit:
            break
        state, found[stage.name] = time_stage(method, key, state, stage, batches)
    return add_up([found.get(s.name) or _estimate(s, found, costs) for s in stages])


def add_up(stages: Sequence[StageTime]) -> CycleTime:
    """What the stages of a cycle take together."""
    return CycleTime(
        sum(stage.seconds for stage in stages),
        sum(stage.compile_seconds for stage in stages),
        list(stages),
    )


def time_stage(
    method: Method, key: Array, state: PyTree, stage: Stage, batches: PyTree
) -> tuple[PyTree, StageTime]:
    """Time one stage, ``(state, time)``.

    Args:
        method: that the stage is of.
        key: PRNG key of the cycle.
        state: to begin with.
        stage: one of ``method.stages(key, state, batches)``.
        batches: stack of mini-batches [M, n, ...].
    """

    def prepare() -> PyTree:
        return method.prepare(key, state, stage, batches)

    def advance(stop: int) -> float:
        nonlocal state
        took, (state, _) = timed(lambda: method.advance(key, state, stage, prepared, 0, stop))
        return took

    preparing, prepared = timed(prepare)
    fewest, compiling = _compile(advance, stage)
    if preparing < SHORT_SECONDS:
        again, _ = timed(prepare)
        preparing, compiling = again, compiling + preparing - again
    shortest = advance(fewest)
    visit = _time_visit(advance, stage, fewest, shortest)
    compiling = max(compiling - shortest, 0.0)
    return state, StageTime(stage.name, stage.visits, preparing, visit, compiling)


def _compile(advance: Callable[[int], float], stage: Stage) -> tuple[int, float]:
    """The fewest visits that can be made, and the seconds of the first call that made them."""
    try:
        return 1, advance(1)
    except UserError:  # what is decided at once cannot be cut
        fewest = stage.next_boundary(0, 1)
        return fewest, advance(fewest)


def _time_visit(
    advance: Callable[[int], float], stage: Stage, fewest: int, shortest: float
) -> float:
    """Seconds of a visit.

    Args:
        advance: makes so many visits, and returns the seconds that they took.
        stage: of which they are.
        fewest: visits that can be made at least.
        shortest: seconds that these took.
    """
    part = stage.next_boundary(0, 1)
    visits, took = fewest, shortest
    while took - shortest < SAMPLE_SECONDS and visits < stage.visits:
        # Of one call little is known; of several, what a visit takes.
        pace = (took - shortest) / (visits - fewest) if visits > fewest else took / visits
        wanted = math.ceil(min(8.0 * visits, visits + 1.25 * SAMPLE_SECONDS / max(pace, 1e-9)))
        visits = wanted if wanted < part else stage.next_boundary(0, wanted)
        took = advance(visits)
    samples = [took]
    while len(samples) < REPETITIONS and sum(samples) < REPETITIONS * SAMPLE_SECONDS:
        samples.append(advance(visits))
    took = statistics.median(samples)
    if visits >= part:
        return took / visits
    visit = max(took - shortest, 0.0) / (visits - fewest)
    opening = max(shortest - fewest * visit, 0.0)
    return visit + opening * (len(stage.boundaries) - 1) / stage.visits


def _estimate(
    stage: Stage, measured: Mapping[str, StageTime], costs: Mapping[str, float]
) -> StageTime:
    """The time of a stage that was not measured, at the rate of those that were."""
    rate = sum(time.seconds for time in measured.values()) / sum(map(costs.__getitem__, measured))
    return StageTime(
        stage.name,
        stage.visits,
        prepare_seconds=0.0,
        visit_seconds=rate * costs[stage.name] / stage.visits,
        compile_seconds=statistics.mean(time.compile_seconds for time in measured.values()),
        measured=False,
    )


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds until what a call returns is computed, and what it returns."""
    began = time.perf_counter()
    found = jax.block_until_ready(call())
    return time.perf_counter() - began, found
