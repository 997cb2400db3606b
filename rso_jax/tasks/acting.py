"""Policies: episodes as examples, the return to be made large."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rso_jax.arguments import check_callable
from rso_jax.environments import Play
from rso_jax.errors import UserError, whole_number
from rso_jax.tasks.task import Task

PyTree = Any

TRAINING_SEEDS = 2**31
"""Seeds below are those of training."""
HELD_OUT = range(TRAINING_SEEDS, TRAINING_SEEDS + 100)
"""Seeds of the episodes that are scored."""


def policies(
    play: Play,
    init: Callable[[Array], PyTree],
    *,
    batch_size: int,
    batches_per_cycle: int,
    scored: Sequence[int] = HELD_OUT,
) -> Task:
    """The task of acting so that the return of an episode is large.

    ::

        play = play_in(cartpole, policy)
        task = policies(play, init_policy(4, 2, hidden=(16,)), batch_size=8, batches_per_cycle=4)
        method = rso(mean_loss(play))

    An example is an episode: a mini-batch is ``{"seed": [n]}``, and all that is random in an
    episode follows from its seed. Whatever is compared on a mini-batch, an incumbent and its
    candidates or a population, has therefore met the same episodes. The score is ``mean_return``
    and ``mean_steps`` over the same held-out episodes every time.

    Args:
        play: plays episodes; ``rso_jax.environments.play_in(environment, policy)``.
        init: ``(key)``, the initial parameters of the policy.
        batch_size: episodes in a mini-batch.
        batches_per_cycle: mini-batches of a cycle, each of new episodes.
        scored: seeds of the episodes that are scored, whole numbers in [0, 2**32); training draws
            its own below 2**31.

    Raises:
        UserError: an argument of another kind or size.
    """
    check_callable("play", play)
    check_callable("init", init)
    batch_size = whole_number("batch_size", batch_size, 1)
    batches_per_cycle = whole_number("batches_per_cycle", batches_per_cycle, 1)
    seeds = _seeds(scored)
    play_scored = jax.jit(play)

    def batches(rng: np.random.Generator, cycle: int) -> PyTree:
        del cycle
        shape = (batches_per_cycle, batch_size)
        return {"seed": rng.integers(TRAINING_SEEDS, size=shape, dtype=np.uint32)}

    def score(params: PyTree, kept: PyTree) -> dict[str, float]:
        del kept
        found = play_scored(params, seeds)
        means = (np.asarray(a, np.float64).mean() for a in found)
        return dict(zip(NUMBERS, map(float, means), strict=True))

    return Task(
        init=init,
        batches=batches,
        batch_size=lambda cycle: batch_size,
        score=score,
        numbers=NUMBERS,
        shown=NUMBERS[:1],
        unit="episodes",
    )


NUMBERS = ("mean_return", "mean_steps")
"""What is scored."""


def episode_losses(play: Play) -> Callable[[PyTree, PyTree], Array]:
    """``(params, batch)``: the negative return of every episode, [n], as slopes take them."""
    check_callable("play", play)
    return lambda params, batch: -play(params, batch["seed"]).returns


def mean_loss(play: Play) -> Callable[[PyTree, PyTree], Array]:
    """``(params, batch)``: the negative mean return, as searches and baselines take it."""
    losses = episode_losses(play)
    return lambda params, batch: jnp.mean(losses(params, batch))


def _seeds(scored: Any) -> Any:
    """As an array."""
    seeds = np.asarray(scored)
    if seeds.ndim != 1 or not seeds.size or not np.issubdtype(seeds.dtype, np.integer):
        raise UserError(f"scored is {scored!r}; pass the seeds of some episodes, as range(100) is")
    if seeds.min() < 0 or seeds.max() >= 2**32:
        raise UserError("scored has seeds that are none; they must be at least 0 and below 2**32")
    return seeds.astype(np.uint32)
