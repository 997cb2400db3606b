"""Examples: along which axis of an array they lie, and along which of a loss."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rso_jax.arrays import struct_of

PyTree = Any


def with_twice_the_examples(batch: PyTree) -> PyTree:
    """Shapes and types of a mini-batch of twice the size."""

    def twice(array: Any) -> jax.ShapeDtypeStruct:
        known = struct_of(array)
        shape = (2 * known.shape[0], *known.shape[1:])
        return jax.ShapeDtypeStruct(shape, known.dtype, weak_type=known.weak_type)

    return jax.tree.map(twice, batch)


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
    found: list[int | None] = []
    for a, b in zip(one, twice, strict=True):
        grown = [i for i, (m, n) in enumerate(zip(a.shape, b.shape, strict=True)) if m != n]
        alone = len(grown) == 1 and a.shape[grown[0]] == examples
        found.append(grown[0] if alone else None)
    return found


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


LossesFn = Callable[[PyTree, PyTree], Array]
"""``losses_fn(params, batch)``: a scalar, a loss per example [n], or per position [n, T]."""
