"""``rso explain`` of a search: what each array costs to search."""

import json
import time
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

from rso_jax.cli.assemble import pose_task
from rso_jax.cli.explain.forward import print_forward_pass, time_drawing
from rso_jax.cli.flags import EXPLAINED, FIRST
from rso_jax.cli.methods import Rso, Schedule
from rso_jax.cli.problem import Posed, Problem, pose, use_precision
from rso_jax.cli.quantities import say_bytes, say_duration, say_flops
from rso_jax.incremental import Note
from rso_jax.search.cost import SweepCost
from rso_jax.timing import CycleTime, StageTime, time_cycle
from rso_jax.training import keys

MEASURING_SECONDS = 30.0
"""After so long, counting included, no other array is measured: the rest is estimated from what is
counted."""


@dataclass(frozen=True)
class Searched(Rso):
    """The settings of a search that is explained."""

    optimizer: Annotated[Literal["rso"], EXPLAINED] = "rso"


@dataclass(frozen=True)
class ExplainSearch:
    """Show what each array of a network costs to search, and how long a cycle takes here.

    The settings are those of `rso train`. Counted are all arithmetic operations, and the bytes
    read and written; seconds are measured, on a sample of the visits of each array.
    """

    problem: Annotated[Problem, FIRST] = field(default_factory=Problem)
    method: Annotated[Searched, FIRST] = field(default_factory=Searched)
    why: bool = False
    """Show for each array from which operation of the network on, and on
    which line of its code, a change of a column is no longer confined."""
    json: bool = False
    """Print one JSON object instead of a table."""


class Explained(NamedTuple):
    """What is known of a cycle before it runs."""

    costs: list[SweepCost]
    """Counted, by array."""
    cycle: CycleTime
    """Measured on samples, or estimated from the counts."""
    drawing_seconds: float
    """What drawing the mini-batches of a cycle takes."""
    notes: dict[str, list[Note]]
    """By array, what makes a change of a column dense; empty unless asked for."""

    @property
    def times(self) -> dict[str, StageTime]:
        """The seconds of each array."""
        return {stage.name: stage for stage in self.cycle.stages}


def explain_search(config: ExplainSearch) -> int:
    """Print a line for each array and the totals; exit status 0."""
    config.problem.check()
    config.method.check()
    posed = pose(config.problem, config.method.conventions)
    schedule = config.method.settle(posed.data.name, posed.examples)
    found = measure(config.method, posed, schedule, why=config.why)
    totals = total_up(found, schedule) | {"weights_in_heads": posed.weights_in_heads}
    if config.json:
        arrays = [_describe_array(found, cost, config.why) for cost in found.costs]
        print(json.dumps(totals | {"arrays": arrays}))
        return 0
    print_forward_pass(posed, schedule.batch_sizes[0], totals)
    _print_arrays(found)
    _print_notes(found.notes)
    _print_totals(totals)
    return 0


def measure(method: Rso, posed: Posed, schedule: Schedule, *, why: bool) -> Explained:
    """Count a cycle, and measure a sample of it.

    Args:
        method: settings of the search.
        posed: data and network.
        schedule: how long and on how much; the first cycle is explained.
        why: find out where changes become dense, too.
    """
    began = time.perf_counter()
    search, task = method.method(posed, schedule, None), pose_task(posed, schedule, None)
    with use_precision(method.conventions, method.whole_products):
        params = task.init(keys.of_initial_parameters(0))
        drawing, batches = time_drawing(task)
        costs = search.cost(params, batches)
        notes = search.why_dense(params, batches) if why else {}
        cycle = time_cycle(
            search,
            keys.of_cycle(0, 0),
            search.init(keys.of_method(0), params),
            batches,
            costs={cost.path: _count_forwards(cost) for cost in costs},
            limit=MEASURING_SECONDS - (time.perf_counter() - began),
        )
    return Explained(costs, cycle, drawing, notes)


