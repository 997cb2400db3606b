"""Studies: many variants of the search at equal image evaluations, on small networks.

What a variant costs is counted in image evaluations, and in rounds: evaluations that wait for one
another (a visit is one round; a block two, its probes and then its joint steps). Accuracy is that
on held-out training images, so that no setting is chosen on test data. MNIST: a network of three
small convolutions, 3,768 weights, trained on 50,000 training images and scored on the other
10,000. Digits: 64-32-10, 1,078 training images and 359 held out.
"""

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
from frozen import RESULTS

from rso_jax import presets, rso
from rso_jax.cli.compiled import keep_compiled_programs
from rso_jax.data import Dataset, load, normalize, stack_minibatches
from rso_jax.errors import UserError, check_name
from rso_jax.files import replacing
from rso_jax.leaves import LossFn
from rso_jax.machine import machine
from rso_jax.networks import Network, create, cross_entropy, linen_network, loss_of
from rso_jax.networks.layers import Convolution, he_normal
from rso_jax.schedules import in_parts
from rso_jax.search import Search
from rso_jax.tasks import Task
from rso_jax.tasks.scoring import calibrate, score
from rso_jax.training import SilentReporter, StopRequest, train
from rso_jax.training.run_folder import create_run, write_metrics

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


def make_setting(dataset: str, data_dir: Path | None) -> Setting:
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
    """``(loss_fn, cycles)``, of a loss that sums over the mini-batch."""
    batch: float | tuple[float, ...] = 1.0
    """Share of sequential's batch size; several, for a batch that grows."""
    share: float = 1.0
    """Of sequential's image evaluations."""
    batches_per_cycle: int | None = None
    """Mini-batches of a cycle; as many images as sequential gets, if not given."""
    waits: int = 1
    """Rounds of evaluations for a decision: a block's probes, then its joint steps."""
    usual: float = 1.0
    """Image evaluations of a cycle, in those that its search says it costs in advance."""


def sequential(**others: Any) -> Callable[[LossFn, int], Search]:
    """``authors_code`` with other pieces."""
    return lambda loss_fn, cycles: rso(
        loss_fn, reduction="sum", **(presets.authors_code(cycles) | others)
    )


class Plan(NamedTuple):
    """How a run of a variant spends its image evaluations."""

    cycles: int
    batch_sizes: tuple[int, ...]
    """One after the other, each for as many cycles."""
    image_evaluations: int
    """That it may spend."""

    def batch_size(self, cycle: int) -> int:
        """Of a cycle, counted from 0."""
        return in_parts(self.batch_sizes, self.cycles)(cycle)


def make_plan(variant: Variant, at: Setting) -> Plan:
    """Work out how many cycles its evaluations last."""
    shares = variant.batch if isinstance(variant.batch, tuple) else (variant.batch,)
    allowed = variant.share * at.cycles * count_candidates(Variant(sequential()), at)
    of_cycle = float(np.mean(shares)) * count_candidates(variant, at)
    sizes = tuple(max(2, int(at.batch_size * share)) for share in shares)
    return Plan(max(1, int(allowed / of_cycle)), sizes, int(allowed * at.batch_size))


def count_candidates(variant: Variant, at: Setting) -> float:
    """Scored in one cycle, about."""
    search = variant.search(loss_of(at.network, cross_entropy), 1)
    params = jax.eval_shape(at.network.init, jax.random.key(0), jnp.asarray(at.data.x_train[:1]))
    stack = (
        variant.batches_per_cycle or at.minibatches,
        2,
    )  # what is searched costs the same for every image
    image = jax.ShapeDtypeStruct((*stack, *at.data.x_train.shape[1:]), jnp.float32)
    batches = {"image": image, "label": jax.ShapeDtypeStruct(stack, jnp.int32)}
    known = sum(cost.image_evaluations for cost in search.cost(params, batches)) / 2
    return known * variant.usual


