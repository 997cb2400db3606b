"""Variants of the search at equal image evaluations, on digits and on MNIST.

What a variant costs is counted in image evaluations, and in rounds: evaluations that wait for one
another (a visit is one round; a block two, its probes and then its joint steps). Accuracy is that
on held-out training images, so that no setting is chosen on test data. MNIST: a network of three
small convolutions, 3,768 weights, trained on 50,000 training images and scored on the other
10,000. Digits: 64-32-10, 1,078 training images and 359 held out.

Sequential search is preset ``authors_code``: MNIST 8 cycles of 4 mini-batches of 1000, digits 12
cycles on all images. The others get as many evaluations, or a share of them.

    python experiments/search_variants.py --dataset digits
    python experiments/search_variants.py --dataset mnist --data-dir DIR --max-minutes 100

Every run ends as a JSON file under ``experiments/results/search_variants/``; runs that are there
are left alone, so that what was interrupted goes on. About 2 minutes for a run of MNIST.
"""

import json
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import tyro
from adaptive_search import Race, adapting, racing, revisiting
from tqdm import tqdm

from rso_jax import presets, rso
from rso_jax.cli.compiled import keep_compiled_programs
from rso_jax.data import Dataset, load, normalize, stack_minibatches
from rso_jax.errors import UserError, check_name
from rso_jax.files import replace_file
from rso_jax.machine import machine
from rso_jax.networks import Network, create, cross_entropy, linen_network, loss_of
from rso_jax.networks.layers import Convolution, he_normal
from rso_jax.schedules import in_parts
from rso_jax.search import Search, joint, minibatches, proposals
from rso_jax.search.joint import Block
from rso_jax.search.leaves import LossFn
from rso_jax.tasks import calibrate, score

RESULTS = Path(__file__).parent / "results" / "search_variants"
POINTS = 25
"""Accuracy is taken about so often in a run."""


class SmallConvolutions(nn.Module):
    """Three convolutions on images of half the size: 3,768 weights for 28x28x1 images."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = True) -> jax.Array:
        """Logits [examples, 10]."""
        x = nn.avg_pool(x, (2, 2), (2, 2))
        x = Convolution(8, pool=True, name="conv1")(x, train=train)
        x = Convolution(16, name="conv2")(nn.relu(x), train=train)
        x = Convolution(16, name="conv3")(nn.relu(x), train=train)
        return nn.Dense(10, use_bias=False, kernel_init=he_normal, name="dense")(x.max((1, 2)))


class Setting(NamedTuple):
    """A data set, its network, and what sequential search gets on it."""

    data: Dataset
    """The held-out images stand where test images would."""
    network: Network
    batch_size: int
    minibatches: int
    cycles: int


def setting(dataset: str, data_dir: Path | None) -> Setting:
    """Load, normalise, and hold out training images."""
    data = normalize(load(dataset, data_dir), "center")
    kept = {"mnist": 50_000, "digits": 1078}[dataset]
    data = data._replace(
        x_train=data.x_train[:kept],
        y_train=data.y_train[:kept],
        x_test=data.x_train[kept:],
        y_test=data.y_train[kept:],
    )
    if dataset == "mnist":
        network = linen_network(
            SmallConvolutions(), searching={"train": True}, evaluating={"train": False}
        )
        return Setting(data, network, 1000, 4, 8)
    network = create("mlp", data.x_train.shape[1:], data.classes, (32,))
    return Setting(data, network, kept, 1, 12)


class Variant(NamedTuple):
    """A search, and how its image evaluations are spent."""

    search: Callable[[LossFn, int], Search]
    """``(loss_fn, cycles)``."""
    batch: float | tuple[float, ...] = 1.0
    """Share of sequential's batch size; several, for a batch that grows."""
    share: float = 1.0
    """Of sequential's image evaluations."""
    stacked: int | None = None
    """Mini-batches of a cycle; as many images as sequential gets, if not given."""
    waits: int = 1
    """Rounds of evaluations for a decision: a block's probes, then its joint steps."""
    usual: float = 1.0
    """Image evaluations of a cycle, in those that its search says it costs in advance."""


def sequential(**others: Any) -> Callable[[LossFn, int], Search]:
    """``authors_code`` with other pieces."""
    return lambda loss_fn, cycles: rso(loss_fn, **(presets.authors_code(cycles) | others))


def blocks(size: int | str, step: joint.JointStep) -> Variant:
    """``authors_code`` with a block."""
    return Variant(sequential(block=Block(size, step)), waits=2)


