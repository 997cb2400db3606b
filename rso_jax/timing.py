"""Real seconds: how long a cycle of any method takes on this machine, from samples of its stages.

A stage is prepared once and then visited; samples of its visits are timed as a loop would run them,
compilation apart. Between two boundaries lies a part of a stage, for which a method may work ahead.
Where a part is too long to be timed whole, what it takes to open it is told from what a visit
takes.
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jax import Array

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


CALL_SECONDS = 1.0
"""About how long a loop lets the device work between two looks at the clock and the stop request;
as far as the boundaries of a stage allow."""
LONGEST_CALL_SECONDS = 10.0
"""About how long where a call opens with work that is the same for few visits as for many, such as
what a column cannot change on every mini-batch of a large stack."""
_TICK = 1e-9
"""Seconds that a visit takes at least, whatever a coarse clock says."""
OPENING_SHARE = 0.2
"""Of a call that opens with such work, the share that this should be."""


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
    fewest = stage.next_boundary(0, 1) if stage.at_once else 1
    compiling = advance(fewest)
    if preparing < SHORT_SECONDS:
        again, _ = timed(prepare)
        preparing, compiling = again, compiling + preparing - again
    shortest = advance(fewest)
    visit = _time_visit(advance, stage, fewest, shortest)
    compiling = max(compiling - shortest, 0.0)
    return state, StageTime(stage.name, stage.visits, preparing, visit, compiling)


def _time_visit(
    advance: Callable[[int], float], stage: Stage, fewest: int, shortest: float
) -> float:
    """Seconds of a visit, as a loop makes them.

    Args:
        advance: makes so many visits, and returns the seconds that they took.
        stage: of which they are.
        fewest: visits that can be made at least.
        shortest: seconds that these took.
    """
    calls = [(fewest, shortest)]
    while calls[-1][0] < stage.visits and calls[-1][1] - shortest < _telling(shortest):
        visits, took = calls[-1]
        # Of one call little is known; of several, what a visit takes.
        each = took / visits if len(calls) == 1 else fit_calls(calls)[1]
        wanted = visits + 1.25 * _telling(shortest) / max(each, _TICK)
        wanted = max(math.ceil(min(8.0 * visits, wanted)), visits + 1)
        more = stage.next_boundary(0, wanted)
        calls.append((more, advance(more)))
    visits, took = calls[-1]
    samples = [took]
    while len(samples) < REPETITIONS and sum(samples) < REPETITIONS * SAMPLE_SECONDS:
        samples.append(advance(visits))
    opening, each = fit_calls([calls[0], (visits, statistics.median(samples))])
    return each + opening / stage.next_boundary(0, steady_visits(opening, each))


def _telling(shortest: float) -> float:
    """Seconds more than the shortest call from which on a longer one tells what a visit takes."""
    return max(SAMPLE_SECONDS, shortest / 2)


def fit_calls(calls: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Seconds that a call opens with, however few visits it makes, and those of each visit.

    Args:
        calls: visits and seconds of each; of calls of about one size, nothing is said to open them.
    """
    (few, short), (many, long) = min(calls), max(calls)
    if many < 1.5 * few:
        return 0.0, max(long / many, _TICK)
    each = max(min((long - short) / (many - few), long / many), _TICK)
    return max(short - few * each, 0.0), each


def steady_visits(opening: float, each: float) -> int:
    """Visits that a loop makes in a call, by what opens it and what each takes in seconds."""
    wanted = min(max(CALL_SECONDS, opening / OPENING_SHARE), LONGEST_CALL_SECONDS)
    return max(1, int((wanted - opening) / each))


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
