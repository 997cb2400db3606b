"""Readout and learning rate of local losses, chosen on held-out training images of MNIST.

The paper's network with a head on every convolution, by ``muon`` with a momentum of 0.9, its rate
falling to 0 as a cosine over 200 mini-batches of 128 of the first 50,000 training images; scored on
the next 5,000 by every readout. To save time exact gradients stand in for slopes: of each leaf that
of its own loss, the first that it can change, so that nothing passes from one layer's loss to
another layer. Test images are not looked at.

    python experiments/local_rates.py --data-dir DIR

Writes ``experiments/results/mnist/local_rates.json``. Some minutes on one core.
"""

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from frozen import RESULTS, OptionalPath
from jax import Array
from mnist import HEADS, LOCAL, STEP

from rso_jax.cli.compiled import keep_compiled_programs
from rso_jax.data import Dataset, load, normalize
from rso_jax.errors import UserError
from rso_jax.files import replace_file
from rso_jax.leaves import describe_leaves, loss_named, losses_of_leaves, names_of_losses
from rso_jax.machine import machine
from rso_jax.networks import Network, create, cross_entropy, loss_of, readouts
from rso_jax.networks.readouts import Readout
from rso_jax.slopes.steps import STEPS
from rso_jax.tasks.scoring import calibrate, score

PyTree = Any

RESULT = RESULTS / "mnist" / "local_rates.json"
TRAINED_ON, HELD_OUT = 50_000, 5_000
"""Training images."""
CONVOLUTIONS = 6
RATES = (0.05, 0.1, 0.2, 0.3)
FIRST_HEADS = (1, 2, 3)
"""From which on heads are added."""
SEED = 0


@dataclass(frozen=True)
class Options:
    """Train at every rate, score by every readout, and write the file."""

    data_dir: OptionalPath = None
    """Folder of prepared tensorflow-datasets; see `rso data list`."""
    steps: int = 200
    result: Path = RESULT


def main() -> int:
    """Measure what is asked for; an exit status."""
    options = tyro.cli(Options, description=__doc__)
    try:
        data = hold_out(normalize(load("mnist", options.data_dir), "standardize"))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    networks = {
        name: make_network(data, readout)
        for name, readout in ways_to_read(CONVOLUTIONS, FIRST_HEADS).items()
    }
    network = next(iter(networks.values()))
    rows = []
    for rate in RATES:
        params = train(network, data, rate, options.steps)
        rows.append({"learning_rate": rate, "accuracy": score_all(networks, params, data)})
        print(f"{rate:g}: {rows[-1]['accuracy']}", flush=True)
    settings = STEP | {
        "learning_rate": RATES,
        "heads": HEADS["heads"],
        "batch_size": batch_size(),
        "steps": options.steps,
        "seed": SEED,
        "trained_on": TRAINED_ON,
        "held_out": HELD_OUT,
    }
    stored = {"settings": settings, "rates": rows, **machine()}
    options.result.parent.mkdir(parents=True, exist_ok=True)
    replace_file(options.result, json.dumps(stored, indent=2) + "\n")
    return 0


def hold_out(data: Dataset) -> Dataset:
    """The first training images, the next in place of the test images."""
    end = TRAINED_ON + HELD_OUT
    return data._replace(
        x_train=data.x_train[:TRAINED_ON],
        y_train=data.y_train[:TRAINED_ON],
        x_test=data.x_train[TRAINED_ON:end],
        y_test=data.y_train[TRAINED_ON:end],
    )


def ways_to_read(convolutions: int, first_heads: Iterable[int]) -> dict[str, Readout]:
    """The network's own logits, each head's, and heads added from one of them on, by name."""
    heads: dict[str, Readout] = {
        f"head {i}": itemgetter(f"conv{i}") for i in range(1, convolutions + 1)
    }
    added = {f"heads from {i}": readouts.add_log_probabilities(i) for i in first_heads}
    return {"output": readouts.last_layer} | heads | added


def make_network(data: Dataset, readout: Readout) -> Network:
    """The paper's network with heads, evaluated by a readout."""
    shape = data.x_train.shape[1:]
    return create("paper-mnist", shape, data.classes, heads=HEADS["heads"], readout=readout)


def batch_size() -> int:
    """Of the runs that are chosen for."""
    (size,) = LOCAL["batch_size"]
    return int(size)


def train(network: Network, data: Dataset, rate: float, steps: int) -> PyTree:
    """Parameters after so many steps at a learning rate."""
    params = network.init(jax.random.key(SEED), jnp.asarray(data.x_train[:1]))
    rng = np.random.default_rng(SEED)

    def draw() -> dict[str, Array]:
        rows = rng.choice(len(data.y_train), batch_size(), replace=False)
        return {"image": jnp.asarray(data.x_train[rows]), "label": jnp.asarray(data.y_train[rows])}

    schedule = optax.cosine_decay_schedule(rate, steps)
    optimizer = STEPS[STEP["step"]](schedule, STEP["momentum"], 0.0)
    gradients = local_gradients(loss_of(network, cross_entropy), params, draw())

    @jax.jit
    def take_step(params: PyTree, state: PyTree, batch: PyTree) -> tuple[PyTree, PyTree]:
        updates, state = optimizer.update(gradients(params, batch), state, params)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for _ in range(steps):
        params, state = take_step(params, state, draw())
    return params


def local_gradients(
    losses: Callable[[PyTree, PyTree], Any], params: PyTree, batch: PyTree
) -> Callable[[PyTree, PyTree], PyTree]:
    """``(params, batch)``: of each leaf the gradient of the first loss that it can change."""
    leaves = describe_leaves(losses, params, batch)
    own = losses_of_leaves(losses, params, batch, leaves)
    names = names_of_losses(losses, params, batch)

    def gradients(params: PyTree, batch: PyTree) -> PyTree:
        by_loss = {
            name: jax.tree.leaves(jax.grad(loss_named(losses, name))(params, batch))
            for name in names
        }
        found = [by_loss[own[leaf.path]][leaf.position] for leaf in leaves]
        return jax.tree.unflatten(jax.tree.structure(params), found)

    return gradients


def score_all(networks: dict[str, Network], params: PyTree, data: Dataset) -> dict[str, float]:
    """Held-out accuracy by readout."""
    return {
        name: score(
            network,
            params,
            calibrate(network, params, data.x_train),
            data.x_test,
            data.y_test,
        ).accuracy
        for name, network in networks.items()
    }


if __name__ == "__main__":
    keep_compiled_programs()
    sys.exit(main())
