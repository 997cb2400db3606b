"""What a visit of a search and a step of slopes take on an accelerator.

The paper's networks on noise, at an accelerator's batch sizes: milliseconds of a visit (three
candidates) of every searched array by preset ``authors_code``, with a loss at the end and with a
head and a loss for every convolution; milliseconds of a step of slopes by local losses, and of a
gradient of the same losses. Beside them what a product of matrices and a copy reach there, and what
a cycle counts in operations and bytes. Programs are compiled side by side, as many as there are
cores for, and timed one after the other.

    python experiments/benchmarks/accelerator.py
    python experiments/benchmarks/accelerator.py --parts rates steps --batch-sizes 128 1024

Adds rows to ``experiments/results/benchmarks/accelerator.json``; what is there already is not
measured again.
"""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import tyro

from rso_jax import presets, rso
from rso_jax.files import replace_file
from rso_jax.machine import machine
from rso_jax.networks import create, cross_entropy, loss_of
from rso_jax.search import Search
from rso_jax.slopes import probes, value_and_slopes
from rso_jax.timing import time_stage, timed
from rso_jax.training import StopRequest
from rso_jax.training.ahead import compile_ahead

KEY = jax.random.key(0)
SHAPES = {"paper-mnist": (28, 28, 1), "paper-cifar10": (32, 32, 3)}
HEADS = 4
MATRIX, COPIED = 8192, 2**28
"""Rows of the matrices that are multiplied, numbers of the array that is copied."""
Part = Literal["rates", "counts", "visits", "steps"]
Rows = Iterator[dict[str, Any]]


@dataclass(frozen=True)
class Options:
    """Measure on an accelerator."""

    parts: tuple[Part, ...] = ("rates", "counts", "visits", "steps")
    networks: tuple[str, ...] = ("paper-mnist", "paper-cifar10")
    heads: tuple[int, ...] = (0, HEADS)
    """Bins a side of a head; 0 for the network without."""
    batch_size: int = 5000
    """Of a visit."""
    minibatches: int = 12
    batch_sizes: tuple[int, ...] = (128, 1024)
    """Of a step."""
    arrays: str = ""
    """Those whose name holds this; all by default."""
    precision: tuple[str, ...] = ("default", "highest")
    """Of products, as ``jax.default_matmul_precision`` takes it."""
    out: Path = Path(__file__).parents[1] / "results" / "benchmarks" / "accelerator.json"


class Table:
    """The rows measured so far, in their file."""

    def __init__(self, path: Path) -> None:
        """Read what is there."""
        self._path = path
        self._stored = json.loads(path.read_text()) if path.is_file() else {"rows": []}
        self._stored |= {"what": "milliseconds on an accelerator"} | machine()

    def add(self, told: dict[str, Any], measure: Callable[[], Rows]) -> None:
        """Measure what is not there; print and write each row as it comes."""
        if any(told.items() <= row.items() for row in self._stored["rows"]):
            return
        for row in measure():
            print(told | row, flush=True)
            self._stored["rows"].append(told | row)
            replace_file(self._path, json.dumps(self._stored, indent=2) + "\n")


def rates() -> Rows:
    """What products of matrices and copies reach."""
    a, large = jax.random.normal(KEY, (MATRIX, MATRIX), jnp.float32), jnp.zeros(COPIED)
    product, change = jax.jit(jnp.matmul), jax.jit(lambda a: a + 1)

    def best(call: Callable[[], Any]) -> float:
        timed(call)
        return min(timed(call)[0] for _ in range(7))

    flops = 2 * MATRIX**3 / best(lambda: product(a, a))
    moved = 2 * large.nbytes / best(lambda: change(large))
    yield {"tflops": round(flops / 1e12, 1), "tb_per_second": round(moved / 1e12, 2)}


def pose(name: str, heads: int, size: int, reduction: str) -> tuple[Any, Any, Any]:
    """``params, batch, losses`` of a network on noise."""
    shape = SHAPES[name]
    network = create(name, shape, 10, heads=heads or None)
    batch = {
        "image": jax.random.normal(KEY, (size, *shape), jnp.float32),
        "label": jax.random.randint(KEY, (size,), 0, 10),
    }
    losses = loss_of(network, partial(cross_entropy, reduction=reduction))
    return network.init(KEY, batch["image"][:1]), batch, losses


def pose_search(options: Options, name: str, heads: int) -> tuple[Search, Any, Any]:
    """``search, params, batches``, every mini-batch of the stack the same."""
    params, batch, losses = pose(name, heads, options.batch_size, "sum")
    batches = jax.tree.map(lambda a: jnp.stack([a] * options.minibatches), batch)
    return rso(losses, **presets.authors_code(cycles=50)), params, batches


def counts(options: Options, name: str, heads: int) -> Rows:
    """Operations and bytes of a cycle, counted in the traced programs."""
    search, params, batches = pose_search(options, name, heads)
    costs = search.cost(params, batches)
    yield {
        "cycle_gflop": round(sum(cost.sweep_flops for cost in costs) / 1e9, 1),
        "cycle_gb": round(sum(cost.sweep_bytes for cost in costs) / 1e9, 1),
    }


def visits(options: Options, name: str, heads: int) -> Rows:
    """A row for every searched array."""
    search, params, batches = pose_search(options, name, heads)
    state = search.init(KEY, params)
    stages = [s for s in search.stages(KEY, state, batches) if options.arrays in s.name]
    compile_ahead(search, KEY, state, stages, batches, stop=StopRequest())
    for stage in stages:
        _, found = time_stage(search, KEY, state, stage, batches)
        yield {
            "array": stage.name,
            "visits": stage.visits,
            "ms_per_visit": round(1e3 * found.visit_seconds, 4),
        }


def step(name: str, size: int) -> Rows:
    """Milliseconds of slopes of all leaves by local losses, and of a gradient of their sum."""
    params, batch, losses = pose(name, HEADS, size, "none")

    def mean(params: Any, batch: Any) -> jax.Array:
        return sum(jnp.mean(one) for one in jax.tree.leaves(losses(params, batch)))

    slopes = jax.jit(value_and_slopes(losses, probes.cheapest()))
    ways = {
        "gradient": partial(jax.jit(jax.grad(mean)), params, batch),
        "slopes": partial(slopes, KEY, params, batch),
    }
    row: dict[str, Any] = {}
    for way, call in ways.items():
        first, _ = timed(call)
        times = sorted(timed(call)[0] for _ in range(7))
        row |= {f"{way}_ms": round(1e3 * times[3], 3), f"{way}_first_seconds": round(first, 1)}
    yield row


def measure(options: Options, table: Table, precision: str) -> None:
    """Add what is asked for at one precision of products."""
    said = {"precision": precision}
    if "rates" in options.parts:
        table.add({"part": "rates"} | said, rates)
    for name in options.networks:
        of = {"network": name} | said
        for heads in options.heads:
            size = {"examples": options.batch_size, "minibatches": options.minibatches}
            told = of | {"heads": heads} | size
            if "counts" in options.parts:
                table.add({"part": "counts"} | told, partial(counts, options, name, heads))
            if "visits" in options.parts:
                table.add({"part": "visits"} | told, partial(visits, options, name, heads))
        for examples in options.batch_sizes if "steps" in options.parts else ():
            told = of | {"part": "steps", "heads": HEADS, "examples": examples}
            table.add(told, partial(step, name, examples))


def main(options: Options) -> None:
    """Measure what is missing; print and write."""
    table = Table(options.out)
    for precision in options.precision:
        with jax.default_matmul_precision(precision):
            measure(options, table, precision)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
