"""What a visit of a search and a step of slopes take on an accelerator.

The paper's networks on noise, at an accelerator's batch sizes: milliseconds of a visit (three
candidates) of every searched array by preset ``authors_code``, with a loss at the end and with a
head and a loss for every convolution, and from them the seconds of a cycle; milliseconds of a step
of slopes by local losses, and of a gradient of the same losses. Beside them what a product of
matrices and a copy reach there. Programs are compiled side by side, as many as there are cores, and
timed one after the other.

    python experiments/benchmarks/accelerator.py --out results.json
    python experiments/benchmarks/accelerator.py --parts rates steps --batch-sizes 128 1024

Rows are added to the file as they are measured; what is there already is not measured again.
"""

import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
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
from rso_jax.slopes import probes, value_and_slopes
from rso_jax.timing import time_stage, timed

KEY = jax.random.key(0)
SHAPES = {"paper-mnist": (28, 28, 1), "paper-cifar10": (32, 32, 3)}
HEADS = 4
THREADS = 16
Part = Literal["rates", "visits", "steps"]


@dataclass(frozen=True)
class Options:
    """Measure on an accelerator."""

    parts: tuple[Part, ...] = ("rates", "visits", "steps")
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
    precision: tuple[str, ...] = ("default",)
    """Of products, as ``jax.default_matmul_precision`` takes it."""
    trace: Path | None = None
    """Folder for a profile of some visits of each array."""
    out: Path = Path(__file__).parents[1] / "results" / "benchmarks" / "accelerator.json"


def posed(name: str, heads: int, size: int, reduction: str) -> tuple[Any, Any, Any]:
    """``params, batch, losses`` of a network on noise."""
    shape = SHAPES[name]
    network = create(name, shape, 10, heads=heads or None)
    batch = {
        "image": jax.random.normal(KEY, (size, *shape), jnp.float32),
        "label": jax.random.randint(KEY, (size,), 0, 10),
    }
    losses = loss_of(network, partial(cross_entropy, reduction=reduction))
    return network.init(KEY, batch["image"][:1]), batch, losses


def rates(precision: str) -> Iterator[dict[str, Any]]:
    """What products of matrices and copies reach."""
    a = jax.random.normal(KEY, (8192, 8192), jnp.float32)
    product, change = jax.jit(jnp.matmul), jax.jit(lambda a: a + 1)
    large = jnp.zeros(2**28, jnp.float32)
    for call in (lambda: product(a, a), lambda: change(large)):
        timed(call)
    flops = 2 * 8192**3 / min(timed(lambda: product(a, a))[0] for _ in range(7))
    moved = 2 * large.nbytes / min(timed(lambda: change(large))[0] for _ in range(7))
    yield {"tflops": round(flops / 1e12, 1), "tb_per_second": round(moved / 1e12, 2)}


def visits(options: Options, name: str, heads: int) -> Iterator[dict[str, Any]]:
    """A row for every searched array."""
    params, batch, losses = posed(name, heads, options.batch_size, "sum")
    search = rso(losses, **presets.authors_code(cycles=50))
    batches = jax.tree.map(lambda a: jnp.stack([a] * options.minibatches), batch)
    state = search.init(KEY, params)
    stages = [s for s in search.stages(KEY, state, batches) if options.arrays in s.name]

    def compiled(stage: Any) -> tuple[Any, float]:
        began = time.perf_counter()
        prepared = search.prepare(KEY, state, stage, batches)
        jax.block_until_ready(search.advance(KEY, state, stage, prepared, 0, 1))
        return stage, time.perf_counter() - began

    with ThreadPoolExecutor(THREADS) as pool:
        waited = [pool.submit(compiled, stage) for stage in stages]
        for done in as_completed(waited):
            stage, first = done.result()
            print(f"    {stage.name}: first call after {first:.1f} s", flush=True)
    for stage in stages:
        _, found = time_stage(search, KEY, state, stage, batches)
        if options.trace is not None:
            prepared = search.prepare(KEY, state, stage, batches)
            with jax.profiler.trace(str(options.trace / stage.name.replace("/", "-"))):
                jax.block_until_ready(search.advance(KEY, state, stage, prepared, 0, 10))
        yield {
            "array": stage.name,
            "visits": stage.visits,
            "ms_per_visit": round(1e3 * found.visit_seconds, 4),
            "prepare_seconds": round(found.prepare_seconds, 3),
        }


def step(name: str, heads: int, size: int) -> Iterator[dict[str, Any]]:
    """Milliseconds of slopes of all leaves, and of a gradient of the same losses."""
    params, batch, losses = posed(name, heads, size, "none")

    def mean(params: Any, batch: Any) -> jax.Array:
        return sum(jnp.mean(one) for one in jax.tree.leaves(losses(params, batch)))

    ways = {
        "gradient": partial(jax.jit(jax.grad(mean)), params, batch),
        "slopes": partial(jax.jit(value_and_slopes(losses, probes.cheapest())), KEY, params, batch),
    }
    row: dict[str, Any] = {}
    for way, call in ways.items():
        first, _ = timed(call)
        times = sorted(timed(call)[0] for _ in range(7))
        row |= {f"{way}_ms": round(1e3 * times[3], 3), f"{way}_first_seconds": round(first, 1)}
    yield row


def main(options: Options) -> None:
    """Measure what is missing; print and write."""
    path = options.out
    stored = json.loads(path.read_text()) if path.is_file() else {"rows": []}
    stored |= machine() | {"jax": jax.__version__, "device": jax.devices()[0].device_kind}

    def add(told: dict[str, Any], rows: Iterator[dict[str, Any]]) -> None:
        if any(told.items() <= row.items() for row in stored["rows"]):
            return
        for row in rows:
            stored["rows"].append(told | row)
            print(told | row, flush=True)
            replace_file(path, json.dumps(stored, indent=2) + "\n")

    for precision in options.precision:
        with jax.default_matmul_precision(precision):
            if "rates" in options.parts:
                add({"part": "rates", "precision": precision}, rates(precision))
            for name in options.networks:
                of = {"network": name, "precision": precision}
                for heads in options.heads if "visits" in options.parts else ():
                    told = of | {
                        "part": "visits",
                        "heads": heads,
                        "examples": options.batch_size,
                        "minibatches": options.minibatches,
                    }
                    add(told, visits(options, name, heads))
                for size in options.batch_sizes if "steps" in options.parts else ():
                    told = of | {"part": "steps", "heads": HEADS, "examples": size}
                    add(told, step(name, HEADS, size))


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
