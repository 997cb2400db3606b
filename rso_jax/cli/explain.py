"""``rso explain``: what a run will cost, before it starts."""

import json
import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array

from rso_jax.cli.assemble import Assembly, assemble, precision_of
from rso_jax.cli.config import OptionalInt, OptionalName, OptionalPath, Several, Train
from rso_jax.incremental import Note
from rso_jax.search.cost import SweepCost

_REPETITIONS = 3


@dataclass(frozen=True)
class Explain:
    """Show what each array of a network costs to search, and how long a cycle will take at least.

    The settings are those of `rso train`. Counted are all arithmetic operations, and the bytes
    read and written; the time is worked out from how long the whole network takes here, measured
    now.
    """

    dataset: str = "digits"
    """digits, mnist, fashion_mnist, cifar10, or a path to an .npz file."""
    data_dir: OptionalPath = None
    """Folder of prepared tensorflow-datasets; see `rso data list`."""
    train_examples: OptionalInt = None
    """Use only the first so many training examples; all by default."""
    model: OptionalName = None
    """mlp, paper-mnist or paper-cifar10; by default what suits the data set."""
    hidden: tuple[int, ...] = (64,)
    """Widths of the hidden layers of mlp."""
    preset: Literal["authors_code", "paper", "spectral"] = "authors_code"
    """What the search is made of; see `rso train --help`."""
    cycles: OptionalInt = None
    """Passes over all weights; 500 for spectral, 3 for digits, 50 otherwise."""
    batch_size: OptionalInt = None
    """Examples in a mini-batch; 64 for spectral, else 5000 or all there are."""
    block: Several = ()
    """Weights decided at once: a number, column or leaf. Several are for parts of the cycles; the
    first is explained."""
    joint_step: OptionalName = None
    """How a block moves: accepted, differences, orthogonal, parabola or together."""
    memory_gib: float = 8.0
    """Intermediate results that a sweep may hold; with less it computes more again."""
    why: bool = False
    """Show for each array from which operation of the network on, and on which line of its code,
    a change of a single column is no longer confined to a part of an array."""
    json: bool = False
    """Print one JSON object instead of a table."""


def run_explain(config: Explain) -> int:
    """Print a line for each array and the totals; exit status 0."""
    settings = asdict(config)
    for name in ("json", "why"):
        settings.pop(name)
    settings["batch_size"] = () if config.batch_size is None else (config.batch_size,)
    assembly = assemble(Train(**settings))
    costs, seconds = _costs(assembly)
    notes = _why(assembly) if config.why else {}
    forward_flops, forward_bytes = costs[0].forward_flops, costs[0].forward_bytes
    flops = sum(cost.sweep_flops for cost in costs)
    moved = sum(cost.sweep_bytes for cost in costs)
    forwards = sum(cost.weights * cost.candidates for cost in costs)
    totals = {
        "weights": sum(cost.weights for cost in costs),
        "forward_flops": forward_flops,
        "forward_bytes": forward_bytes,
        "image_evaluations": sum(cost.image_evaluations for cost in costs),
        "cycle_flops": flops,
        "cycle_bytes": moved,
        "cycle_flops_by_full_forwards": forwards * forward_flops,
        "cycle_bytes_by_full_forwards": forwards * forward_bytes,
        "bytes_kept": max(cost.bytes_kept for cost in costs),
        "forward_seconds": seconds,
        "cycle_seconds": sum(map(_forwards, costs)) * seconds,
        "cycles": assembly.config.cycles or 1,
    }
    if config.json:
        arrays = [
            cost._asdict()
            | ({"dense": [n._asdict() for n in notes[cost.path]]} if config.why else {})
            for cost in costs
        ]
        print(json.dumps(totals | {"arrays": arrays}))
        return 0
    print(
        f"{assembly.config.model} on {assembly.data.name}, batch {assembly.config.batch_size[0]}: "
        f"{_flops(forward_flops)} and {_bytes(forward_bytes)} read and written for one forward "
        "pass of a mini-batch\n"
    )
    _print_arrays(costs)
    _print_notes(notes)
    print(
        f"\na cycle: {totals['weights']:,} visits, {totals['image_evaluations']:,} image "
        f"evaluations, {_flops(flops)} and {_bytes(moved)} read and written; by full forward "
        f"passes {forwards * forward_flops / flops:.1f} times the operations and "
        f"{forwards * forward_bytes / moved:.1f} times the bytes"
    )
    print(
        f"at the rate of a forward pass here about {_duration(totals['cycle_seconds'])} for a "
        f"cycle, {_duration(totals['cycle_seconds'] * totals['cycles'])} for {totals['cycles']}; "
        "more where each operation has little to do"
    )
    return 0


