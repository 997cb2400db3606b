"""Examples and tokens: along which axes of an array they lie, and their losses."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from rso_jax.incremental.examples_last import axis_of_examples

PyTree = Any


def example_axes(one: Sequence[Any], twice: Sequence[Any], examples: int) -> list[int | None]:
    """The axis of each array along which examples lie.

    Args:
        one: shapes of arrays for a mini-batch.
        twice: of the same arrays for one of twice the size.
        examples: in the mini-batch.

    Returns:
        For each array its axis of the size of the mini-batch that doubles with it; None where no
        axis does, or one in which examples and others are merged.
    """
    axes = [axis_of_examples(a.shape, b.shape) for a, b in zip(one, twice, strict=True)]
    pairs = zip(one, axes, strict=True)
    return [i if i is not None and a.shape[i] == examples else None for a, i in pairs]


def by_examples(arrays: Sequence[Array], axes: Sequence[int]) -> Array:
    """Values [examples, positions] of some arrays, those of the first before the others'."""
    turned = [jnp.moveaxis(a, axis, 0) for a, axis in zip(arrays, axes, strict=True)]
    return jnp.concatenate([a.reshape(a.shape[0], -1) for a in turned], axis=1)


def from_examples(values: Array, like: Sequence[Array], axes: Sequence[int]) -> tuple[Array, ...]:
    """The arrays whose values [examples, positions] these are; see ``by_examples``."""
    arrays, begin = [], 0
    for array, axis in zip(like, axes, strict=True):
        rest = [n for i, n in enumerate(array.shape) if i != axis]
        size = array.size // values.shape[0]
        part = values[:, begin : begin + size].reshape(values.shape[0], *rest)
        arrays.append(jnp.moveaxis(part, 0, axis).astype(array.dtype))
        begin += size
    return tuple(arrays)


def by_tokens(losses: Array) -> Array:
    """Losses [examples, tokens]; an example with one loss has one token, a scalar is [1, 1].

    Of at least 32 bits: what a move changes is the difference of two, which counts and narrow types
    have no room for.
    """
    wide = losses.astype(jnp.promote_types(losses.dtype, jnp.float32))
    return wide.reshape(losses.shape[0] if losses.ndim else 1, -1)


def find_tokens(arrays: Sequence[Any], axes: Sequence[int], tokens: int) -> np.ndarray:
    """The token at which each position lies, in the order of ``by_examples``.

    Args:
        arrays: or their shapes.
        axes: of examples in each.
        tokens: losses of an example.

    Returns:
        Numbers [positions] from 0 on; -1 in an array that has no axis of the size of the tokens, or
        more than one, so that it is not known where they lie.
    """
    return np.concatenate(
        [_tokens_in(a.shape, i, tokens) for a, i in zip(arrays, axes, strict=True)]
    )


def _tokens_in(shape: tuple[int, ...], examples: int, tokens: int) -> np.ndarray:
    rest = [n for i, n in enumerate(shape) if i != examples]
    if tokens == 1 or rest.count(tokens) != 1:
        return np.full(math.prod(rest), -1)
    places = np.arange(tokens).reshape([n if n == tokens else 1 for n in rest])
    return np.broadcast_to(places, rest).reshape(-1)


LossesFn = Callable[[PyTree, PyTree], Any]
"""``losses_fn(params, batch)``: a scalar, a loss per example [n], or per position [n, T]; or
several of these, in a tuple, a list or a mapping."""
