"""Column form of a parameter array: [*inputs, columns], whichever way it is stored.

Every column of it feeds one output. Arrays are searched in this form and kept as they are stored.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from rso_jax.errors import UserError

Outputs = Mapping[str, int | Sequence[int]]
"""By the path of an array its axes of outputs, negative ones from the end."""


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

    Of several axes longer than 1 the last is of outputs, else the one that is.

    Args:
        shape: of the array.
        stacked: axes of arrays stacked on one another.
    """
    last = len(shape) - 1
    apart = {*stacked} - {last}
    others = [axis for axis in range(len(shape)) if axis not in apart]
    long = [axis for axis in others if shape[axis] > 1]
    output = long[0] if len(long) == 1 else last
    inputs = tuple(axis for axis in others if axis != output)
    fan_in = math.prod(shape[axis] for axis in inputs) if len(long) > 1 else None
    return Axes(inputs, (output,) if shape else (), tuple(sorted(apart)), fan_in)


def axes_as_told(
    found: Mapping[str, Axes], shapes: Mapping[str, tuple[int, ...]], outputs: Outputs
) -> dict[str, Axes]:
    """The axes of arrays by path, as found or as the user says.

    Args:
        found: by path, those of all arrays.
        shapes: likewise.
        outputs: axes of outputs of some. What was found to be stacked stays so, unless it is among
            them; the others are inputs.

    Raises:
        UserError: a path of no array, or axes that it does not have.
    """
    for path in outputs:
        if path not in found:
            raise UserError(
                f"outputs names {path!r}, which is no array; there are: {', '.join(found)}"
            )
    return {
        path: _told(path, axes, shapes[path], outputs[path]) if path in outputs else axes
        for path, axes in found.items()
    }


def _told(path: str, axes: Axes, shape: tuple[int, ...], given: int | Sequence[int]) -> Axes:
    wanted = tuple(given) if isinstance(given, tuple | list) else (given,)
    known = all(type(axis) is int and -len(shape) <= axis < len(shape) for axis in wanted)
    outputs = sorted({axis % len(shape) for axis in wanted}) if known else []
    if not known or len(outputs) != len(wanted):
        raise UserError(
            f"outputs says {given!r} of {path}, of shape {shape}; say which of its axes hold its "
            "outputs, a number or a tuple of different ones"
        )
    stacked = tuple(axis for axis in axes.stacked if axis not in outputs)
    inputs = tuple(axis for axis in _columns_last(axes) if axis not in (*outputs, *stacked))
    fan_in = math.prod(shape[axis] for axis in inputs) if inputs else None
    return Axes(inputs, tuple(outputs), stacked, fan_in)


def in_columns(array: Array, axes: Axes) -> Array:
    """An array [*inputs, columns], of one that is stored."""
    if stored_in_columns(axes):
        return array
    turned = jnp.transpose(array, _columns_last(axes))
    return turned.reshape(column_form(array.shape, axes))


def as_stored(columns: Array, axes: Axes, shape: tuple[int, ...]) -> Array:
    """The array of a shape whose column form this is."""
    if stored_in_columns(axes):
        return columns
    order = _columns_last(axes)
    turned = columns.reshape([shape[axis] for axis in order])
    return jnp.transpose(turned, [order.index(axis) for axis in range(len(order))])


def column_form(shape: tuple[int, ...], axes: Axes) -> tuple[int, ...]:
    """Shape of an array in its column form."""
    if stored_in_columns(axes):
        return shape
    columns = math.prod(shape[axis] for axis in (*axes.stacked, *axes.outputs))
    return (*(shape[axis] for axis in axes.inputs), columns)


def _columns_last(axes: Axes) -> tuple[int, ...]:
    return (*axes.inputs, *axes.stacked, *axes.outputs)


def stored_in_columns(axes: Axes) -> bool:
    """Whether an array is its own column form."""
    order = _columns_last(axes)
    return (
        not axes.stacked
        and len(axes.outputs) == min(len(order), 1)
        and order == (*range(len(order)),)
    )
