"""Values: how much of an array a changed column can change.

While one column of a leaf is searched, every array inside the loss is of one of four kinds:
the same whatever the column holds, sliced (it differs at one index of one axis), dense, or a
sum of convolutions that are still to be carried out.
"""

import functools
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from rso_jax.incremental.convolution import Convolution, convolve


class Same(NamedTuple):
    """An array that does not depend on the column."""

    array: Array


class Sliced(NamedTuple):
    """An array that depends on the column at index ``o`` of one axis only."""

    base: Array
    """The whole array; what it holds at index ``o`` means nothing."""
    part: Array
    """The values at index ``o``, of size 1 along the axis."""
    axis: int


class Dense(NamedTuple):
    """An array that may depend on the column anywhere."""

    array: Array


class Sum(NamedTuple):
    """An array that depends on the column by way of convolutions, and linearly in them so far."""

    fixed: tuple[Array | Convolution, ...]
    """Terms that do not depend on the column."""
    changing: tuple[Convolution, ...]
    """Terms that do; at least one."""


Value = Same | Sliced | Dense | Sum


def take(array: Array, o: Array, axis: int) -> Array:
    """Index ``o`` of an axis, which keeps size 1; an axis of size 1 stays as it is."""
    if array.shape[axis] == 1:
        return array
    return lax.dynamic_slice_in_dim(array, o, 1, axis)


def replace(array: Array, o: Array, axis: int, values: Any) -> Array:
    """The array with index ``o`` of an axis overwritten."""
    here = lax.broadcasted_iota(jnp.int32, array.shape, axis) == o
    return jnp.where(here, jnp.asarray(values, array.dtype), array)


def whole(value: Value, o: Array) -> Array:
    """The array itself, whatever its kind."""
    if isinstance(value, Sliced):
        return lax.dynamic_update_slice_in_dim(value.base, value.part, o, value.axis)
    if isinstance(value, Sum):
        # The fixed terms first: they are then added up once per column.
        terms = (convolve(t) if isinstance(t, Convolution) else t for t in sum(value, ()))
        return functools.reduce(lax.add, terms)
    return value.array


def shape_of(value: Value) -> tuple[int, ...]:
    """Shape of the whole array, which is no sum."""
    assert not isinstance(value, Sum)
    return value.base.shape if isinstance(value, Sliced) else value.array.shape
