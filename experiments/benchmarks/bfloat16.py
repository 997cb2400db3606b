"""Decisions and accuracy with products of bfloat16 operands, against float32.

Decisions: visits of a float32 run are scored again from the same incumbent, in float32 and with
``bfloat16_products``, by column programs and by full forward passes; where they differ, how close
the best and the second best candidate were, and what was lost by it. For digits (a perceptron and
a small convolutional network) visits of the first and the last of 3 cycles of ``authors_code``; for
the paper's MNIST network visits of every array, at its initialisation with sigma of the first cycle
and after some steps of Adam with sigma of the last. Accuracy: digits after 3 cycles, 5 seeds.

    python experiments/benchmarks/bfloat16.py --data-dir DIR

DIR holds MNIST for tensorflow-datasets; by default where ``rso data`` looks for it. Writes
``experiments/results/benchmarks/bfloat16.json``. About nine minutes
on 2 CPU cores shared with other work; nothing here is about speed.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from tqdm import tqdm

from rso_jax import presets, rso, step
from rso_jax.data import Dataset, load, normalize, stack_minibatches
from rso_jax.files import replace_file
from rso_jax.incremental import bfloat16_products, column_program, full_forward_program, move
from rso_jax.leaves import Leaf, describe_leaves
from rso_jax.machine import machine
from rso_jax.networks import Network, create, cross_entropy, linen_network, loss_of
from rso_jax.networks.layers import Convolution, Dense
from rso_jax.search import Search
from rso_jax.search.order import visiting_order
from rso_jax.tasks import calibrate, score

RESULT = Path(__file__).parents[1] / "results" / "benchmarks" / "bfloat16.json"
CYCLES = 3
SEEDS = 5
VISITS_OF_ARRAY = {"digits": 200, "mnist": 12}
MNIST_BATCH = 500
MNIST_CYCLES = 50
ADAM_STEPS = 60
WAYS = ("float32", "bfloat16", "bfloat16_full")


class SmallCnn(nn.Module):
    """Two pooled convolutions and a dense layer, batch norm after each; for 8x8 images."""

    @nn.compact
    def __call__(self, x: Array, train: bool = True) -> Array:
        """Logits [n, 10] of images [n, 8, 8, 1]."""
        x = nn.relu(Convolution(4, pool=True, name="conv1")(x, train=train))
        x = nn.relu(Convolution(6, pool=True, name="conv2")(x, train=train))
        return Dense(10, name="output")(x.reshape(x.shape[0], -1), train=train)


def leaves_by_path(loss_fn: Callable, params: Any, batches: Any) -> dict[str, Leaf]:
    """The arrays that a search sweeps."""
    batch = jax.tree.map(lambda a: a[0], batches)
    return {leaf.path: leaf for leaf in describe_leaves(loss_fn, params, batch)}


def losses_of(way: str, loss_fn: Callable, params: Any, batches: Any, leaf: Leaf) -> Callable:
    """``(params, batches, candidates, decided, visits) -> losses`` [visits, candidates].

    Arrays ``candidates`` [weights, candidates] and ``decided`` [weights] are in the order of the
    sweep, ``visits`` are those to score; ``params`` those before the sweep. A visit starts from the
    incumbent that the decisions before it leave.
    """
    batch = jax.tree.map(lambda a: a[0], batches)
    if way != "float32":
        loss_fn = bfloat16_products(loss_fn)
    if way == "bfloat16_full":
        program = full_forward_program(loss_fn, leaf.position)
    else:
        program = column_program(loss_fn, params, batch, leaf.position)
    order = visiting_order(leaf.shape)
    columns = leaf.shape[-1]
    height = math.prod(leaf.shape[:-1])

    @jax.jit
    def losses(
        params: Any, batches: Any, candidates: Array, decided: Array, visits: Array
    ) -> Array:
        leaves, treedef = jax.tree.flatten(params)
        before = leaves[leaf.position].reshape(-1)[order]
        prefixes = lax.map(lambda batch: program.prefix(params, batch), batches)

        def of_visit(visit: Array) -> Array:
            values = jnp.where(jnp.arange(order.size) < visit, decided, before)
            array = jnp.zeros_like(values).at[order].set(values).reshape(leaf.shape)
            incumbent = jax.tree.unflatten(
                treedef, [*leaves[: leaf.position], array, *leaves[leaf.position + 1 :]]
            )
            turn = visit % jax.tree.leaves(batches)[0].shape[0]
            batch, prefix = jax.tree.map(lambda a: a[turn], (batches, prefixes))
            o, k = visit // height, order[visit] // columns
            weights = array[..., o]
            view = program.view(incumbent, batch, o, prefix)
            z = program.preactivation(view, weights)
            direction = program.direction(view, k)

            def loss(weight: Array) -> Array:
                there = move(z, direction, weight, weights.reshape(-1)[k])
                moved = weights.reshape(-1).at[k].set(weight).reshape(weights.shape)
                return program.loss(view, moved, there)

            return lax.map(loss, candidates[visit])

        return lax.map(of_visit, visits)

    return losses


def compared(losses: dict[str, Array], sizes: dict[str, Any]) -> dict[str, Any]:
    """What some visits of an array decide, by losses [visits, candidates] of every way."""
    exact = np.asarray(losses["float32"])
    best, second = np.sort(exact, axis=1)[:, :2].T
    gap = (second - best) / np.abs(best)
    gain = np.sum(exact[:, 0] - best)
    row = sizes | {
        "visits": len(exact),
        "median_loss": float(np.median(best)),
        "median_gap": float(np.median(gap)),
        "gain": float(gain),
    }
    for way in WAYS[1:]:
        if way not in losses:
            continue
        chosen = np.argmin(np.asarray(losses[way]), axis=1)
        differs = chosen != exact.argmin(1)
        lost = exact[np.arange(len(exact)), chosen] - best
        row[way] = {
            "decisions_that_differ": int(differs.sum()),
            "median_gap_where_they_differ": float(np.median(gap[differs]))
            if any(differs)
            else None,
            "largest_gap_where_they_differ": float(gap[differs].max()) if any(differs) else None,
            "gain_lost": float(lost.sum() / gain) if gain > 0 else 0.0,
            "median_error_of_loss_differences": float(
                np.median(np.abs(_steps(losses[way]) - _steps(exact)))
                / max(np.median(np.abs(_steps(exact))), 1e-300)
            ),
        }
    return row


def _steps(losses: Any) -> np.ndarray:
    """What each change does to the loss [visits, candidates - 1]."""
    array = np.asarray(losses)
    return array[:, 1:] - array[:, :1]


def sample(weights: int, count: int) -> Array:
    """Visits spread evenly over a sweep."""
    spread = np.linspace(0, weights - 1, min(weights, count)).astype(np.int32)
    return jnp.asarray(np.unique(spread))


def replayed(name: str, network: Network, loss_fn: Callable, data: Dataset, size: int) -> list:
    """A float32 run on digits, of whose first and last cycle visits are scored in every way."""
    search = rso(loss_fn, **presets.authors_code(cycles=CYCLES))
    rows, scorers = [], {}
    rng = np.random.default_rng(0)
    state = search.init(
        jax.random.key(0), network.init(jax.random.key(1), jnp.asarray(data.x_train[:1]))
    )
    for cycle in range(CYCLES):
        key = jax.random.key(2 + cycle)
        batches = jax.tree.map(
            jnp.asarray, stack_minibatches(rng, data.x_train, data.y_train, size)
        )
        leaves = leaves_by_path(loss_fn, state.params, batches)
        for stage in search.stages(key, state, batches):
            leaf, prepared = leaves[stage.name], search.prepare(key, state, stage, batches)
            before = state.params
            state, info = search.advance(key, state, stage, prepared, 0, stage.visits)
            if cycle not in (0, CYCLES - 1):
                continue
            choices = info.choices.reshape(-1)[visiting_order(leaf.shape)]
            decided = jnp.take_along_axis(prepared.candidates, choices[:, None], 1)[:, 0]
            visits = sample(leaf.visits, VISITS_OF_ARRAY["digits"])
            losses = {}
            for way in WAYS:
                if (leaf, way) not in scorers:
                    scorers[leaf, way] = losses_of(way, loss_fn, before, batches, leaf)
                losses[way] = scorers[leaf, way](
                    before, prepared.batches, prepared.candidates, decided, visits
                )
            about = {"network": name, "when": f"cycle {cycle + 1} of {CYCLES}"}
            rows.append(compared(losses, about | {"array": leaf.path, "weights": leaf.visits}))
        state = search.finish(state)
    return rows


def accuracies(network: Network, search: Search, data: Dataset, size: int) -> list[float]:
    """Test accuracy after the cycles, for every seed."""
    found = []
    for seed in range(SEEDS):
        rng, key = np.random.default_rng(seed), jax.random.key(seed)
        state = search.init(key, network.init(key, jnp.asarray(data.x_train[:1])))
        for cycle in range(CYCLES):
            stack = stack_minibatches(rng, data.x_train, data.y_train, size)
            batches = jax.tree.map(jnp.asarray, stack)
            state, _ = step(search, jax.random.fold_in(key, cycle), state, batches)
        statistics = calibrate(network, state.params, data.x_train)
        found.append(score(network, state.params, statistics, data.x_test, data.y_test).accuracy)
    return found


def on_mnist(data: Dataset, loss_of_network: Callable) -> list[dict[str, Any]]:
    """Visits of every array of the paper's network on one mini-batch, by column programs."""
    network = create("paper-mnist", data.x_train.shape[1:], data.classes)
    loss_fn = loss_of_network(network)
    rng, key = np.random.default_rng(0), jax.random.key(0)
    start = network.init(key, jnp.asarray(data.x_train[:1]))
    trained = by_adam(network, start, data)
    batches = jax.tree.map(
        jnp.asarray,
        stack_minibatches(rng, data.x_train, data.y_train, MNIST_BATCH, at_most=1),
    )
    search = rso(loss_fn, **presets.authors_code(cycles=MNIST_CYCLES))
    first = search.init(key, start)
    last = first._replace(params=trained, cycle=jnp.asarray(MNIST_CYCLES - 1, jnp.int32))
    # Sigma follows from the shapes and is that of the first state.
    states = {
        f"at initialisation, sigma of cycle 1 of {MNIST_CYCLES}": first,
        f"after {ADAM_STEPS} steps of Adam, sigma of the last cycle": last,
    }
    rows = []
    full = rso(loss_fn, evaluation="full", **presets.authors_code(cycles=MNIST_CYCLES))
    leaves = leaves_by_path(loss_fn, start, batches)
    for stage in tqdm(search.stages(key, first, batches), unit="array"):
        leaf = leaves[stage.name]
        scorers = {way: losses_of(way, loss_fn, start, batches, leaf) for way in WAYS[:2]}
        visits = sample(leaf.visits, VISITS_OF_ARRAY["mnist"])
        for when, state in states.items():
            # The full evaluator's: no prefixes are kept.
            prepared = full.prepare(key, state, stage, batches)
            unchanged = jax.tree.leaves(state.params)[leaf.position].reshape(-1)
            decided = unchanged[visiting_order(leaf.shape)]
            losses = {
                way: scorer(state.params, batches, prepared.candidates, decided, visits)
                for way, scorer in scorers.items()
            }
            about = {"network": "paper-mnist", "when": when}
            rows.append(compared(losses, about | {"array": leaf.path, "weights": leaf.visits}))
    return rows


