"""How well evaluations tell the slopes of all weights: the cosine with ``jax.grad``.

One mini-batch of 128 images, a network of one hidden layer without normalisation, biases included;
at initialisation, and after an epoch of SGD. Against the number of evaluations (image evaluations
over images):

- ``es``: pairs along normal directions, as evolution strategies with antithetic sampling evaluate;
- ``spsa``: pairs along random signs;
- ``weights``: a move of one weight each;
- ``nodes``: a move of one pre-activation each, every image credited with its own loss.

Probes do not know of one another, so that what some of them tell is part of what all of them tell:
columns, or weights, drawn at random, of one estimate. Nodes are probed several times over besides,
and those estimates averaged.

    python experiments/cosine.py                                # digits, 64-64-10
    python experiments/cosine.py --dataset mnist --data-dir DIR # 784-256-10

Writes ``experiments/results/cosine/DATASET.json``. About three minutes on 2 CPU cores for MNIST.
"""

import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from frozen import RESULTS, OptionalPath
from jax.flatten_util import ravel_pytree

from rso_jax import step
from rso_jax.baselines import antithetic_slopes, cosine_sgd, gradient_method
from rso_jax.cli.compiled import keep_compiled_programs
from rso_jax.data import Dataset, load, normalize, stack_minibatches
from rso_jax.errors import UserError
from rso_jax.files import replace_file
from rso_jax.machine import machine
from rso_jax.networks import Network, create, cross_entropy, loss_of
from rso_jax.slopes import probes, value_and_slopes

BATCH = 128
EPS = 1e-3
"""Length of a move along a random direction, in each weight; weights are of about 0.05."""
HIDDEN = {"digits": 64, "mnist": 256}
REPEATS = 4
"""Times that all nodes are probed, for the last point."""
RATES = {"learning_rate": 0.1, "momentum": 0.9}
"""Of SGD."""


@dataclass(frozen=True)
class Options:
    """Measure cosines and write them."""

    dataset: Literal["digits", "mnist"] = "digits"
    """Data set."""
    data_dir: OptionalPath = None
    """Folder of prepared tensorflow-datasets; see `rso data list`."""
    pairs: int = 256
    """Pairs along random directions, at most."""
    seeds: int = 2
    """Draws of directions, of columns and of weights."""


class Point(NamedTuple):
    """What some evaluations told."""

    state: str
    """``initial`` or ``trained``."""
    way: str
    evaluations: int
    seed: int
    cosine: float


def main(options: Options) -> int:
    """Measure at both states and write the file."""
    data = normalize(load(options.dataset, options.data_dir), "center")
    shape = data.x_train.shape[1:]
    network = create("mlp", shape, data.classes, (HIDDEN[options.dataset],), "none")
    initial = network.init(jax.random.key(0), jnp.asarray(data.x_train[:1]))
    batch = {"image": data.x_train[:BATCH], "label": data.y_train[:BATCH]}
    states = {"initial": initial, "trained": train(network, data, initial)}
    points = [
        Point(state, *found)
        for state, params in states.items()
        for found in measure(network, params, jax.device_put(batch), options)
    ]
    settings = {
        "dataset": options.dataset,
        "hidden": HIDDEN[options.dataset],
        "batch_size": BATCH,
        "eps": EPS,
        "pairs": options.pairs,
        "seeds": options.seeds,
        "trained": {"epochs": 1, "optimizer": "sgd"} | RATES,
    }
    found = {
        "what": "cosine of estimated slopes of all weights with the gradient, by evaluations",
        "settings": settings,
        "seed": 0,
        "weights": sum(a.size for a in jax.tree.leaves(initial)),
        "columns": sum(len(layer["bias"]) for layer in initial.values()),
        **machine(),
        "points": [point._asdict() for point in points],
    }
    path = RESULTS / "cosine" / f"{options.dataset}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, _as_json(found))
    print(f"wrote {path}")
    return 0


def train(network: Network, data: Dataset, params: Any) -> Any:
    """The parameters after an epoch of SGD."""
    rng = np.random.default_rng(0)
    batches = stack_minibatches(rng, data.x_train, data.y_train, BATCH)
    steps = len(data.y_train) // BATCH
    method = gradient_method(loss_of(network), cosine_sgd(steps=steps, **RATES))
    key = jax.random.key(0)
    state, _ = step(method, key, method.init(key, params), batches)
    return method.params(state)