def make_task(at: Setting, plan: Plan, batches_per_cycle: int | None) -> Task:
    """Classification of part of the training images, scored on those held out.

    Args:
        at: the data and the network.
        plan: says the batch size of each cycle.
        batches_per_cycle: mini-batches of a cycle; as many images as sequential search gets, if
            not given.
    """
    data, network = at.data, at.network

    def batches(rng: np.random.Generator, cycle: int) -> Any:
        size = plan.batch_size(cycle)
        images = batches_per_cycle * size if batches_per_cycle else at.batch_size * at.minibatches
        chosen = rng.permutation(len(data.y_train))[:images]
        return stack_minibatches(rng, data.x_train[chosen], data.y_train[chosen], size)

    def held_out(params: Any, statistics: Any) -> dict[str, float]:
        found = score(network, params, statistics, data.x_test, data.y_test)
        return {"held_out_accuracy": found.accuracy}

    return Task(
        init=lambda key: network.init(key, jnp.asarray(data.x_train[:1])),
        batches=batches,
        batch_size=plan.batch_size,
        score=held_out,
        keep=lambda params: calibrate(network, params, data.x_train),
    )


class Budget(StopRequest, SilentReporter):
    """A stop when the time is over, or after a cycle by which all evaluations are spent.

    Some searches find out only as they go what they cost. As a reporter it is told of every cycle.
    """

    def __init__(self, image_evaluations: int, minutes: float) -> None:
        super().__init__(minutes)
        self._left, self.spent = image_evaluations, False

    def cycle(self, metrics: dict[str, Any]) -> None:
        """See what the run has cost so far."""
        self.spent = metrics["image_evaluations"] >= self._left

    def reason(self) -> str | None:
        """A short reason to stop, or None to go on."""
        return "all image evaluations are spent" if self.spent else super().reason()


def run_variant(
    variant: Variant, at: Setting, plan: Plan, seed: int, minutes: float
) -> list[dict[str, Any]] | None:
    """The metrics of one run; None if the time was over first."""
    loss = partial(cross_entropy, reduction="sum", precision="float64")
    budget = Budget(plan.image_evaluations, minutes)
    with jax.enable_x64(True):
        outcome = train(
            variant.search(loss_of(at.network, loss), plan.cycles),
            make_task(at, plan, variant.batches_per_cycle),
            cycles=plan.cycles,
            seed=seed,
            score_every=max(1, plan.cycles // POINTS),
            stop=budget,
            reporter=budget,
        )
    return None if outcome.stopped and not budget.spent else outcome.metrics


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


def run_study(
    name: str, variants: Mapping[str, Variant], same_on_one_batch: tuple[str, ...]
) -> None:
    """Run what is missing, as the command line says, and say how each run ended.

    Args:
        name: of the study: its folder under ``experiments/results``.
        variants: by name.
        same_on_one_batch: those that choose among mini-batches; they are left out on digits, where
            one mini-batch is all of the data.
    """
    options = tyro.cli(Options, description=sys.modules["__main__"].__doc__)
    if options.dataset == "digits":
        variants = {n: v for n, v in variants.items() if n not in same_on_one_batch}
    keep_compiled_programs()
    try:
        for variant in options.variants:
            check_name("--variants", variant, variants)
        _run_missing(RESULTS / name / options.dataset, variants, options)
    except UserError as error:
        sys.exit(f"error: {error}")


def _run_missing(results: Path, variants: Mapping[str, Variant], options: Options) -> None:
    deadline = time.monotonic() + 60 * options.max_minutes
    at = make_setting(options.dataset, options.data_dir)
    results.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        for name in options.variants or variants:
            folder = results / f"{re.sub(r'[^a-z0-9]+', '-', name)}-seed{seed}"
            if folder.exists():
                continue
            plan = make_plan(variants[name], at)
            left = (deadline - time.monotonic()) / 60
            lines = run_variant(variants[name], at, plan, seed, left)
            if lines is None:
                return
            sizes = plan.batch_sizes
            settings = {
                "variant": name,
                "dataset": options.dataset,
                "seed": seed,
                "cycles": plan.cycles,
                "batch_size": sizes if len(sizes) > 1 else sizes[0],
                "waits": variants[name].waits,
            }
            with replacing(folder) as partial_folder:
                create_run(partial_folder, {"settings": settings, **machine()}, overwrite=False)
                write_metrics(partial_folder, lines)
            _say(f"{name}, seed {seed}", lines[-1])


def _say(which: str, last: Mapping[str, Any]) -> None:
    print(
        f"{which}: {last['held_out_accuracy']:.2%} held out, "
        f"{last['image_evaluations'] / 1e6:.1f} million image evaluations, "
        f"{last['decisions']:,} decisions, {last['seconds']:.0f} s",
        flush=True,
    )
