"""What credit for each example costs where examples meet: the bias of node probes under batch norm.

An example's pre-activation moves the statistics that normalise all others, and what that does to
their losses is not credited to it. Slopes of node probes are compared with ``jax.grad``, by their
cosine, array by array: for a perceptron on digits with batch norm, layer norm or none, with
mini-batches of some sizes, fresh and after some steps of Adam. ``cosine`` is of one estimate, its
mean over mini-batches; ``of_mean`` that of an average over many draws of signs on the same
mini-batch, from which noise is gone and bias is left; ``common`` of one estimate by
``nodes(common=True)``, with two more evaluations a column. Scales and shifts are probed as weights,
which is right under batch norm.

    python experiments/benchmarks/credit_under_batch_norm.py

Writes ``experiments/results/benchmarks/credit_under_batch_norm.json``. About two
minutes on 2 cores.
"""

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax

from rso_jax.data import load, normalize
from rso_jax.files import replace_file
from rso_jax.machine import machine
from rso_jax.networks import create, cross_entropy, loss_of
from rso_jax.slopes import probes, value_and_slopes
from rso_jax.trees import named_leaves

RESULT = Path(__file__).parents[1] / "results" / "benchmarks" / "credit_under_batch_norm.json"
NORMS = ("batch", "layer", "none")
HIDDEN = (64, 32)
BATCH_SIZES = (32, 128, 512)
ADAM_STEPS = (0, 200)
MINI_BATCHES = 2
DRAWS = 8
EPS = 0.02

PyTree = Any
Losses = Callable[[PyTree, PyTree], Array]


def train(losses: Losses, params: PyTree, data: PyTree, steps: int) -> PyTree:
    """The parameters after some steps of Adam, by ``jax.grad``, on mini-batches of 128."""
    optimizer = optax.adam(2e-3)

    def step(state: tuple[PyTree, PyTree], key: Array) -> tuple[tuple[PyTree, PyTree], None]:
        params, moments = state
        slopes = gradient(losses, params, draw_batch(key, data, 128))
        updates, moments = optimizer.update(slopes, moments, params)
        return (optax.apply_updates(params, updates), moments), None

    keys = jax.random.split(jax.random.key(1), max(steps, 1))[:steps]
    (params, _), _ = jax.jit(partial(lax.scan, step))((params, optimizer.init(params)), keys)
    return params


def draw_batch(key: Array, data: PyTree, size: int) -> PyTree:
    """A mini-batch of different images."""
    rows = jax.random.choice(key, len(data["label"]), (size,), replace=False)
    return jax.tree.map(lambda a: a[rows], data)


def gradient(losses: Losses, params: PyTree, batch: PyTree) -> PyTree:
    """What slopes are compared with."""
    return jax.grad(lambda params: losses(params, batch).mean())(params)


def cosines(found: PyTree, exact: PyTree) -> dict[str, Array]:
    """The cosine of two gradients, array by array."""
    pairs = zip(named_leaves(found).items(), jax.tree.leaves(exact), strict=True)
    return {
        path: jnp.sum(a * b) / jnp.linalg.norm(a.ravel()) / jnp.linalg.norm(b.ravel())
        for (path, a), b in pairs
    }


def compare(losses: Losses, data: PyTree, size: int) -> Callable[..., dict[str, dict[str, Array]]]:
    """A function ``(key, params)`` of what estimates on a mini-batch of a size have in cosines."""
    by_nodes, by_common = (
        value_and_slopes(
            losses, probes.cheapest(probes.weights(), probes.nodes(EPS, common=common))
        )
        for common in (False, True)
    )

    @jax.jit
    def on_batch(key: Array, params: PyTree) -> dict[str, dict[str, Array]]:
        batch = draw_batch(key, data, size)
        exact = gradient(losses, params, batch)
        drawn = lax.map(lambda key: by_nodes(key, params, batch)[1], jax.random.split(key, DRAWS))
        slopes = {
            "cosine": jax.tree.map(lambda a: a[0], drawn),
            "of_mean": jax.tree.map(lambda a: a.mean(0), drawn),
            "common": by_common(key, params, batch)[1],
        }
        return {name: cosines(found, exact) for name, found in slopes.items()}

    return on_batch


def measure(data: PyTree) -> list[dict[str, Any]]:
    """All rows: a norm, steps of Adam, a size of mini-batches and an array each."""
    rows = []
    keys = jax.random.split(jax.random.key(2), MINI_BATCHES)
    for norm in NORMS:
        network = create("mlp", data["image"].shape[1:], 10, HIDDEN, norm)
        losses = loss_of(network, partial(cross_entropy, reduction="none"))
        fresh = network.init(jax.random.key(0), data["image"][:2])
        trained = {steps: train(losses, fresh, data, steps) for steps in ADAM_STEPS}
        for size in BATCH_SIZES:
            on_batch = compare(losses, data, size)
            for steps, params in trained.items():
                found = [on_batch(key, params) for key in keys]
                of_all = {"norm": norm, "adam_steps": steps, "batch_size": size}
                for path in named_leaves(params):
                    means = {
                        name: round(float(np.mean([one[name][path] for one in found])), 4)
                        for name in found[0]
                    }
                    rows.append(of_all | {"array": path} | means)
                    print(rows[-1])
    return rows


def main() -> None:
    """Measure and write the file."""
    began = time.perf_counter()
    digits = normalize(load("digits"), "center")
    data = {"image": jnp.asarray(digits.x_train), "label": jnp.asarray(digits.y_train)}
    rows = measure(data)
    found = {
        "what": "cosine of slopes by node probes with jax.grad, under batch norm and others",
        "settings": {
            "network": "mlp",
            "hidden": HIDDEN,
            "dataset": "digits",
            "eps": EPS,
            "mini_batches": MINI_BATCHES,
            "draws": DRAWS,
        },
        "cosine": "of one estimate by nodes for kernels, weights for scales and shifts",
        "of_mean": "of the mean of all draws of signs: what is missing is bias",
        "common": "of one estimate with two more evaluations a column, of what examples share",
        "seconds": round(time.perf_counter() - began),
        **machine(),
        "rows": rows,
    }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    replace_file(RESULT, json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
