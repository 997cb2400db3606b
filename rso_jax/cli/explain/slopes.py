"""``rso explain`` of descent along slopes: what is probed, and what a step takes."""

import json
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

from rso_jax.cli.assemble import pose_task
from rso_jax.cli.explain.forward import print_forward_pass, time_drawing
from rso_jax.cli.flags import EXPLAINED, FIRST
from rso_jax.cli.methods import Schedule, Slopes
from rso_jax.cli.problem import Posed, Problem, pose, use_precision
from rso_jax.cli.quantities import say_bytes, say_duration, say_flops
from rso_jax.method import Method
from rso_jax.slopes.cost import LeafCost
from rso_jax.timing import SAMPLE_SECONDS, timed
from rso_jax.training import keys


@dataclass(frozen=True)
class Sloped(Slopes):
    """The settings of slopes that are explained."""

    optimizer: Annotated[Literal["slopes"], EXPLAINED] = "slopes"


@dataclass(frozen=True)
class ExplainSlopes:
    """Show how the slopes of each array of a network are learned, and how long an epoch takes here.

    The settings are those of `rso train`. Counted are evaluations of the loss, their arithmetic
    operations, and the bytes they read and write; seconds are measured, on some steps.
    """

    problem: Annotated[Problem, FIRST] = field(default_factory=Problem)
    method: Annotated[Sloped, FIRST] = field(default_factory=Sloped)
    json: bool = False
    """Print one JSON object instead of a table."""


class Explained(NamedTuple):
    """What is known of an epoch before it runs."""

    costs: list[LeafCost]
    """Counted, by array."""
    turns: int
    """Steps until every array has moved: 1, or as many as there are arrays."""
    steps: int
    """Of an epoch."""
    step_seconds: float
    """Measured, the mean over all turns."""
    compile_seconds: float
    """More than that, once."""
    drawing_seconds: float
    """What drawing the mini-batches of an epoch takes."""


def explain_slopes(config: ExplainSlopes) -> int:
    """Print a line for each array and the totals; exit status 0."""
    config.problem.check()
    config.method.check()
    posed = pose(config.problem, config.method.conventions)
    schedule = config.method.settle(posed.data.name, posed.examples)
    found = measure(config.method, posed, schedule)
    totals = total_up(found, schedule) | {"weights_in_heads": posed.weights_in_heads}
    shares = share_out(found.costs)
    if config.json:
        pairs = zip(found.costs, shares, strict=True)
        arrays = [cost._asdict() | {"share": share} for cost, share in pairs]
        print(json.dumps(totals | {"arrays": arrays}))
        return 0
    print_forward_pass(posed, schedule.batch_sizes[0], totals)
    _print_arrays(found.costs, shares)
    _print_totals(totals, config.method.unit)
    return 0


def measure(method: Slopes, posed: Posed, schedule: Schedule) -> Explained:
    """Count a step, and measure some.

    Args:
        method: settings of the slopes.
        posed: data and network.
        schedule: how long and on how much.
    """
    slopes, task = method.method(posed, schedule, None), pose_task(posed, schedule, None)
    with use_precision(method.conventions, method.whole_products):
        params = task.init(keys.of_initial_parameters(0))
        drawing, batches = time_drawing(task)
        costs = slopes.cost(params, batches)
        turns = len(costs) if method.in_turn else 1
        state = slopes.init(keys.of_method(0), params)
        seconds = _time_steps(slopes, state, batches, turns)
    return Explained(costs, turns, schedule.minibatches(0, posed.examples), *seconds, drawing)


