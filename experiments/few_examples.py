"""Ten and forty MNIST images per class: discrete networks from few examples.

Perceptrons of two hidden layers of sign activations, their kernels binary or ternary, trained on 10
and on 40 images of each class and scored on all test images; 10 training sets of each size, drawn
from the first 50,000 training images. Bernardelli, Gualandi, Milanesi, Lau, Yorke-Smith, "The BeMi
Stardust" (arXiv 2212.03659) publish 61.7 % and 76.4 % for ensembles of small ternary networks,
trained by mixed-integer programming.

``slopes`` evaluates the network as it is, with a head and so a loss for every layer, and probes
towards the step of its signs; ``gradients`` is Adam along straight-through estimators, with the
same heads, and ``gradients-plain`` without them. Rates and windows were chosen on the last 10,000
training images, with three training sets that are not among the ten.

    python experiments/few_examples.py --data-dir DIR

Writes ``experiments/results/few_examples.json``; what is there already is not run again.
"""

import functools
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optax
import tyro
from frozen import RESULTS, OptionalPath

from rso_jax.baselines import gradient_method
from rso_jax.cli.compiled import keep_compiled_programs
from rso_jax.data import Dataset, load, normalize
from rso_jax.errors import UserError
from rso_jax.files import replace_file
from rso_jax.machine import machine
from rso_jax.method import Method
from rso_jax.networks import Network, create, cross_entropy, loss_of, readouts
from rso_jax.networks.grids import stay_on_grid
from rso_jax.networks.models import GRIDS, gives_logits
from rso_jax.slopes import probes, slopes_method
from rso_jax.tasks import classification
from rso_jax.training import train

RESULT = RESULTS / "few_examples.json"
HIDDEN = (256, 256)
BATCH_SIZE = 100
STEPS = 400
POOL, HELD_OUT = slice(50_000), slice(50_000, None)
"""Of the training images: what training sets are drawn from, and what settings are chosen on."""
SETS = 10
CHOOSING = range(100, 103)
"""Numbers of the training sets that settings are chosen with."""
SIZES = (10, 40)
WEIGHTS = ("binary", "ternary")
RATES: tuple[float, ...] = (0.001, 0.003, 0.01)
WINDOWS: tuple[float, ...] = (0.5, 1.0, 2.0)
METHODS = ("slopes", "gradients", "gradients-plain")


@dataclass(frozen=True)
class Options:
    """Choose settings, then train on every set."""

    data_dir: OptionalPath = None
    """Folder of prepared tensorflow-datasets; see `rso data list`."""
    result: Path = RESULT


def main() -> int:
    """Measure what is missing; an exit status."""
    options = tyro.cli(Options, description=__doc__)
    keep_compiled_programs()
    try:
        data = normalize(load("mnist", options.data_dir), "standardize")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    stored = json.loads(options.result.read_text()) if options.result.exists() else {}
    rows = stored.get("rows", [])
    done = {(row["method"], row["weights"], row["images_per_class"]) for row in rows}
    for size in SIZES:
        for weights in WEIGHTS:
            for method in METHODS:
                if (method, weights, size) not in done:
                    rows.append(measure(method, weights, size, data))
                    write(options.result, rows)
    return 0


def write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """All rows, and what they have in common."""
    settings = {
        "hidden": HIDDEN,
        "activation": "sign",
        "batch_size": BATCH_SIZE,
        "steps": STEPS,
        "sets": SETS,
        "choosing_sets": list(CHOOSING),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = {"settings": settings, "rows": list(rows), **machine()}
    replace_file(path, json.dumps(stored, indent=2) + "\n")


def measure(method: str, weights: str, size: int, data: Dataset) -> dict[str, Any]:
    """Choose, train on each of the sets, and say what came out."""
    windows = (None,) if method == "slopes" else WINDOWS
    held_out = [draw(data, size, number, data, HELD_OUT) for number in CHOOSING]
    grid: list[dict[str, Any]] = []
    for window in windows:
        for rate in RATES:
            found = score_sets(method, weights, rate, window, held_out)
            mean = float(np.mean(found["accuracies"]))
            grid.append({"learning_rate": rate, "window": window, "held_out_accuracy": mean})
    best = max(grid, key=lambda row: float(row["held_out_accuracy"]))
    sets = [draw(data, size, number) for number in range(SETS)]
    found = score_sets(method, weights, best["learning_rate"], best["window"], sets)
    mean = float(np.mean(found["accuracies"]))
    print(f"{size} images a class, {weights}, {method}: {mean:.2%} by {best}", flush=True)
    return {
        "method": method,
        "weights": weights,
        "images_per_class": size,
        "grid": grid,
        "chosen": best,
        "test_accuracy": mean,
        **found,
    }


def draw(
    data: Dataset, size: int, number: int, scored: Dataset | None = None, part: slice | None = None
) -> Dataset:
    """Training set of that number, so many images of each class; scored on test images.

    Or, where settings are chosen, on a part of the training images.
    """
    rng = np.random.default_rng((size, number))
    labels = data.y_train[POOL]
    rows = [rng.choice(np.flatnonzero(labels == label), size, replace=False) for label in range(10)]
    chosen = np.concatenate(rows)
    found = data._replace(x_train=data.x_train[chosen], y_train=data.y_train[chosen])
    if scored is None or part is None:
        return found
    return found._replace(x_test=scored.x_train[part], y_test=scored.y_train[part])


def score_sets(
    name: str, weights: str, rate: float, window: float | None, sets: Sequence[Dataset]
) -> dict[str, Any]:
    """Accuracy and seconds of each training set."""
    network, method = make(name, weights, rate, window)
    accuracies, seconds = [], []
    for number, data in enumerate(sets):
        cycles = STEPS * BATCH_SIZE // len(data.y_train)
        task = classification(network, data, batch_size=BATCH_SIZE)
        begun = time.perf_counter()
        outcome = train(method, task, cycles=cycles, seed=number, score_every=cycles)
        seconds.append(round(time.perf_counter() - begun, 2))
        accuracies.append(outcome.metrics[-1]["test_accuracy"])
    return {"accuracies": accuracies, "seconds": seconds}


@functools.cache
def make(name: str, weights: str, rate: float, window: float | None) -> tuple[Network, Method]:
    """A network and what trains it."""
    plain = name == "gradients-plain"
    read = None if plain else readouts.add_log_probabilities(own=True)
    network = create(
        "mlp",
        (28, 28, 1),
        10,
        HIDDEN,
        "none",
        heads=None if plain else 1,
        readout=read,
        activation="sign",
        window=window,
        weights=weights,
    )
    steps = stay_on_grid(optax.adam(optax.cosine_decay_schedule(rate, STEPS)), GRIDS[weights])
    if name != "slopes":
        return network, gradient_method(loss_of(network, cross_entropy), steps)
    each: Callable[..., Any] = partial(cross_entropy, reduction="none")
    return network, slopes_method(loss_of(network, each), steps, probe)


def probe(path: str) -> probes.Probes:
    """Towards the step of a sign; logits have none."""
    return probes.nodes() if gives_logits(path) else probes.towards()


if __name__ == "__main__":
    sys.exit(main())