def total_up(found: Explained, schedule: Schedule) -> dict[str, Any]:
    """Totals of a cycle, counted and in seconds, and how many cycles there are."""
    costs, cycle = found.costs, found.cycle
    forward_flops, forward_bytes = costs[0].forward_flops, costs[0].forward_bytes
    forwards = sum(cost.weights * cost.candidates for cost in costs)
    return {
        "weights": sum(cost.weights for cost in costs),
        "forward_flops": forward_flops,
        "forward_bytes": forward_bytes,
        "image_evaluations": sum(cost.image_evaluations for cost in costs),
        "cycle_flops": sum(cost.sweep_flops for cost in costs),
        "cycle_bytes": sum(cost.sweep_bytes for cost in costs),
        "cycle_flops_by_full_forwards": forwards * forward_flops,
        "cycle_bytes_by_full_forwards": forwards * forward_bytes,
        "bytes_kept": max(cost.bytes_kept for cost in costs),
        "cycle_seconds": cycle.seconds + found.drawing_seconds,
        "measured_share": sum(t.seconds for t in cycle.stages if t.measured) / cycle.seconds,
        "compile_seconds": cycle.compile_seconds,
        "cycles": schedule.cycles,
    }


def _describe_array(found: Explained, cost: SweepCost, why: bool) -> dict[str, Any]:
    taken = found.times[cost.path]
    seconds = {
        "seconds": taken.seconds,
        "visit_seconds": taken.visit_seconds,
        "compile_seconds": taken.compile_seconds,
        "measured": taken.measured,
    }
    notes = {"dense": [note._asdict() for note in found.notes[cost.path]]} if why else {}
    return cost._asdict() | seconds | notes


def _print_arrays(found: Explained) -> None:
    """A line for each: what a candidate and a visit take, what share of the cycle its sweep is."""
    name = max(len("array"), *(len(cost.path) for cost in found.costs))
    losses = any(cost.loss for cost in found.costs)
    print(
        f"{'array':<{name}}  columns  fan-in  weights  per candidate  of a forward  read, written"
        f"  of a forward  held       a visit   of the cycle{'  loss' if losses else ''}"
    )
    for cost in found.costs:
        taken = found.times[cost.path]
        visit = f"{'' if taken.measured else '~'}{1e3 * taken.visit_seconds:.3g} ms"
        print(
            f"{cost.path:<{name}}  {cost.columns:>7}  {cost.fan_in or '':>6}  {cost.weights:>7,}"
            f"  {say_flops(cost.candidate_flops):>13}"
            f"  {cost.candidate_flops / cost.forward_flops:>12.2%}"
            f"  {say_bytes(cost.candidate_bytes):>13}"
            f"  {cost.candidate_bytes / cost.forward_bytes:>12.2%}"
            f"  {say_bytes(cost.bytes_kept):>7}"
            f"  {visit:>11}"
            f"  {taken.seconds / found.cycle.seconds:>12.1%}{cost.loss and f'  {cost.loss}'}"
        )


def _print_notes(notes: dict[str, list[Note]]) -> None:
    """For each array where its candidates turn into forward passes."""
    if not notes:
        return
    name = max(len("array"), *map(len, notes))
    print(f"\n{'array':<{name}}  dense from  because it")
    for path, found in notes.items():
        for note in found:
            where = f", {note.line}" if note.line else ""
            print(f"{path:<{name}}  {note.primitive} {list(note.shape)}  {note.reason}{where}")
            path = ""
        if not found:
            print(f"{path:<{name}}  nowhere")


def _print_totals(totals: dict[str, Any]) -> None:
    flops, moved = totals["cycle_flops"], totals["cycle_bytes"]
    print(
        f"\na cycle: {totals['weights']:,} visits, {totals['image_evaluations']:,} image "
        f"evaluations, {say_flops(flops)} and {say_bytes(moved)} read and written; by full forward "
        f"passes {totals['cycle_flops_by_full_forwards'] / flops:.1f} times the operations and "
        f"{totals['cycle_bytes_by_full_forwards'] / moved:.1f} times the bytes"
    )
    seconds, cycles = totals["cycle_seconds"], totals["cycles"]
    print(
        f"here a cycle takes about {say_duration(seconds)}, {cycles} take "
        f"{say_duration(seconds * cycles)}, and compiling takes "
        f"{say_duration(totals['compile_seconds'])} more (less where programs are kept from before)"
    )
    if totals["measured_share"] < 1:
        print(
            f"{totals['measured_share']:.0%} of that was measured; what has a ~ is estimated from "
            "the operations and bytes counted"
        )


def _count_forwards(cost: SweepCost) -> float:
    """Forward passes that cost as much as a sweep: by operations or by bytes, the larger."""
    return max(cost.sweep_flops / cost.forward_flops, cost.sweep_bytes / cost.forward_bytes)