def changing(*sizes: int, usual: float) -> Variant:
    """Blocks of one size after the other, each for as many cycles."""

    def search(loss_fn: LossFn, cycles: int) -> Search:
        blocks = [Block(size, joint.parabola()) for size in sizes]
        return sequential(block=in_parts(blocks, cycles))(loss_fn, cycles)

    return Variant(search, waits=2, usual=usual)


def leaves(
    step: Callable[..., joint.JointStep] = joint.orthogonal,
    batch: float | tuple[float, ...] = 0.064,
    share: float = 1.0,
    **others: Any,
) -> Variant:
    """``spectral``, by another joint step or on other mini-batches."""

    def search(loss_fn: LossFn, cycles: int) -> Search:
        pieces = presets.spectral(cycles, momentum=0.5)
        return rso(loss_fn, **(pieces | {"block": Block("leaf", step((1.0,), 0.5))} | others))

    return Variant(search, batch, share, stacked=20, waits=2)


ONE = minibatches.per_leaf
ONE_SIDE = proposals.one_way(proposals.normal_distance)
GROWING = (1 / 8, 1 / 8, 1 / 4, 1 / 4, 1 / 2, 1 / 2, 1.0, 1.0)
VARIANTS = {
    "sequential": Variant(sequential()),
    "sequential, batch / 4": Variant(sequential(), 1 / 4),
    "sequential, batch / 4, quarter": Variant(sequential(), 1 / 4, 1 / 4),
    "sequential, growing batch": Variant(sequential(), GROWING),
    "sequential, a batch for a leaf": Variant(sequential(weight_decay=0.0, minibatches=ONE)),
    "sequential, two pairs": Variant(
        sequential(proposal=proposals.antithetic(proposals.normal_distance, pairs=2)), 4 / 5
    ),
    "sequential, fixed distance": Variant(sequential(proposal=proposals.fixed)),
    "sequential, a batch for a column": Variant(
        sequential(weight_decay=0.0, minibatches=minibatches.per_column)
    ),
    "sequential, one side": Variant(sequential(proposal=ONE_SIDE)),
    "sequential, racing": Variant(
        partial(racing, race=Race(least=2, most=16, clear=2.0)), usual=0.75, waits=1
    ),
    "sequential, gainers again": Variant(partial(revisiting, share=0.25), usual=1.25),
    "sequential, adapted sigma": Variant(partial(adapting, widen=1.5, narrow=0.8)),
    "blocks of 16, accepted": blocks(16, joint.accepted()),
    "blocks of 16, differences": blocks(16, joint.differences()),
    "blocks of 16, parabola": blocks(16, joint.parabola()),
    "blocks of 144, parabola": blocks(144, joint.parabola()),
    "blocks that grow": changing(4, 16, 64, 144, usual=0.75),
    "blocks that shrink": changing(144, 64, 16, 4, usual=1.19),
    "a draw for a column": Variant(sequential(block=Block("column", joint.together, probe=False))),
    "a draw for a leaf": Variant(
        sequential(block=Block("leaf", joint.together, probe=False)), share=1 / 16
    ),
    "leaves, differences": leaves(joint.differences),
    "leaves, orthogonal": leaves(),
    "leaves, orthogonal, batch x 4": leaves(batch=0.256),
    "leaves, orthogonal, growing batch": leaves(batch=(0.032, 0.064, 0.128, 0.256)),
    "leaves, orthogonal, normal probes": leaves(
        proposal=proposals.one_way(proposals.normal_distance, scale=0.1)
    ),
    "leaves, orthogonal, quarter": leaves(share=1 / 4),
    "leaves, differences, quarter": leaves(joint.differences, share=1 / 4),
}


SAME_ON_ONE_BATCH = (
    "sequential, a batch for a leaf",
    "sequential, a batch for a column",
    "a fresh mini-batch for every visit",
    "batch x 2",
    "batch x 4",
)
"""On digits, where one mini-batch is all of the data."""


def cycles_and_batches(variant: Variant, at: Setting) -> tuple[int, list[int], float]:
    """Cycles of a run, the batch size of each, and the image evaluations that it may spend."""
    shares = variant.batch if isinstance(variant.batch, tuple) else (variant.batch,)
    allowed = variant.share * at.cycles * candidates(VARIANTS["sequential"], at)
    cycles = max(1, int(allowed / (float(np.mean(shares)) * candidates(variant, at))))
    share_of = in_parts(shares, cycles)
    sizes = [max(2, int(at.batch_size * share_of(cycle))) for cycle in range(cycles)]
    return cycles, sizes, allowed * at.batch_size


