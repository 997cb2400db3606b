"""Hardware in the loop: an analogue layer that differs from its model and drifts while it is used.

Digits, 64-16-10 without biases: the first product is digital, what follows is the device of
``analogue_device.py``, through ``black_box``. Every seed is another device, the same for all ways.
Candidates are scored on the device itself; the competitor trains a model of the ideal device by
Adam along gradients, and sets the device to what it found.

Ways of three tables:

- training: ``model`` (Adam on the model, then deployed), ``rso`` and ``slopes`` from scratch, and
  ``model-rso`` and ``model-slopes`` on the device from where Adam came to;
- noise, without drift: ``rso`` with ``own`` noise at each reading, or with noise by a ``key``, the
  same for the candidates of a visit;
- incumbent, one mini-batch for a sweep: its loss ``carried`` from visit to visit, or ``scored``
  again at each, at as many image evaluations.

Rates of slopes are chosen on held-out training images, on a device of another seed.

    python experiments/drifting_device.py              # what is missing
    python experiments/drifting_device.py --only rso slopes
    python experiments/drifting_device.py --tune       # the rates of slopes, into held_out.json

Writes ``experiments/results/drifting_device/WAY-seedN.json``, a few seconds each on one core.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from analogue_device import Device, Faults
from frozen import RESULTS, Names
from jax import Array

from rso_jax import Method, rso, step
from rso_jax.baselines import cosine_adam, gradient_method
from rso_jax.black_boxes import black_box
from rso_jax.cli.compiled import keep_compiled_programs
from rso_jax.data import Dataset, draw_minibatches, load
from rso_jax.files import replace_file
from rso_jax.machine import machine
from rso_jax.search import minibatches
from rso_jax.slopes import probes, slopes_method

PyTree = Any

FOLDER = RESULTS / "drifting_device"
SEEDS = (0, 1, 2)
GRID = FOLDER / "held_out.json"
RATES = {False: (0.01, 0.03, 0.1), True: (0.01, 0.03)}
"""Of slopes, by whether they begin at the model."""
TUNED_ON = 100
"""Seed of the device on which settings are chosen."""
UNITS, BATCH = 16, 128
BUDGET = 2_000_000
"""Image evaluations of a way that trains on the device."""
FAULTS = {
    "training": Faults(),
    "noise": Faults(noise=1.0, drift=0.0),
    "incumbent": Faults(noise=0.2),
}
"""By table."""
ADAM = {"learning_rate": 0.01, "epochs": 60}
SLOPES = {"learning_rate": 0.03, "eps": 0.3}
"""Of ``slopes``; chosen by ``--tune``."""
FURTHER = {"learning_rate": 0.03, "eps": 0.3}
"""Of ``model-slopes``, likewise."""
FACTOR = 0.3
"""On the steps of ``model-rso``, which need not go as far."""


@dataclass(frozen=True)
class Options:
    """Train on the device in every way that is missing."""

    only: Names = ()
    """Ways; all by default."""
    tune: bool = False
    """Score the rates of slopes on held-out training images instead."""


class Way(NamedTuple):
    """A way to train, and the device that it trains on."""

    table: str
    method: Method | None
    """None where only the model is trained."""
    cycles: int
    from_model: bool = False


class Bench:
    """Where a device is plugged in, for methods that are compiled once for all of them."""

    device: Device

    def read(self, drives: Any, conductances: Any) -> Any:
        """A reading with the device's own noise."""
        return self.device.read(drives, conductances)

    def read_anew(self, key: Any, drives: Any, conductances: Any) -> Any:
        """The same; a key tells it from other readings, and does nothing else."""
        del key
        return self.device.read(drives, conductances)

    def read_by(self, key: Any, drives: Any, conductances: Any) -> Any:
        """One with noise by a key."""
        return self.device.read(drives, conductances, np.random.default_rng(key))


BENCH = Bench()
READ = black_box(BENCH.read, result=lambda drives, g: (len(drives), g.shape[1]))
READ_ANEW, READ_BY = (
    black_box(read, result=lambda key, drives, g: (len(drives), g.shape[1]))
    for read in (BENCH.read_anew, BENCH.read_by)
)


def losses(params: PyTree, batch: PyTree) -> Array:
    """Cross-entropy of each image, of scores that the device reads."""
    scores = READ(batch["x"] @ params["in"], params["out"])
    return optax.softmax_cross_entropy_with_integer_labels(scores, batch["y"])


def mean_loss(params: PyTree, batch: PyTree) -> Array:
    """Their mean."""
    return losses(params, batch).mean()


def scored_loss(params: PyTree, batch: PyTree, key: Array) -> Array:
    """The same as one of a key: nothing is carried on from one visit to the next."""
    scores = READ_ANEW(key, batch["x"] @ params["in"], params["out"])
    return optax.softmax_cross_entropy_with_integer_labels(scores, batch["y"]).mean()