def by_adam(network: Network, params: Any, data: Dataset) -> Any:
    """Parameters after some steps on small mini-batches."""
    optimizer, loss_fn = optax.adam(3e-3), loss_of(network)
    state = optimizer.init(params)

    @jax.jit
    def step(params: Any, state: Any, batch: Any) -> tuple[Any, Any]:
        updates, state = optimizer.update(jax.grad(loss_fn)(params, batch), state)
        return optax.apply_updates(params, updates), state

    rng = np.random.default_rng(1)
    stack = stack_minibatches(rng, data.x_train, data.y_train, 200, at_most=ADAM_STEPS)
    for i in range(ADAM_STEPS):
        params, state = step(params, state, jax.tree.map(lambda a, i=i: a[i], stack))
    return params


def over_cycle(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Shares of all decisions of a cycle: arrays weigh as many as they have weights."""
    found = []
    for network, when in dict.fromkeys((r["network"], r["when"]) for r in rows):
        mine = [r for r in rows if (r["network"], r["when"]) == (network, when)]
        weights = sum(r["weights"] for r in mine)
        row = {"network": network, "when": when, "visits": sum(r["visits"] for r in mine)}
        shares = [r["weights"] / r["visits"] for r in mine]
        gain = sum(share * r["gain"] for share, r in zip(shares, mine, strict=True))
        for way in WAYS[1:]:
            if way not in mine[0]:
                continue
            of_way = [(share, r["gain"], r[way]) for share, r in zip(shares, mine, strict=True)]
            differ = sum(share * r["decisions_that_differ"] for share, _, r in of_way)
            lost = sum(share * gained * r["gain_lost"] for share, gained, r in of_way)
            row[f"{way}_differ"] = round(differ / weights, 4)
            row[f"{way}_gain_lost"] = round(lost / gain, 4)
        found.append(row)
    return found


def main() -> None:
    """Measure; print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", default=None, help="folder of prepared tensorflow-datasets")
    options = parser.parse_args()
    began = time.perf_counter()

    def summed(network: Network) -> Callable:
        return loss_of(network, partial(cross_entropy, reduction="sum", precision="float64"))

    digits = normalize(load("digits"), "center")
    networks = {
        "digits mlp 64-64-10": (create("mlp", digits.x_train.shape[1:], 10), len(digits.y_train)),
        "digits cnn": (
            linen_network(SmallCnn(), searching={"train": True}, evaluating={"train": False}),
            len(digits.y_train) // 3,
        ),
    }
    rows, accuracy = [], []
    for name, (network, size) in networks.items():
        loss_fn = summed(network)
        rows += replayed(name, network, loss_fn, digits, size)
        print(f"{name}: visits scored again after {time.perf_counter() - began:.0f} s")
        found: dict[str, Any] = {"network": name, "batch_size": size}
        for way, loss in (("float32", loss_fn), ("bfloat16", bfloat16_products(loss_fn))):
            search = rso(loss, **presets.authors_code(cycles=CYCLES))
            found[way] = accuracies(network, search, digits, size)
        accuracy.append(found)
        means = {way: statistics.mean(found[way]) for way in WAYS[:2]}
        print(f"{name}: {means} after {time.perf_counter() - began:.0f} s")
    mnist = normalize(load("mnist", options.data_dir), "center")
    rows += on_mnist(mnist, summed)
    summary = over_cycle(rows)
    for row in summary:
        print(row)
    found = {
        "what": "decisions and test accuracy with products of bfloat16 operands, against float32",
        "settings": {
            "preset": "authors_code",
            "cycles": CYCLES,
            "seeds": SEEDS,
            "visits_of_an_array": VISITS_OF_ARRAY,
            "mnist_batch_size": MNIST_BATCH,
        },
        "losses": "summed over a mini-batch",
        "gaps": "second best minus best float32 loss, relative to the best",
        "gain_lost": (
            "float32 loss given up where decisions differ, as a share of what float32 gains"
        ),
        "seconds": round(time.perf_counter() - began),
        **machine(),
        "decisions": summary,
        "accuracy": accuracy,
        "arrays": rows,
    }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    replace_file(RESULT, json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    with jax.enable_x64(True):
        main()