def _time_steps(slopes: Method, state: Any, batches: Any, turns: int) -> tuple[float, float]:
    """Seconds of a step, the mean over all turns, and those of compiling.

    Args:
        slopes: the descent.
        state: to begin with.
        batches: stack of mini-batches [M, n, ...].
        turns: steps until every array has moved, each compiled on its own.
    """
    key = keys.of_cycle(0, 0)
    (stage,) = slopes.stages(key, state, batches)
    prepared = slopes.prepare(key, state, stage, batches)

    def advance(steps: int) -> Any:
        nonlocal state
        for done in range(0, steps, stage.visits):
            last = min(steps - done, stage.visits)
            state, _ = slopes.advance(key, state, stage, prepared, 0, last)
        return state

    first, _ = timed(partial(advance, turns))
    steps = turns
    while (took := timed(partial(advance, steps))[0]) < SAMPLE_SECONDS:
        steps *= 4
    return took / steps, max(first - took / steps * turns, 0.0)


def total_up(found: Explained, schedule: Schedule) -> dict[str, Any]:
    """Totals of a step and an epoch, counted and in seconds, and how many epochs there are."""
    costs, turns, steps = found.costs, found.turns, found.steps
    size = schedule.batch_sizes[0]
    weights = sum(cost.columns * cost.height for cost in costs)
    # Each step evaluates the loss of the weights as they are, too.
    evaluations = turns + sum(cost.evaluations for cost in costs)
    return {
        "weights": weights,
        "forward_flops": costs[0].forward_flops,
        "forward_bytes": costs[0].forward_bytes,
        "batch_size": size,
        "evaluations": evaluations,
        "evaluations_by_weights": turns + weights,
        "turns": turns,
        "steps": steps,
        "image_evaluations": steps * evaluations * size // turns,
        "step_seconds": found.step_seconds,
        "cycle_seconds": steps * found.step_seconds + found.drawing_seconds,
        "compile_seconds": found.compile_seconds,
        "cycles": schedule.cycles,
    }


def share_out(costs: list[LeafCost]) -> list[float]:
    """The share of each array in what the evaluations of a step cost."""
    forwards = [
        cost.evaluations
        * max(cost.candidate_flops / cost.forward_flops, cost.candidate_bytes / cost.forward_bytes)
        for cost in costs
    ]
    return [one / sum(forwards) for one in forwards]


def _print_arrays(costs: list[LeafCost], shares: list[float]) -> None:
    """A line for each: what is probed how often, and what a probe takes."""
    name = max(len("array"), *(len(cost.path) for cost in costs))
    losses = any(cost.loss for cost in costs)
    print(
        f"{'array':<{name}}  columns  fan-in  positions   probed  evaluations       of one"
        f"  of a forward  read, written  of a forward  of the step{'  loss' if losses else ''}"
    )
    for cost, share in zip(costs, shares, strict=True):
        print(
            f"{cost.path:<{name}}  {cost.columns:>7}  {cost.height:>6}  {cost.positions or '':>9}"
            f"  {cost.moves:>7}  {cost.evaluations:>11,}  {say_flops(cost.candidate_flops):>11}"
            f"  {cost.candidate_flops / cost.forward_flops:>12.2%}"
            f"  {say_bytes(cost.candidate_bytes):>13}"
            f"  {cost.candidate_bytes / cost.forward_bytes:>12.2%}"
            f"  {share:>11.1%}{cost.loss and f'  {cost.loss}'}"
        )


def _print_totals(totals: dict[str, Any], unit: str) -> None:
    one, turns = unit.removesuffix("s"), totals["turns"]
    step = "a step" if turns == 1 else f"{turns} steps, one of each array"
    print(
        f"\n{step}: {totals['evaluations']:,} evaluations of {totals['batch_size']} examples, "
        f"where weights alone would take {totals['evaluations_by_weights']:,}; {totals['steps']:,} "
        f"steps are one {one}: {totals['image_evaluations']:,} image evaluations"
    )
    cycles, seconds = totals["cycles"], totals["cycle_seconds"]
    print(
        f"here a step takes about {say_duration(totals['step_seconds'])}, one {one} "
        f"{say_duration(seconds)}, {cycles} {unit} {say_duration(cycles * seconds)}, and compiling "
        f"takes {say_duration(totals['compile_seconds'])} more (less where programs are kept from "
        "before)"
    )
