"""What local losses can come to on CIFAR-10 (JPEG), by exact gradients, on held-out images.

The paper's residual network with heads, by ``muon`` with a momentum of 0.9, its rate falling to 0
as a cosine over 3000 mini-batches of 512 of the first 45,000 training images, shifted and flipped
at random; scored on the other 5,000 by every readout. To save time exact gradients stand in for
slopes, of each leaf that of its own loss; in ``one sum`` they are of the sum of all losses, so that
a layer learns what the layers behind it need, too: what slopes would have to look ahead for. Test
images are not looked at.

    python experiments/local_ceilings.py --data-dir DIR

Writes ``experiments/results/cifar10/local_ceilings.json``, after every variant, and leaves alone
what is there. For an accelerator: a CPU takes hours.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import tyro
from frozen import RESULTS, Names, OptionalPath
from jax import Array
from local_rates import local_gradients, ways_to_read
from mnist import HEADS, STEP

from rso_jax.cli.compiled import keep_compiled_programs
from rso_jax.data import Dataset, load, normalize
from rso_jax.data.augmentation import compose, flip, shift
from rso_jax.errors import UserError, check_name
from rso_jax.files import replace_file
from rso_jax.machine import machine
from rso_jax.networks import Network, create, cross_entropy, loss_of
from rso_jax.slopes.steps import STEPS

PyTree = Any

RESULT = RESULTS / "cifar10" / "local_ceilings.json"
TRAINED_ON, CALIBRATED_ON = 45_000, 4_000
"""Training images; the others are held out. Statistics of batch norm are those of the first."""
BATCH_SIZE = 512
AT_ONCE = 100
"""Steps of one call to the device."""
CONVOLUTIONS = 9
SEED = 0


class Variant(NamedTuple):
    """What is trained, and how."""

    bins: int = HEADS["heads"]
    width: int | None = None
    """Of the heads' hidden layer."""
    pixels: int = 4
    """That images are shifted by, at most."""
    rate: float = STEP["learning_rate"]
    local: bool = True
    """Whether a leaf's gradient is of its own loss alone."""


VARIANTS = {
    "linear heads": Variant(),
    "hidden layers of 64": Variant(width=64),
    "8 bins a side": Variant(bins=8),
    "shifted by 2 pixels": Variant(pixels=2),
    "hidden layers of 64, shifted by 2 pixels": Variant(width=64, pixels=2),
    "twice the rate": Variant(rate=2 * STEP["learning_rate"]),
    "one sum": Variant(local=False),
}


@dataclass(frozen=True)
class Options:
    """Train what is missing, score by every readout, and write the file."""

    data_dir: OptionalPath = None
    """Folder of prepared tensorflow-datasets; see `rso data list`."""
    only: Names = ()
    """Names of the variants; all by default."""
    steps: int = 3000
    result: Path = RESULT


def main() -> int:
    """Measure what is missing; an exit status."""
    options = tyro.cli(Options, description=__doc__)
    try:
        for name in options.only:
            check_name("--only", name, VARIANTS)
        data = normalize(load("cifar10", options.data_dir), "standardize")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    stored = json.loads(options.result.read_text()) if options.result.exists() else {}
    rows = stored.get("held_out_accuracy", {})
    settings = {"steps": options.steps, "batch_size": BATCH_SIZE, "seed": SEED} | {
        "trained_on": TRAINED_ON,
        "calibrated_on": CALIBRATED_ON,
    }
    if stored and stored["settings"] != settings:
        print(
            f"error: {options.result} has other settings, {stored['settings']}; remove it, or "
            "write another by --result",
            file=sys.stderr,
        )
        return 2
    for name in options.only or VARIANTS:
        if name not in rows:
            rows[name] = run_variant(VARIANTS[name], data, options.steps)
            print(f"{name}: {rows[name]}", flush=True)
            found = stored | {"settings": settings, "held_out_accuracy": rows, **machine()}
            options.result.parent.mkdir(parents=True, exist_ok=True)
            replace_file(options.result, json.dumps(found, indent=2) + "\n")
    return 0


def run_variant(variant: Variant, data: Dataset, steps: int) -> dict[str, float]:
    """Held-out accuracy by readout, in percent."""
    make = partial(
        create,
        "paper-cifar10",
        data.x_train.shape[1:],
        data.classes,
        heads=variant.bins,
        head_width=variant.width,
    )
    images, labels = jnp.asarray(data.x_train), jnp.asarray(data.y_train, jnp.int32)
    params = train(variant, make(), images[:TRAINED_ON], labels[:TRAINED_ON], steps)
    held_out = images[TRAINED_ON:], labels[TRAINED_ON:]
    found = jax.jit(partial(score_all, make))(params, images[:CALIBRATED_ON], *held_out)
    return {name: round(100 * float(share), 2) for name, share in found.items()}


def train(variant: Variant, network: Network, images: Array, labels: Array, steps: int) -> PyTree:
    """Parameters after so many steps."""
    losses = loss_of(network, cross_entropy)
    params = network.init(jax.random.key(SEED), images[:1])
    schedule = optax.cosine_decay_schedule(variant.rate, steps)
    optimizer = STEPS[STEP["step"]](schedule, STEP["momentum"], 0.0)
    augment = compose(shift(variant.pixels), flip())
    example = {"image": images[:BATCH_SIZE], "label": labels[:BATCH_SIZE]}
    if variant.local:
        gradients = local_gradients(losses, params, example)
    else:
        gradients = jax.grad(lambda params, batch: sum(losses(params, batch).values()))

    @partial(jax.jit, static_argnames="count")
    def take_steps(state: PyTree, key: Array, images: Array, labels: Array, count: int) -> PyTree:
        take = partial(_take_step, gradients, optimizer, augment, images, labels)
        return jax.lax.scan(take, state, jax.random.split(key, count))[0]

    state = params, optimizer.init(params)
    for done in range(0, steps, AT_ONCE):
        key = jax.random.fold_in(jax.random.key(SEED), done)
        state = take_steps(state, key, images, labels, min(AT_ONCE, steps - done))
    return state[0]


def _take_step(
    gradients: Callable[[PyTree, PyTree], PyTree],
    optimizer: optax.GradientTransformation,
    augment: Callable[[Array, Array], Array],
    images: Array,
    labels: Array,
    state: tuple[PyTree, PyTree],
    key: Array,
) -> tuple[tuple[PyTree, PyTree], None]:
    """A step on a mini-batch drawn by a key; as ``jax.lax.scan`` wants it."""
    params, kept = state
    of_rows, of_augment = jax.random.split(key)
    rows = jax.random.randint(of_rows, (BATCH_SIZE,), 0, len(images))
    batch = {"image": augment(of_augment, images[rows]), "label": labels[rows]}
    updates, kept = optimizer.update(gradients(params, batch), kept, params)
    return (optax.apply_updates(params, updates), kept), None


def score_all(
    make: Callable[..., Network], params: PyTree, calibrated_on: Array, images: Array, labels: Array
) -> dict[str, Array]:
    """The share of images that each readout has right, by its name; ``make(readout=...)``."""
    statistics = make().calibrate(params, calibrated_on)
    ways = ways_to_read(CONVOLUTIONS, first_heads=range(1, CONVOLUTIONS + 1))
    logits = {
        name: make(readout=way).evaluate(params, statistics, images) for name, way in ways.items()
    }
    return {name: jnp.mean(one.argmax(-1) == labels) for name, one in logits.items()}


if __name__ == "__main__":
    keep_compiled_programs()
    sys.exit(main())