def keyed_loss(params: PyTree, batch: PyTree, key: Array) -> Array:
    """Likewise with noise by the key."""
    scores = READ_BY(key, batch["x"] @ params["in"], params["out"])
    return optax.softmax_cross_entropy_with_integer_labels(scores, batch["y"]).mean()


def model_loss(params: PyTree, batch: PyTree) -> Array:
    """The loss of the ideal device."""
    scores = jnp.tanh(batch["x"] @ params["in"]) @ params["out"]
    return optax.softmax_cross_entropy_with_integer_labels(scores, batch["y"]).mean()


def search(loss: Callable[..., Array], cycles: int, factor: float = 1.0, **settings: Any) -> Method:
    """A sequential search whose steps begin at a factor and shrink to a tenth of it."""
    return rso(loss, schedule=optax.linear_schedule(factor, factor / 10, cycles - 1), **settings)


def slopes(learning_rate: float, eps: float, cycles: int) -> Method:
    """Adam along slopes: of drives by nodes, of conductances by weights."""
    steps = cycles * per_cycle(load("digits").x_train)
    ways = probes.cheapest(probes.nodes(eps), probes.weights(eps))
    return slopes_method(
        losses, optax.adam(optax.cosine_decay_schedule(learning_rate, steps)), ways
    )


def per_cycle(images: Any) -> int:
    """Mini-batches of a cycle."""
    return len(images) // BATCH


def make_ways() -> dict[str, Callable[[], Way]]:
    """Each way by name, made when it is asked for."""
    weights = 64 * UNITS + UNITS * 10
    scored, carried = 3 * weights, 2 * weights + 2
    of_slopes = (1 + UNITS + UNITS * 10) * per_cycle(load("digits").x_train)
    own, of_carried, of_steps = (round(BUDGET / BATCH / n) for n in (scored, carried, of_slopes))
    one = {"minibatches": minibatches.per_leaf}
    return {
        "model": lambda: Way("training", None, 0, True),
        "rso": lambda: Way("training", search(scored_loss, own, keyed=True), own),
        "slopes": lambda: Way("training", slopes(**SLOPES, cycles=of_steps), of_steps),
        "model-slopes": lambda: Way("training", slopes(**FURTHER, cycles=of_steps), of_steps, True),
        "model-rso": lambda: Way(
            "training", search(scored_loss, own, FACTOR, keyed=True), own, True
        ),
        "noise-own": lambda: Way("noise", search(scored_loss, own, keyed=True), own),
        "noise-by-key": lambda: Way("noise", search(keyed_loss, own, keyed=True), own),
        "incumbent-carried": lambda: Way(
            "incumbent", search(mean_loss, of_carried, **one), of_carried
        ),
        "incumbent-scored": lambda: Way(
            "incumbent", search(scored_loss, own, keyed=True, **one), own
        ),
    }


def main(options: Options) -> int:
    """Run what is missing."""
    FOLDER.mkdir(exist_ok=True)
    if options.tune:
        return tune()
    for name, make in make_ways().items():
        missing = [s for s in SEEDS if not path_of(name, s).exists()]
        if not missing or (options.only and name not in options.only):
            continue
        way = make()
        for seed in missing:
            found = {"way": name, "seed": seed} | run_way(way, load("digits"), seed)
            replace_file(path_of(name, seed), json.dumps(found | machine(), indent=2) + "\n")
            print(name, seed, found["test_accuracy"])
    return 0


def path_of(name: str, seed: int) -> Any:
    """Where the result of a way lies."""
    return FOLDER / f"{name}-seed{seed}.json"


def run_way(way: Way, data: Dataset, seed: int) -> dict[str, Any]:
    """Train on the device of a seed, and score the test images on it."""
    faults = FAULTS[way.table]
    BENCH.device = Device(seed, UNITS, 10, faults)
    found: dict[str, Any] = {}
    params = initial(seed)
    if way.from_model:
        params = train_model(params, data, seed)
        found["model_accuracy"] = accuracy(ideal, params, data.x_test, data.y_test)
        found["accuracy_when_deployed"] = measure(params, data)
    began = time.monotonic()
    if way.method is None:
        BENCH.device.wait(BUDGET)
        trained: dict[str, Any] = {"image_evaluations": 0}
    else:
        params, trained = train_on_device(way.method, params, data, seed, way.cycles)
    found |= trained | {"seconds": round(time.monotonic() - began, 1)}
    settings = {"batch_size": BATCH, "units": UNITS, "cycles": way.cycles, "adam": ADAM}
    chosen = {"slopes": SLOPES, "model-slopes": FURTHER}
    return {
        "settings": settings | {"faults": faults._asdict()} | chosen,
        "test_accuracy": measure(params, data),
        **found,
    }


