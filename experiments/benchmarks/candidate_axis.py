"""Scoring the three candidates of a visit: one ``vmap`` against one after the other.

Milliseconds of a visit by full forward passes and by column programs, for a perceptron and for
the paper's MNIST network, at several kernels and batch sizes; both ways in turn, several times,
medians. ``rso_jax.candidates`` chooses between them by the FLOPs of one forward.

    python experiments/benchmarks/candidate_axis.py

Writes ``experiments/results/benchmarks/candidate_axis.json``. About five minutes on 2 CPU cores.
"""

import json
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp
from tqdm import tqdm

from rso_jax import rso
from rso_jax.files import replace_file
from rso_jax.machine import machine
from rso_jax.networks import create, loss_of

RESULT = Path(__file__).parents[1] / "results" / "benchmarks" / "candidate_axis.json"
REPETITIONS = 5
CASES = [
    ("mlp 64-64-10", "mlp", (8, 8, 1), "hidden1/kernel", (200, 1437, 5000)),
    ("mlp 64-64-10", "mlp", (8, 8, 1), "output/kernel", (1437,)),
    ("mlp 784-64-10", "mlp", (28, 28, 1), "hidden1/kernel", (1000, 5000)),
    ("paper-mnist", "paper-mnist", (28, 28, 1), "conv1/kernel", (10, 100)),
    ("paper-mnist", "paper-mnist", (28, 28, 1), "conv3/kernel", (10, 100, 1000)),
    ("paper-mnist", "paper-mnist", (28, 28, 1), "conv5/kernel", (10, 100, 1000)),
]


def seconds_per_visit(visit, visits: int) -> float:
    """One timed call of some visits."""
    began = time.perf_counter()
    jax.block_until_ready(visit(visits))
    return (time.perf_counter() - began) / visits


def measure(
    evaluation: str, model: str, shape: tuple[int, ...], path: str, batch_size: int
) -> dict:
    """Both ways on one leaf, in turn."""
    key = jax.random.key(0)
    network = create(model, shape, 10)
    loss = loss_of(network)
    images = jax.random.normal(key, (1, batch_size, *shape))
    batches = {"image": images, "label": jnp.zeros((1, batch_size), jnp.int32)}
    params = network.init(key, images[0])
    one = jax.tree.map(lambda a: a[0], batches)
    flops = jax.jit(loss).lower(params, one).cost_analysis()["flops"]
    ways = {}
    for axis in ("vmap", "map"):
        search = rso(loss, evaluation=evaluation, candidate_axis=axis)
        state = search.init(key, params)
        stage = next(s for s in search.stages(key, state, batches) if s.name == path)
        prepared = search.prepare(key, state, stage, batches)

        def visit(n, search=search, state=state, stage=stage, prepared=prepared):
            return search.advance(key, state, stage, prepared, 0, n)[0].params

        ways[axis] = visit
    first = {
        axis: (jax.block_until_ready(v(1)), seconds_per_visit(v, 1)) for axis, v in ways.items()
    }
    # About a second of work per timing, at most the leaf.
    visits = max(1, min(32, int(1 / max(t for _, t in first.values()))))
    times: dict[str, list[float]] = {axis: [] for axis in ways}
    for _ in range(REPETITIONS):
        for axis, visit in ways.items():
            times[axis].append(seconds_per_visit(visit, visits))
    medians = {axis: statistics.median(t) for axis, t in times.items()}
    return {
        "mflop_per_forward": round(flops / 1e6, 2),
        "vmap_ms": round(1e3 * medians["vmap"], 3),
        "map_ms": round(1e3 * medians["map"], 3),
        "vmap_over_map": round(medians["vmap"] / medians["map"], 2),
    }


def main() -> None:
    """Measure every case; print and write the table."""
    rows = []
    todo = [(e, *case, b) for e in ("full", "column") for *case, sizes in CASES for b in sizes]
    for evaluation, name, model, shape, path, batch_size in tqdm(todo, unit="case"):
        row = {"evaluation": evaluation, "network": name, "leaf": path, "batch_size": batch_size}
        rows.append(row | measure(evaluation, model, shape, path, batch_size))
    columns = {name: max(len(name), *(len(str(r[name])) for r in rows)) for name in rows[0]}
    print("  ".join(f"{name:>{width}}" for name, width in columns.items()))
    for r in rows:
        print("  ".join(f"{r[name]:>{width}}" for name, width in columns.items()))
    found = {
        "what": "milliseconds of one visit (3 candidates), median of repetitions",
        "repetitions": REPETITIONS,
        **machine(),
        "rows": rows,
    }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    replace_file(RESULT, json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
