"""Column form of a parameter array: [*inputs, columns], whichever way it is stored.

Every column of it feeds one output. Arrays are searched in this form and kept as they are stored.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array


class Axes(NamedTuple):
    """What the axes of an array are for; each is one of three."""

    inputs: tuple[int, ...]
    """Of the weights that feed one output, in the order of a column."""
    outputs: tuple[int, ...]
    """Of the units that are fed."""
    stacked: tuple[int, ...]
    """Of arrays stacked on one another: layers of a scan, members of an ensemble."""
    fan_in: int | None
    """Weights that feed one output; None for scales and shifts, which no product takes."""


def outputs_last(shape: tuple[int, ...], stacked: Iterable[int] = ()) -> Axes:
    """The axes of an array that no product takes, or of which nothing is known.

    Args:
        shape: of the array.
        stacked: axes of arrays stacked on one another.
    """
    last = len(shape) - 1
    apart = tuple(sorted({*stacked} - {last}))
    inputs = tuple(axis for axis in range(last) if axis not in apart)
    long = sum(shape[axis] > 1 for axis in (*inputs, last)) if shape else 0
    fan_in = math.prod(shape[axis] for axis in inputs) if long > 1 else None
    return Axes(inputs, (last,) if shape else (), apart, fan_in)


def in_columns(array: Array, axes: Axes) -> Array:
    """An array [*inputs, columns], of one that is stored."""
    if _stored_in_columns(axes):
        return array
    turned = jnp.transpose(array, _columns_last(axes))
    return turned.reshape(column_form(array.shape, axes))


def as_stored(columns: Array, axes: Axes, shape: tuple[int, ...]) -> Array:
    """The array of a shape whose column form this is."""
    if _stored_in_columns(axes):
        return columns
    order = _columns_last(axes)
    turned = columns.reshape([shape[axis] for axis in order])
    return jnp.transpose(turned, [order.index(axis) for axis in range(len(order))])


def column_form(shape: tuple[int, ...], axes: Axes) -> tuple[int, ...]:
    """Shape of an array in its column form."""
    if _stored_in_columns(axes):
        return shape
    columns = math.prod(shape[axis] for axis in (*axes.stacked, *axes.outputs))
    return (*(shape[axis] for axis in axes.inputs), columns)


def _columns_last(axes: Axes) -> tuple[int, ...]:
    return (*axes.inputs, *axes.stacked, *axes.outputs)


def _stored_in_columns(axes: Axes) -> bool:
    order = _columns_last(axes)
    return (
        not axes.stacked
        and len(axes.outputs) == min(len(order), 1)
        and order == (*range(len(order)),)
    )