def _print_arrays(costs: list[SweepCost]) -> None:
    """A line for each: what a candidate takes, and what share of the cycle its sweep is."""
    cycle = sum(map(_forwards, costs))
    name = max(len("array"), *(len(cost.path) for cost in costs))
    print(
        f"{'array':<{name}}  columns  fan-in  weights  per candidate  of a forward  read, written"
        "  of a forward  held     of the cycle"
    )
    for cost in costs:
        print(
            f"{cost.path:<{name}}  {cost.columns:>7}  {cost.fan_in or '':>6}  {cost.weights:>7,}"
            f"  {_flops(cost.candidate_flops):>13}"
            f"  {cost.candidate_flops / cost.forward_flops:>12.2%}"
            f"  {_bytes(cost.candidate_bytes):>13}"
            f"  {cost.candidate_bytes / cost.forward_bytes:>12.2%}"
            f"  {_bytes(cost.bytes_kept):>7}  {_forwards(cost) / cycle:>12.1%}"
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


def _forwards(cost: SweepCost) -> float:
    """Forward passes that take as long as a sweep: by operations or by bytes, whichever is more."""
    return max(cost.sweep_flops / cost.forward_flops, cost.sweep_bytes / cost.forward_bytes)


def _why(assembly: Assembly) -> dict[str, list[Note]]:
    """By array, what makes a slice dense."""
    assert assembly.search is not None
    with precision_of(assembly.conventions):
        params, batch, _ = _problem(assembly)
        return assembly.search.why_dense(params, jax.tree.map(lambda a: a[None], batch))


def _problem(assembly: Assembly) -> tuple[Any, dict[str, Array], int]:
    """Initial parameters, a mini-batch, and how many of these there are."""
    size, data = assembly.config.batch_size[0], assembly.data
    batch = {"image": jnp.asarray(data.x_train[:size]), "label": jnp.asarray(data.y_train[:size])}
    params = assembly.network.init(jax.random.key(0), batch["image"][:1])
    return (
        params,
        batch,
        min(len(data.y_train) // size, assembly.config.stacked or len(data.y_train)),
    )


def _costs(assembly: Assembly) -> tuple[list[SweepCost], float]:
    """Costs of the sweeps, and the seconds of one forward pass."""
    assert assembly.search is not None
    with precision_of(assembly.conventions):
        params, batch, count = _problem(assembly)
        stack = jax.tree.map(lambda a: jax.ShapeDtypeStruct((count, *a.shape), a.dtype), batch)
        costs = assembly.search.cost(params, stack)
        loss = jax.jit(assembly.loss_fn)
        jax.block_until_ready(loss(params, batch))
        taken = []
        for _ in range(_REPETITIONS):
            began = time.perf_counter()
            jax.block_until_ready(loss(params, batch))
            taken.append(time.perf_counter() - began)
    return costs, statistics.median(taken)


def _flops(count: float) -> str:
    return _short(count, 1000, ("", "k", "M", "G", "T", "P", "E")) + "FLOP"


def _bytes(count: float) -> str:
    return _short(count, 1024, ("", "Ki", "Mi", "Gi", "Ti")) + "B"


def _short(count: float, step: int, prefixes: tuple[str, ...]) -> str:
    for prefix in prefixes[:-1]:
        if count < step:
            return f"{count:.3g} {prefix}"
        count /= step
    return f"{count:.3g} {prefixes[-1]}"


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.2g} seconds"