def measure(
    network: Network, params: Any, batch: Any, options: Options
) -> Iterator[tuple[str, int, int, float]]:
    """Way, evaluations, seed and cosine of every estimate."""
    loss, losses = (
        loss_of(network, partial(cross_entropy, reduction=reduction))
        for reduction in ("mean", "none")
    )
    gradient, _ = ravel_pytree(jax.grad(loss)(params, batch))
    estimates = itertools.chain(
        estimate_by_pairs(loss, params, batch, options),
        estimate_by_weights(losses, params, batch, options),
        estimate_by_nodes(losses, params, batch, options),
    )
    for way, evaluations, seed, slopes in estimates:
        yield way, evaluations, seed, cosine(slopes, gradient)


Estimates = Iterator[tuple[str, int, int, Any]]
"""Way, evaluations, seed and slopes, as one vector."""


def estimate_by_pairs(loss: Any, params: Any, batch: Any, options: Options) -> Estimates:
    """By the sum of 1, 2, 4, ... pairs along directions of two kinds."""
    for way, draw in {"es": jax.random.normal, "spsa": jax.random.rademacher}.items():
        estimate = antithetic_slopes(loss, eps=EPS, draw=draw)

        @jax.jit
        def add(total: Any, key: jax.Array, estimate: Any = estimate) -> Any:
            return optax.tree.add(total, estimate(key, params, batch)[1])

        for seed in range(options.seeds):
            total = optax.tree.zeros_like(params)
            for i, key in enumerate(jax.random.split(jax.random.key(seed), options.pairs)):
                total = add(total, key)
                if (i + 1) & i == 0:
                    yield way, 2 * (i + 1), seed, ravel_pytree(total)[0]


def estimate_by_weights(losses: Any, params: Any, batch: Any, options: Options) -> Estimates:
    """By some weights and by all, whose moves no seed decides."""
    estimate = jax.jit(value_and_slopes(losses, probes.weights()))
    _, slopes, _ = estimate(jax.random.key(0), params, batch)
    count = sum(a.size for a in jax.tree.leaves(slopes))
    for seed in range(options.seeds):
        ranks = np.random.default_rng(seed).permutation(count)
        by_leaf = ravel_pytree(slopes)[1](ranks.astype(np.float32))
        for evaluations, part in take_parts(slopes, by_leaf, count):
            yield "weights", evaluations, seed, part


def estimate_by_nodes(losses: Any, params: Any, batch: Any, options: Options) -> Estimates:
    """By some columns and by all, and by all of them several times; biases follow from those."""
    for repeats in (1, REPEATS):
        nodes = probes.cheapest(probes.nodes(repeats=repeats), probes.weights())
        estimate = jax.jit(value_and_slopes(losses, nodes))
        for seed in range(options.seeds):
            _, slopes, info = estimate(jax.random.key(seed), params, batch)
            if repeats == 1:
                widths = {name: len(layer["bias"]) for name, layer in slopes.items()}
                ranks = np.random.default_rng(seed).permutation(sum(widths.values()))
                of_layers = np.split(ranks, np.cumsum(list(widths.values()))[:-1])
                by_leaf = {
                    name: jax.tree.map(lambda _, r=r: r, slopes[name])
                    for name, r in zip(widths, of_layers, strict=True)
                }
                for evaluations, part in take_parts(slopes, by_leaf, len(ranks)):
                    yield "nodes", evaluations, seed, part
            else:
                evaluations = int(info.image_evaluations) // len(batch["label"])
                yield "nodes", evaluations, seed, ravel_pytree(slopes)[0]


def take_parts(slopes: Any, ranks: Any, count: int) -> Iterator[tuple[int, np.ndarray]]:
    """What the first 1, 2, 4, ... and all of the probes tell, with the evaluation of the value.

    Args:
        slopes: by all probes.
        ranks: of the probe that told it, for every slope; each leaf broadcasts.
        count: of probes.
    """
    for taken in [*(2**i for i in range((count - 1).bit_length())), count]:
        told = jax.tree.map(lambda a, r, n=taken: np.where(np.asarray(r) < n, a, 0), slopes, ranks)
        yield 1 + taken, np.concatenate([a.reshape(-1) for a in jax.tree.leaves(told)])


def cosine(a: Any, b: Any) -> float:
    """Of the angle between two vectors; 0 with one of zeros."""
    a, b = (np.asarray(v, np.float64) for v in (a, b))
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return round(float(a @ b) / length, 6) if length else 0.0


def _as_json(found: dict[str, Any]) -> str:
    """A line for each point."""
    head = json.dumps({k: v for k, v in found.items() if k != "points"}, indent=2)
    lines = ",\n".join(f"    {json.dumps(point)}" for point in found["points"])
    return f'{head[:-2]},\n  "points": [\n{lines}\n  ]\n}}\n'


if __name__ == "__main__":
    keep_compiled_programs()
    try:
        sys.exit(main(tyro.cli(Options, description=__doc__)))
    except UserError as error:
        sys.exit(f"error: {error}")