def train_on_device(
    method: Method, params: PyTree, data: Dataset, seed: int, cycles: int
) -> tuple[PyTree, dict[str, Any]]:
    """The parameters after some cycles, and what they cost."""
    key, evaluated, last = jax.random.key(seed), 0, None
    state = method.init(key, params)
    for cycle in range(cycles):
        batches = stack(np.random.default_rng((seed, cycle)), data.x_train, data.y_train)
        state, info = step(method, jax.random.fold_in(key, cycle), state, batches)
        evaluated, last = evaluated + int(info.image_evaluations), info
    assert last is not None
    params = method.params(state)
    told: dict[str, Any] = {"image_evaluations": evaluated, "loss_believed": float(last.loss)}
    if last.candidates:
        told["accepted_share"] = float(last.accepted) / last.visits
    scores = on_device(params, np.tile(data.x_train, (4, 1, 1, 1)))
    of_images = optax.softmax_cross_entropy_with_integer_labels(scores, np.tile(data.y_train, 4))
    return params, told | {"loss_measured": float(of_images.mean())}


def train_model(params: PyTree, data: Dataset, seed: int) -> PyTree:
    """What Adam comes to on the model."""
    epochs, rate = int(ADAM["epochs"]), ADAM["learning_rate"]
    steps = epochs * per_cycle(data.x_train)
    method = gradient_method(model_loss, cosine_adam(learning_rate=rate, steps=steps))
    state = method.init(jax.random.key(seed), params)
    for epoch in range(epochs):
        batches = stack(np.random.default_rng((seed, epoch)), data.x_train, data.y_train)
        state, _ = step(method, jax.random.key(epoch), state, batches)
    return method.params(state)


def initial(seed: int) -> PyTree:
    """The weights before training."""
    first, second = jax.random.split(jax.random.key(seed))
    return {
        "in": jax.random.normal(first, (64, UNITS)) / 8,
        "out": jax.random.normal(second, (UNITS, 10)) / 4,
    }


def stack(rng: np.random.Generator, x: Any, y: Any) -> dict[str, Any]:
    """The mini-batches of a cycle."""
    rows = draw_minibatches(rng, len(x), BATCH)
    return {"x": flat(x)[rows], "y": y[rows]}


def flat(x: Any) -> Any:
    """Images [n, 64] around 0."""
    return (2 * x.reshape(len(x), -1) - 1).astype(np.float32)


def on_device(params: PyTree, x: Any) -> Any:
    """Scores read on the device."""
    return BENCH.device.read(flat(x) @ np.asarray(params["in"]), np.asarray(params["out"]))


def ideal(params: PyTree, x: Any) -> Any:
    """Scores of the model."""
    return np.tanh(flat(x) @ np.asarray(params["in"])) @ np.asarray(params["out"])


def accuracy(scores: Callable[[PyTree, Any], Any], params: PyTree, x: Any, y: Any) -> float:
    """Share of images whose class has the largest score."""
    return float((scores(params, x).argmax(1) == y).mean())


def measure(params: PyTree, data: Dataset) -> float:
    """Test accuracy on the device, as it is now."""
    return accuracy(on_device, params, data.x_test, data.y_test)


def tune() -> int:
    """Accuracy on a sixth of the training images, held out, for some rates of slopes."""
    data = load("digits")
    held = len(data.x_train) // 6
    split = data._replace(
        x_train=data.x_train[held:],
        y_train=data.y_train[held:],
        x_test=data.x_train[:held],
        y_test=data.y_train[:held],
    )
    cycles = round(BUDGET / BATCH / ((1 + UNITS + UNITS * 10) * per_cycle(split.x_train)))
    rows = json.loads(GRID.read_text())["rows"] if GRID.exists() else []
    known = [(row["from_model"], row["learning_rate"]) for row in rows]
    for from_model, rate in [(start, r) for start, rates in RATES.items() for r in rates]:
        if (from_model, rate) in known:
            continue
        way = Way("training", slopes(rate, SLOPES["eps"], cycles), cycles, from_model)
        found = run_way(way, split, TUNED_ON)
        row = {"from_model": from_model, "learning_rate": rate, "eps": SLOPES["eps"]}
        rows.append(row | {"held_out_accuracy": found["test_accuracy"]})
        stored = {"seed": TUNED_ON, "held_out": held, "rows": rows, **machine()}
        replace_file(GRID, json.dumps(stored, indent=2) + "\n")
        print(rows[-1])
    return 0


if __name__ == "__main__":
    keep_compiled_programs()
    sys.exit(main(tyro.cli(Options, description=Options.__doc__)))
