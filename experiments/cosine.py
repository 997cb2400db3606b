"""How well evaluations tell the slopes of all weights: the cosine with ``jax.grad``.

One mini-batch of 128 images, a network of one hidden layer without normalisation, biases included;
at initialisation, and after an epoch of SGD. Against the number of evaluations (image evaluations
over images):

- ``es``: pairs along normal directions, as evolution strategies with antithetic sampling evaluate;
- ``spsa``: pairs along random signs;
- ``weights``: a move of one weight each;
- ``nodes``: a move of one pre-activation each, every image credited with its own loss;
  biases by a move of each.

Probes do not know of one another, so that what some of them tell is part of what all of them tell:
columns, or weights, drawn at random, of one estimate. Nodes are probed several times over besides,
and those estimates averaged.

    python experiments/cosine.py                                # digits, 64-64-10
    python experiments/cosine.py --dataset mnist --data-dir DIR # 784-256-10

Writes ``experiments/results/cosine/DATASET.json``. About three minutes on 2 CPU cores for MNIST.
"""

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
    pairs: int = 1024
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
    by_columns = [a.shape[-1] for a in jax.tree.leaves(initial)]
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
        "columns": sum(by_columns),
        "units": sum(by_columns) // 2,
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
    ways = {"es": jax.random.normal, "spsa": jax.random.rademacher}
    for way, draw in ways.items():
        estimate = jax.jit(antithetic_slopes(loss, eps=EPS, draw=draw))
        for seed in range(options.seeds):
            for pairs, slopes in sum_pairs(estimate, params, batch, seed, options.pairs):
                yield way, 2 * pairs, seed, cosine(slopes, gradient)
    for way, moved in {"nodes": by_nodes(1), "weights": probes.weights()}.items():
        estimate = jax.jit(value_and_slopes(losses, moved))
        for seed in range(options.seeds):
            _, slopes, _ = estimate(jax.random.key(seed), params, batch)
            for evaluations, part in take_parts(way, slopes, seed):
                yield way, evaluations, seed, cosine(part, gradient)
    estimate = jax.jit(value_and_slopes(losses, by_nodes(REPEATS)))
    for seed in range(options.seeds):
        _, slopes, info = estimate(jax.random.key(seed), params, batch)
        found, _ = ravel_pytree(slopes)
        yield "nodes", int(info.image_evaluations) // BATCH, seed, cosine(found, gradient)


def by_nodes(repeats: int) -> probes.Probes:
    """Nodes of the kernels, so many times over; a bias is one weight."""
    return probes.cheapest(probes.nodes(repeats=repeats), probes.weights())


def sum_pairs(
    estimate: Any, params: Any, batch: Any, seed: int, most: int
) -> Iterator[tuple[int, jax.Array]]:
    """The sum of estimates by one pair each, after 1, 2, 4, ... of them."""
    key = jax.random.fold_in(jax.random.key(1), seed)
    total = optax.tree.zeros_like(params)
    add = jax.jit(
        lambda i, total: optax.tree.add(
            total, estimate(jax.random.fold_in(key, i), params, batch)[1]
        )
    )
    for i in range(most):
        total = add(i, total)
        if (i + 1) & i == 0:
            yield i + 1, ravel_pytree(total)[0]


def take_parts(way: str, slopes: Any, seed: int) -> Iterator[tuple[int, np.ndarray]]:
    """What 1, 2, 4, ... and all of the probes tell, with that of the value: the rest is 0."""
    arrays = [np.asarray(a) for a in jax.tree.leaves(slopes)]
    shapes = [a.shape if way == "weights" else a.shape[-1:] for a in arrays]
    count = sum(int(np.prod(shape)) for shape in shapes)
    drawn = np.random.default_rng(seed).permutation(count)
    for size in [2**i for i in range(count.bit_length()) if 2**i < count] + [count]:
        chosen = np.isin(np.arange(count), drawn[:size])
        parts = np.split(chosen, np.cumsum([np.prod(shape) for shape in shapes])[:-1])
        kept = [a * p.reshape(s) for a, p, s in zip(arrays, parts, shapes, strict=True)]
        yield size + 1, np.concatenate([a.reshape(-1) for a in kept])


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
