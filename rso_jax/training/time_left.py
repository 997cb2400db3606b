"""Time: how many visits the next call makes, how much of a run is done, how long the rest takes."""

from collections.abc import Sequence

from rso_jax.method import Stage
from rso_jax.timing import CALL_SECONDS, LONGEST_CALL_SECONDS, fit_calls, steady_visits
from rso_jax.training.run import Cycle, Progress


def next_call_size(calls: Sequence[tuple[int, float]]) -> int:
    """Visits for the next call of a stage: aim at ``CALL_SECONDS``, grow at most eightfold.

    Where a call opens with work that does not depend on its visits, calls become longer.

    Args:
        calls: of the stage so far, the visits and the seconds of each. The first compiles, so that
            its time says little; the next ones correct it.
    """
    visits, took = calls[-1][0], max(calls[-1][1], 1e-6)
    aimed = max(1, min(8 * visits, int(visits * CALL_SECONDS / took)))
    if len(calls) == 1:
        return aimed
    known = [made for made, _ in calls[1:]]
    if max(known) < 1.5 * min(known):  # of longer calls nothing is known yet
        return max(aimed, min(2 * visits, int(visits * LONGEST_CALL_SECONDS / took)))
    return min(8 * visits, steady_visits(*fit_calls(calls[1:])))


def cycles_done(progress: Progress, stages: Sequence[Stage]) -> float:
    """Cycles done, parts included.

    Args:
        progress: where the run stands.
        stages: of the cycle it is in.
    """
    done = sum(stage.visits for stage in stages[: progress.stage]) + progress.visit
    return progress.cycle + done / max(1, sum(stage.visits for stage in stages))


def seconds_left(
    progress: Progress, cycle: Cycle, batch_sizes: Sequence[int]
) -> tuple[float, bool]:
    """The time left, and whether it is a guess from below because some stage was never measured.

    Stages differ in cost by orders of magnitude, so each is counted at its own pace; one not seen
    yet at the slowest seen, because sweeps get slower towards the first layer.

    Args:
        progress: where the run stands.
        cycle: that it is in.
        batch_sizes: of every cycle of the run; a visit takes about as long as its mini-batch is
            large.
    """
    remaining = _visits_left(progress, cycle, sum(batch_sizes[progress.cycle + 1 :]))
    pace = progress.pace
    unseen = max(pace.values(), default=float("inf"))
    at_least = bool(pace) and not remaining.keys() <= pace.keys()
    return sum(n * pace.get(name, unseen) for name, n in remaining.items()), at_least


def _visits_left(progress: Progress, cycle: Cycle, later: int) -> dict[str, float]:
    """Visits times examples left by stage, of which ``later`` counts the examples to come."""
    remaining = {stage.name: float(later * stage.visits) for stage in cycle.stages}
    for i, stage in enumerate(cycle.stages[progress.stage :]):
        left = stage.visits - (progress.visit if i == 0 else 0)
        remaining[stage.name] += left * cycle.batch_size
    return {name: n for name, n in remaining.items() if n}
