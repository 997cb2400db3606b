"""Credit: which changes of the losses a moved pre-activation is answerable for."""

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jax import Array

from rso_jax.slopes.column import Column, finite, spread

Credit = Literal["all", "own", "following"]
"""Which of an example's losses, one for each token, a move of its pre-activation at one token is
credited with:

- ``all`` of them: right for any model, on average where positions are moved together;
- the ``own`` loss, of the same token: right where what follows brings no tokens together; else
  what the move does to other tokens is missing, and there is little noise;
- its own and all ``following`` ones: right, on average, for causal models, with less noise.
"""


def slopes_of_z(column: Column, step: Array, credit: Credit) -> Array:
    """Slopes of the mean loss by z [examples, positions], from one evaluation with all moved.

    Args:
        column: whose z is moved.
        step: by which, [examples, positions].
        credit: with which losses.
    """
    change = finite(column.move_z(column.z + step) - column.losses)
    if not _by_token(column, credit):
        return _per_step(change.sum(1, keepdims=True), step) / change.size
    own, tokens = _of_tokens(change, credit), column.tokens
    if not np.array_equal(tokens, np.arange(change.shape[1])):
        own = jnp.where(tokens >= 0, own[:, tokens], change.sum(1, keepdims=True))
    return _per_step(own, step) / change.size


def slopes_at(column: Column, position: Array, step: Array, credit: Credit) -> Array:
    """Slopes [examples] of the mean loss by z at one position, from one evaluation.

    Args:
        column: whose z is moved.
        position: at which it is.
        step: by which, [examples].
        credit: with which losses.
    """
    change = finite(column.move_at(position, column.z[:, position] + step) - column.losses)
    if not _by_token(column, credit):
        return _per_step(change.sum(1), step) / change.size
    token = jnp.asarray(column.tokens)[position]
    own = jnp.where(token >= 0, _of_tokens(change, credit)[:, token], change.sum(1))
    return _per_step(own, step) / change.size


def with_common(column: Column, slopes: Array, size: Array) -> Array:
    """Slopes of the mean loss by z, made right along a shift and a stretch of all examples.

    Args:
        column: whose z is moved.
        slopes: [examples, positions], of each example's own losses.
        size: of the moves.
    """
    apart = column.z - jnp.mean(column.z)
    ways = jnp.stack([jnp.ones_like(apart), apart / spread(apart)])

    def probe(way: Array) -> Array:
        change = jnp.mean(column.move_z(column.z + size * way) - column.losses)
        return finite(change) / size

    # The two are orthogonal, and their squares are 1 in the mean.
    missing = (column.map(probe, ways) - jnp.sum(ways * slopes, axis=(1, 2))) / slopes.size
    return slopes + jnp.tensordot(missing, ways, 1)


def _by_token(column: Column, credit: Credit) -> bool:
    """Whether some positions are credited with other than all losses of their example."""
    return credit != "all" and bool((column.tokens >= 0).any())


def _of_tokens(change: Array, credit: Credit) -> Array:
    """What a position of each token is credited with, [examples, tokens]."""
    return change if credit == "own" else jnp.cumsum(change[:, ::-1], 1)[:, ::-1]


def _per_step(change: Array, step: Array) -> Array:
    """A change for a move of 1; 0 where nothing is moved."""
    return jnp.where(step == 0, 0, change / jnp.where(step == 0, 1, step))
