"""What a step of slopes costs beside a gradient and a forward pass of the same network.

An MLP 784-256-10, EvoJAX's network, and the paper's networks with a head and a loss for every
convolution, on mini-batches of 128 images; a transformer on eight texts of 32 characters; all of
random data. A forward pass, ``jax.grad`` (of the sum of several losses) and ``value_and_slopes``,
the latter for all leaves and, of few, for each alone, in turn: the medians of seconds on the clock,
and of processor time over all cores, which other work on the machine changes little. The share of a
leaf alone holds a forward pass of its own.

    python experiments/benchmarks/slopes_cost.py

Writes ``experiments/results/benchmarks/slopes_cost.json``. Some minutes on 2 CPU cores.
"""

import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rso_jax.files import replace_file
from rso_jax.machine import machine
from rso_jax.networks import Norm, Transformer, create, cross_entropy, linen_network, loss_of
from rso_jax.slopes import probes, value_and_slopes
from rso_jax.slopes.cost import count_cost
from rso_jax.slopes.planning import Settings

RESULT = Path(__file__).parents[1] / "results" / "benchmarks" / "slopes_cost.json"
KEY = jax.random.key(0)
EXAMPLES, TEXTS, LENGTH, CHARACTERS = 128, 8, 32, 65
MOST_LEAVES = 8
"""In a network of which each leaf is measured alone."""


each_loss = partial(cross_entropy, reduction="none")


class Case(NamedTuple):
    """A network on a mini-batch, and how its slopes are learned."""

    losses: Callable[[Any, Any], Any]
    params: Any
    batch: Any
    way: probes.Probes
    repetitions: int


def images(
    name: str,
    repetitions: int,
    shape: tuple[int, ...] = (28, 28, 1),
    heads: int | None = None,
) -> Case:
    """A network of images; each leaf by the cheapest evaluations."""
    norm: Norm | None = "none" if name == "mlp" else None
    network = create(name, shape, 10, hidden=(256,), norm=norm, heads=heads)
    batch = {
        "image": jax.random.uniform(KEY, (EXAMPLES, *shape)),
        "label": jax.random.randint(KEY, (EXAMPLES,), 0, 10),
    }
    params = network.init(KEY, batch["image"])
    return Case(loss_of(network, each_loss), params, batch, probes.cheapest(), repetitions)


def characters(repetitions: int) -> Case:
    """A transformer with a loss for every character; one evaluation for each column."""
    network = linen_network(Transformer(CHARACTERS, length=LENGTH))
    text = jax.random.randint(KEY, (TEXTS, LENGTH + 1), 0, CHARACTERS)
    batch = {"text": text[:, :-1], "next": text[:, 1:]}
    losses = loss_of(network, each_loss, inputs="text", labels="next")
    way = probes.cheapest(probes.nodes(positions="together", credit="following"), probes.weights())
    return Case(losses, network.init(KEY, batch["text"]), batch, way, repetitions)


def time_in_turn(
    functions: dict[str, Callable[[], Any]], repetitions: int
) -> dict[str, dict[str, float]]:
    """Median milliseconds of each, on the clock and of processors, after a first call."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in functions}
    for function in functions.values():
        jax.block_until_ready(function())
    for _ in range(repetitions):
        for name, function in functions.items():
            began, worked = time.perf_counter(), time.process_time()
            jax.block_until_ready(function())
            both = time.perf_counter() - began, time.process_time() - worked
            taken[name].append(both)
    return {
        name: {
            "ms": round(1e3 * statistics.median(t for t, _ in both), 3),
            "processor_ms": round(1e3 * statistics.median(t for _, t in both), 3),
        }
        for name, both in taken.items()
    }


def compare(name: str, case: Case) -> dict[str, Any]:
    """A row: what each takes, and slopes in units of the gradient."""
    losses, params, batch, way, repetitions = case

    def mean(params: Any, batch: Any) -> Array:
        return sum(jnp.mean(one) for one in jax.tree.leaves(losses(params, batch)))

    def slopes(path: str | None = None) -> Callable[[], Any]:
        searched = None if path is None else path.__eq__
        estimate = jax.jit(value_and_slopes(losses, way, searched=searched))
        return partial(estimate, KEY, params, batch)

    leaves = [leaf for leaf in count_cost(settings_of(case), params, batch) if leaf.evaluations]
    functions = {
        "forward": partial(jax.jit(losses), params, batch),
        "gradient": partial(jax.jit(jax.grad(mean)), params, batch),
        "slopes": slopes(),
    }
    if len(leaves) <= MOST_LEAVES:
        functions |= {leaf.path: slopes(leaf.path) for leaf in leaves}
    found = time_in_turn(functions, repetitions)
    whole = {of: found.pop(of) for of in ("forward", "gradient", "slopes")}
    return {
        "network": name,
        "weights": sum(a.size for a in jax.tree.leaves(params)),
        "evaluations": 1 + sum(leaf.evaluations for leaf in leaves),
        **whole,
        "slopes_per_gradient": {
            unit: round(whole["slopes"][unit] / whole["gradient"][unit], 2)
            for unit in ("ms", "processor_ms")
        },
        "leaves": [
            {"leaf": leaf.path, "moves": leaf.moves, "evaluations": leaf.evaluations}
            | found.get(leaf.path, {})
            for leaf in leaves
        ],
    }


def settings_of(case: Case) -> Settings:
    """As ``value_and_slopes`` makes them."""
    return Settings(case.losses, case.way, None, None, 2**30)


def main() -> None:
    """Measure; print and write."""
    cases = {
        "mlp 784-256-10": images("mlp", 40),
        "evojax-mnist": images("evojax-mnist", 3),
        "paper-mnist, local losses": images("paper-mnist", 7, heads=4),
        "paper-cifar10, local losses": images("paper-cifar10", 3, (32, 32, 3), heads=4),
        "transformer": characters(3),
    }
    rows = []
    for name, case in cases.items():
        rows.append(row := compare(name, case))
        times = ", ".join(f"{of} {row[of]['ms']} ms" for of in ("forward", "gradient", "slopes"))
        print(f"{name}: {times}; slopes per gradient {row['slopes_per_gradient']}", flush=True)
        for leaf in row["leaves"]:
            print("   ", leaf)
    found = {
        "what": "medians of a step for all leaves and for each alone, the functions in turn",
        "examples": EXAMPLES,
        "texts": [TEXTS, LENGTH],
        **machine(),
        "rows": rows,
    }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    replace_file(RESULT, json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
