"""Memory: what the sweep of every array of the paper's MNIST network takes at full size.

60,000 images in 12 mini-batches of 5000, preset ``authors_code``, on noise (memory does not depend
on the values). A few visits of each array: the buffers of a sweep are the same at its first visit
and at its last.

    python experiments/benchmarks/memory.py
    python experiments/benchmarks/memory.py --memory-budgets 2 4 8

Writes ``experiments/results/benchmarks/memory.json``. Linux; some minutes for each budget.
"""

import json
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import tyro

from rso_jax import presets, rso
from rso_jax.files import replace_file
from rso_jax.machine import machine
from rso_jax.networks import create, cross_entropy, loss_of

RESULT = Path(__file__).parents[1] / "results" / "benchmarks" / "memory.json"
GIB = 2**30


@dataclass(frozen=True)
class Options:
    """Measure the peak memory of the process during a sweep of every array."""

    memory_budgets: tuple[float, ...] = (4, 8)
    """Of the search, GiB."""
    minibatches: int = 12
    batch_size: int = 5000
    visits: int = 3
    """Of each array."""


def forget_peak() -> None:
    """Start the process's peak resident size anew."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_gib() -> float:
    """Largest resident size of this process since then."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 2**20
    raise RuntimeError("no VmHWM in /proc/self/status")


def measure(options: Options, budget: float) -> list[dict]:
    """A row for every array."""
    key = jax.random.key(0)
    network = create("paper-mnist", (28, 28, 1), 10)
    stack = (options.minibatches, options.batch_size)
    batches = {
        "image": jax.random.normal(key, (*stack, 28, 28, 1), jnp.float32),
        "label": jnp.zeros(stack, jnp.int32),
    }
    loss_fn = loss_of(network, partial(cross_entropy, reduction="sum", precision="float64"))
    search = rso(loss_fn, memory_budget=int(budget * GIB), **presets.authors_code(50))
    state = search.init(key, network.init(key, batches["image"][0, :1]))
    costs = {cost.path: cost for cost in search.cost(state.params, batches)}
    rows = []
    for stage in search.stages(key, state, batches):
        forget_peak()
        began = time.perf_counter()
        prepared = search.prepare(key, state, stage, batches)
        stop = min(options.visits, stage.visits)
        state, _ = search.advance(key, state, stage, prepared, 0, stop)
        jax.block_until_ready(state.params)
        row = {
            "array": stage.name,
            "planned_gib": round(costs[stage.name].bytes_kept / GIB, 2),
            "peak_gib": round(peak_gib(), 2),
            "seconds": round(time.perf_counter() - began, 1),
        }
        rows.append(row)
        print(row, flush=True)
    return rows


def main(options: Options) -> None:
    """Measure, print and write."""
    found = {
        "what": "peak resident memory of the process while an array is swept",
        "minibatches": options.minibatches,
        "batch_size": options.batch_size,
        **machine(),
        "budgets_gib": {},
    }
    for budget in options.memory_budgets:
        print(f"budget {budget:g} GiB")
        with jax.enable_x64(True):
            rows = measure(options, budget)
        found["budgets_gib"][f"{budget:g}"] = rows
        print(f"peak {max(row['peak_gib'] for row in rows):.2f} GiB")
        replace_file(RESULT, json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
