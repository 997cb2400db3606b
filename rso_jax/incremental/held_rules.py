"""What each primitive makes of operands with their examples along the last axis."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rso_jax.incremental.held import Held, order, place, turned
from rso_jax.incremental.jaxprs import evaluate
from rso_jax.incremental.rules.elementwise import ELEMENTWISE

Rule = Callable[[Any, list[Held], int | None], Any]
"""``(eqn, operands, axis)``: the result of an equation, with examples last where they lie along an
axis of it; None where it has to be computed as it was."""


def _apply(eqn: Any, arrays: Sequence[Array], **params: Any) -> Array:
    (result,) = evaluate(eqn.replace(params=eqn.params | params) if params else eqn, arrays)
    return result


def _elementwise(eqn: Any, operands: list[Held], axis: int | None) -> Any:
    ndim, arrays = eqn.outvars[0].aval.ndim, []
    for atom, one in zip(eqn.invars, operands, strict=True):
        shape = atom.aval.shape
        if not shape:
            arrays.append(one.plain())
        elif axis is None or len(shape) != ndim:
            return None
        elif one.axis == axis:
            arrays.append(one.last())
        elif one.axis is None and shape[axis] == 1:  # stretched by the operation itself
            arrays.append(jnp.moveaxis(one.plain(), axis, -1))
        else:
            return None
    return _apply(eqn, arrays)


def _broadcast_in_dim(eqn: Any, operands: list[Held], axis: int | None) -> Any:
    (value,), p = operands, eqn.params
    dimensions, shape = p["broadcast_dimensions"], p["shape"]
    if axis is None or (value.axis is not None and dimensions[value.axis] != axis):
        return None
    ndim = eqn.invars[0].aval.ndim
    own = [dimensions[a] for a in order(ndim, value.axis)]
    stretched = value.axis is None and axis in own
    if stretched:  # an axis of size 1 becomes that of examples: it has to be held last too
        own = [d for d in own if d != axis] + [axis]
        array = jnp.moveaxis(value.plain(), dimensions.index(axis), -1)
    else:
        array = value.last()
    return jax.lax.broadcast_in_dim(array, turned(shape, axis), place(own, len(shape), axis))


def _reshape(eqn: Any, operands: list[Held], axis: int | None) -> Any:
    value, before, after = operands[0], eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape
    permuted = eqn.primitive.name == "reshape" and eqn.params["dimensions"] is not None
    if axis is None or value.axis is None or permuted:
        return None
    # An axis into which examples and others are merged, or that is split into them, is another one.
    alone = before[value.axis] == after[axis]
    if not alone or math.prod(before[: value.axis]) != math.prod(after[:axis]):
        return None
    return value.last().reshape(turned(after, axis))


def _transpose(eqn: Any, operands: list[Held], axis: int | None) -> Any:
    (value,), axes = operands, eqn.params["permutation"]
    permutation = place(turned(axes, axis), len(axes), value.axis)
    return jnp.transpose(value.last(), permutation)


def _along_axes(name: str) -> Rule:
    """A rule of what runs along the axes that a parameter names."""

    def rule(eqn: Any, operands: list[Held], axis: int | None) -> Any:
        (value,), ndim = operands, eqn.invars[0].aval.ndim
        named = eqn.params[name]
        if isinstance(named, int):
            return _apply(eqn, [value.last()], **{name: place([named], ndim, value.axis)[0]})
        return _apply(eqn, [value.last()], **{name: place(named, ndim, value.axis)})

    return rule


def _slice(eqn: Any, operands: list[Held], axis: int | None) -> Any:
    (value,), p = operands, eqn.params
    if value.axis != axis:
        return None
    return _apply(
        eqn,
        [value.last()],
        start_indices=turned(p["start_indices"], axis),
        limit_indices=turned(p["limit_indices"], axis),
        strides=None if p["strides"] is None else turned(p["strides"], axis),
    )


def _pad(eqn: Any, operands: list[Held], axis: int | None) -> Any:
    value, filling = operands
    if value.axis != axis:
        return None
    config = turned(eqn.params["padding_config"], axis)
    return _apply(eqn, [value.last(), filling.plain()], padding_config=config)


def _dynamic_slice(eqn: Any, operands: list[Held], axis: int | None) -> Any:
    value, *starts = operands
    if value.axis != axis:
        return None
    begins = [one.plain() for one in turned(starts, axis)]
    sizes = turned(eqn.params["slice_sizes"], axis)
    return _apply(eqn, [value.last(), *begins], slice_sizes=sizes)


def _dynamic_update_slice(eqn: Any, operands: list[Held], axis: int | None) -> Any:
    value, update, *starts = operands
    if value.axis != axis or update.axis != axis:
        return None
    begins = [one.plain() for one in turned(starts, axis)]
    return _apply(eqn, [value.last(), update.last(), *begins])


def _concatenate(eqn: Any, operands: list[Held], axis: int | None) -> Any:
    if axis is None or any(one.axis != axis for one in operands):
        return None
    ndim = eqn.outvars[0].aval.ndim
    (dimension,) = place([eqn.params["dimension"]], ndim, axis)
    return _apply(eqn, [one.last() for one in operands], dimension=dimension)


def _dot_general(eqn: Any, operands: list[Held], axis: int | None) -> Any:
    """Weights by examples, in this order.

    Examples that are known before a candidate is are taken as they were, by the product that the
    loss has too: it is the result that candidates read, and that is small.
    """
    (contract, batch) = eqn.params["dimension_numbers"]
    sides = [i for i, one in enumerate(operands) if one.axis is not None]
    if axis is None or len(sides) != 1 or any(batch) or operands[sides[0]].ahead:
        return None
    (i,), ndims = sides, [v.aval.ndim for v in eqn.invars]
    value, other = operands[i], operands[1 - i]
    if value.axis in contract[i]:
        return None
    mine = place(contract[i], ndims[i], value.axis)
    numbers = ((tuple(contract[1 - i]), mine), ((), ()))
    array = _apply(eqn, [other.plain(), value.last()], dimension_numbers=numbers)
    free, others = ndims[i] - len(mine) - 1, ndims[1 - i] - len(mine)
    if i == 0:  # what is free of the examples' side comes first
        array = jnp.moveaxis(array, range(others), range(free, free + others))
    return array


HELD_RULES: dict[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    "broadcast_in_dim": _broadcast_in_dim,
    **dict.fromkeys(("reshape", "squeeze", "expand_dims"), _reshape),
    "transpose": _transpose,
    **dict.fromkeys(
        (
            *("reduce_sum", "reduce_prod", "reduce_max", "reduce_min", "reduce_and", "reduce_or"),
            *("argmax", "argmin", "psum", "pmax", "pmin"),
        ),
        _along_axes("axes"),
    ),
    **dict.fromkeys(("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"), _along_axes("axis")),
    "slice": _slice,
    "pad": _pad,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    "concatenate": _concatenate,
    "dot_general": _dot_general,
}
"""By name of the primitive."""