def candidates(variant: Variant, at: Setting) -> float:
    """Scored in one cycle, about."""
    search = variant.search(loss_of(at.network, cross_entropy), 1)
    params = jax.eval_shape(at.network.init, jax.random.key(0), jnp.asarray(at.data.x_train[:1]))
    stack = variant.stacked or at.minibatches, 2  # what is searched costs the same for every image
    image = jax.ShapeDtypeStruct((*stack, *at.data.x_train.shape[1:]), jnp.float32)
    batches = {"image": image, "label": jax.ShapeDtypeStruct(stack, jnp.int32)}
    known = sum(cost.image_evaluations for cost in search.cost(params, batches)) / 2
    return known * variant.usual


def run(variant: Variant, at: Setting, seed: int, deadline: float) -> dict[str, Any] | None:
    """Train once; None if the deadline came first."""
    key = jax.random.key(seed)
    loss_fn = loss_of(at.network, partial(cross_entropy, reduction="sum", precision="float64"))
    cycles, sizes, allowed = cycles_and_batches(variant, at)
    points: list[dict[str, Any]] = []
    with jax.enable_x64(True):
        params = at.network.init(jax.random.fold_in(key, 0), jnp.asarray(at.data.x_train[:1]))
        search = variant.search(loss_fn, cycles)
        state = search.init(jax.random.fold_in(key, 1), params)
        evaluations = rounds = 0
        began = time.perf_counter()
        for cycle, size in enumerate(tqdm(sizes, leave=False)):
            if time.monotonic() > deadline:
                return None
            rng = np.random.default_rng([seed, cycle])
            images = min((variant.stacked or 0) * size or at.batch_size * at.minibatches,
                         len(at.data.y_train))  # fmt: skip
            chosen = rng.permutation(len(at.data.y_train))[:images]
            batches = stack_minibatches(rng, at.data.x_train[chosen], at.data.y_train[chosen], size)
            cycle_key = jax.random.fold_in(jax.random.fold_in(key, 2), cycle)
            state, info = search.step(cycle_key, state, jax.device_put(batches))
            evaluations += info.image_evaluations
            rounds += info.decisions * variant.waits
            spent = evaluations >= allowed
            if cycle == cycles - 1 or spent or (cycle + 1) % max(1, cycles // POINTS) == 0:
                seconds = time.perf_counter() - began
                statistics = calibrate(at.network, state.params, at.data.x_train[:10_000])
                found = score(at.network, state.params, statistics, at.data.x_test, at.data.y_test)
                points.append({
                    "cycle": cycle + 1,
                    "image_evaluations": evaluations,
                    "rounds": rounds,
                    "held_out_accuracy": found.accuracy,
                    "seconds": round(seconds, 1),
                })  # fmt: skip
            if spent:
                break
    return {
        "seed": seed,
        "cycles": cycles,
        "batch_sizes": sizes if len(set(sizes)) > 1 else sizes[0],
        **machine(),
        "points": points,
    }


@dataclass(frozen=True)
class Options:
    """Train every variant with every seed, as far as results are missing."""

    dataset: Literal["digits", "mnist"] = "digits"
    data_dir: Path | None = None
    """Folder of prepared tensorflow-datasets, for mnist."""
    variants: tuple[str, ...] = ()
    """All by default."""
    seeds: tuple[int, ...] = (0, 1, 2)
    max_minutes: float = float("inf")
    """Stop then; a run that is not complete starts again next time."""


def with_several_batches(variants: Mapping[str, Variant], dataset: str) -> dict[str, Variant]:
    """Without those that choose among mini-batches, where there is but one: on digits."""
    same = SAME_ON_ONE_BATCH if dataset == "digits" else ()
    return {name: variant for name, variant in variants.items() if name not in same}


def run_missing(variants: Mapping[str, Variant], results: Path, options: Options) -> None:
    """Run what is missing, and say how each ended."""
    keep_compiled_programs()
    deadline = time.monotonic() + 60 * options.max_minutes
    try:
        for name in options.variants:
            check_name("--variants", name, variants)
        at = setting(options.dataset, options.data_dir)
    except UserError as error:
        sys.exit(f"error: {error}")
    folder = results / options.dataset
    folder.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        for name in options.variants or variants:
            words = re.sub(r"[^a-z0-9]+", "-", name)
            file = folder / f"{words}-seed{seed}.json"
            if file.exists():
                continue
            result = run(variants[name], at, seed, deadline)
            if result is None:
                return
            replace_file(file, json.dumps({"variant": name} | result, indent=1) + "\n")
            end = result["points"][-1]
            print(
                f"{name}, seed {seed}: {end['held_out_accuracy']:.2%} held out, "
                f"{end['image_evaluations'] / 1e6:.1f} million image evaluations, "
                f"{end['rounds']:,} rounds, {end['seconds']:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    options = tyro.cli(Options)
    run_missing(with_several_batches(VARIANTS, options.dataset), RESULTS, options)
