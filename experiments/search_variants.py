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
import os
import platform
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from tqdm import tqdm

from rso_jax import presets, rso
from rso_jax.cli.compiled import keep_compiled_programs
from rso_jax.data import Dataset, load, normalize, stack_minibatches
from rso_jax.networks import Network, create, cross_entropy, linen_network, loss_of
from rso_jax.networks.layers import Convolution, he_normal
from rso_jax.search import acceptance, joint, minibatches, proposals
from rso_jax.search.joint import Block
from rso_jax.search.sigma import he
from rso_jax.training import calibrate, score

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

    pieces: Callable[[int], dict[str, Any]]
    """Keyword arguments of ``rso`` by cycles."""
    batch: float | tuple[float, ...] = 1.0
    """Share of sequential's batch size; several, for a batch that grows."""
    share: float = 1.0
    """Of sequential's image evaluations."""
    stacked: int | None = None
    """Mini-batches of a cycle; as many images as sequential gets, if not given."""


def sequential(**others: Any) -> Callable[[int], dict[str, Any]]:
    """``authors_code`` with other pieces."""
    return lambda cycles: presets.authors_code(cycles) | others


def blocks(size: int | str, step: joint.JointStep, **others: Any) -> Callable[[int], dict]:
    """``authors_code`` with a block."""
    return sequential(block=Block(size, step), **others)


def measured(step: Callable[..., joint.JointStep], scale: float, momentum: float = 0.0) -> Callable:
    """Slopes of whole leaves from one small probe of each weight; the joint step always taken."""
    probe = 0.1
    return lambda cycles: {
        "sigma": he,
        "schedule": optax.linear_schedule(1.0, 0.02, cycles),
        "proposal": proposals.one_way(proposals.fixed_distance, scale=probe),
        "minibatches": minibatches.per_leaf,
        "block": Block("leaf", step((scale / probe,), momentum)),
        "acceptance": acceptance.last,
    }


ONE = minibatches.per_leaf
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
    "blocks of 16, accepted": Variant(blocks(16, joint.accepted())),
    "blocks of 16, differences": Variant(blocks(16, joint.differences())),
    "blocks of 16, parabola": Variant(blocks(16, joint.parabola())),
    "blocks of 144, parabola": Variant(blocks(144, joint.parabola())),
    "a draw for a column": Variant(sequential(block=Block("column", joint.together, probe=False))),
    "leaves, differences": Variant(measured(joint.differences, 0.1, 0.5), 0.064, 1, 20),
    "leaves, orthogonal": Variant(measured(joint.orthogonal, 0.1, 0.5), 0.064, 1, 20),
    "leaves, orthogonal, quarter": Variant(measured(joint.orthogonal, 0.1, 0.5), 0.064, 1 / 4, 20),
}


def cycles_and_batches(variant: Variant, at: Setting) -> tuple[int, list[int]]:
    """Cycles of a run and the batch size of each, for its share of sequential's evaluations."""
    shares = variant.batch if isinstance(variant.batch, tuple) else (variant.batch,)
    budget = variant.share * at.cycles * candidates(VARIANTS["sequential"], at)
    cycles = max(1, int(budget / (float(np.mean(shares)) * candidates(variant, at))))
    sizes = [shares[i * len(shares) // cycles] for i in range(cycles)]
    return cycles, [max(2, int(at.batch_size * size)) for size in sizes]


def candidates(variant: Variant, at: Setting) -> int:
    """Scored in one cycle."""
    search = rso(loss_of(at.network, cross_entropy), **variant.pieces(1))
    params = jax.eval_shape(at.network.init, jax.random.key(0), jnp.asarray(at.data.x_train[:1]))
    image = jax.ShapeDtypeStruct((1, 2, *at.data.x_train.shape[1:]), jnp.float32)
    batches = {"image": image, "label": jax.ShapeDtypeStruct((1, 2), jnp.int32)}
    return sum(cost.image_evaluations for cost in search.cost(params, batches)) // 2


def run(variant: Variant, at: Setting, seed: int, deadline: float) -> dict[str, Any] | None:
    """Train once; None if the deadline came first."""
    key = jax.random.key(seed)
    loss_fn = loss_of(at.network, partial(cross_entropy, reduction="sum", precision="float64"))
    cycles, sizes = cycles_and_batches(variant, at)
    points: list[dict[str, Any]] = []
    with jax.enable_x64(True):
        params = at.network.init(jax.random.fold_in(key, 0), jnp.asarray(at.data.x_train[:1]))
        pieces = variant.pieces(cycles)
        # A block that probes waits twice: for its probes, and for its joint steps.
        waits = 2 if "block" in pieces and pieces["block"].probe else 1
        search = rso(loss_fn, **pieces)
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
            rounds += info.decisions * waits
            if cycle == cycles - 1 or (cycle + 1) % max(1, cycles // POINTS) == 0:
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
    return {
        "seed": seed,
        "cycles": cycles,
        "batch_sizes": sizes if len(set(sizes)) > 1 else sizes[0],
        "software": {"python": platform.python_version(), "jax": jax.__version__},
        "hardware": {
            "device": jax.devices()[0].device_kind,
            "cpu_cores": len(os.sched_getaffinity(0)),
        },
        "points": points,
    }


@dataclass(frozen=True)
class Options:
    """Train every variant with every seed, as far as results are missing."""

    dataset: Literal["digits", "mnist"] = "digits"
    data_dir: Path | None = None
    """Folder of prepared tensorflow-datasets, for mnist."""
    variants: tuple[str, ...] = tuple(VARIANTS)
    seeds: tuple[int, ...] = (0, 1, 2)
    max_minutes: float = float("inf")
    """Stop then; a run that is not complete starts again next time."""


def main(options: Options) -> None:
    """Run what is missing, and say how each ended."""
    keep_compiled_programs()
    deadline = time.monotonic() + 60 * options.max_minutes
    at = setting(options.dataset, options.data_dir)
    folder = RESULTS / options.dataset
    folder.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        for name in options.variants:
            words = re.sub(r"[^a-z0-9]+", "-", name)
            file = folder / f"{words}-seed{seed}.json"
            if file.exists():
                continue
            result = run(VARIANTS[name], at, seed, deadline)
            if result is None:
                return
            file.write_text(json.dumps({"variant": name} | result, indent=1) + "\n")
            end = result["points"][-1]
            print(
                f"{name}, seed {seed}: {end['held_out_accuracy']:.2%} held out, "
                f"{end['image_evaluations'] / 1e6:.1f} million image evaluations, "
                f"{end['rounds']:,} rounds, {end['seconds']:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main(tyro.cli(Options))
