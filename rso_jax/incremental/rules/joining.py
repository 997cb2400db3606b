"""Rules of what puts arrays side by side: the box is that of one of them, or holds those of all."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from rso_jax.incremental.alignment import align, hull
from rso_jax.incremental.indices import Index
from rso_jax.incremental.rules.rule import result_shape, rule_for
from rso_jax.incremental.values import (
    Dense,
    Range,
    Same,
    Sliced,
    Value,
    set_range,
    shape_of,
    whole,
)
from rso_jax.incremental.views import merge, reshape_value, whole_along


@rule_for("concatenate", dense=True)
def concatenate(eqn: Any, operands: Sequence[Value]) -> Value | None:
    """Alone among operands that are the same, a box moves; of several it holds all."""
    return _join(operands, eqn.params["dimension"], result_shape(eqn))


@rule_for("stack", dense=True)
def stack(eqn: Any, operands: Sequence[Value]) -> Value | None:
    """A concatenation along an axis that every operand gets."""
    axis, shape = eqn.params["axis"], result_shape(eqn)
    ready: list[Value] = []
    for value in operands:
        of_one = (*shape[:axis], 1, *shape[axis + 1 :])
        if isinstance(value, Sliced):
            found = reshape_value(value, of_one)
            ready.append(found if found is not None else Dense(whole(value).reshape(of_one)))
        else:
            kind = Same if isinstance(value, Same) else Dense
            ready.append(kind(whole(value).reshape(of_one)))
    return _join(ready, axis, shape)


def _join(operands: Sequence[Value], axis: int, shape: Sequence[int]) -> Value | None:
    """The operands one after the other along an axis."""
    sizes = [shape_of(v)[axis] for v in operands]
    begins = [sum(sizes[:i]) for i in range(len(sizes))]
    changed = [i for i, v in enumerate(operands) if not isinstance(v, Same)]
    if len(changed) == 1 and isinstance(operands[changed[0]], Sliced):
        return _join_one(operands, changed[0], begins, axis)
    if any(not isinstance(v, Same | Sliced) for v in operands):
        return _join_dense(operands, changed, begins, axis, shape)
    ready: list[Value] = []
    for value in operands:
        if isinstance(value, Sliced):
            found = whole_along(value, [axis])
            if found is None:
                return _join_dense(operands, changed, begins, axis, shape)
            value = found
        ready.append(value)
    together = align(ready, shape, apart=axis)
    if together is None:
        return _join_dense(operands, changed, begins, axis, shape)
    at = sum(together.groups[:axis])
    first, last = changed[0], changed[-1]
    base = lax.concatenate(together.bases, at)
    part = lax.concatenate(together.parts[first : last + 1], at)
    box = hull({Range(Index((), begins[i]), sizes[i]) for i in changed}, shape[axis])
    return Sliced(base, part, set_range(together.ranges, at, box), together.groups)


def _join_one(operands: Sequence[Value], i: int, begins: Sequence[int], axis: int) -> Value | None:
    """The same where one operand is sliced and the others do not depend on the column."""
    value = merge(operands[i], axis)  # type: ignore[arg-type]
    if not isinstance(value, Sliced):
        return None
    (at,) = value.axes()[axis]
    view = list(value.base.shape)

    def of_view(other: Value) -> Any:
        shape = list(view)
        shape[at] = shape_of(other)[axis]
        return whole(other).reshape(shape)

    arrays = [value.base if k == i else of_view(v) for k, v in enumerate(operands)]
    base, r = lax.concatenate(arrays, at), value.ranges[at]
    box: Range | None = Range(Index((), begins[i]), view[at])
    if r is not None:
        box = Range(r.start.plus(begins[i]), r.size)
    elif view[at] == base.shape[at]:
        box = None
    return Sliced(base, value.part, set_range(value.ranges, at, box), value.groups)


def _join_dense(
    operands: Sequence[Value],
    changed: Sequence[int],
    begins: Sequence[int],
    axis: int,
    shape: Sequence[int],
) -> Value | None:
    """The same with a box from the first index that may depend on the column to the last."""
    box = hull({_extent(operands[i], axis, begins[i]) for i in changed}, shape[axis])
    if box is None:
        return None
    first, last = box.start.constant, box.start.constant + box.size
    known, inside = [], []
    for value, begin in zip(operands, begins, strict=True):
        array = whole(value)
        low, high = max(first - begin, 0), min(last - begin, array.shape[axis])
        if low < high:
            inside.append(lax.slice_in_dim(array, low, high, axis=axis))
        # What the base holds inside the box means nothing: zeros are no work for a candidate.
        if isinstance(value, Sliced):
            array = value.base.reshape(value.shape)
        known.append(array if isinstance(value, Same | Sliced) else jnp.zeros_like(array))
    ranges = set_range((None,) * len(shape), axis, box)
    base, part = lax.concatenate(known, axis), lax.concatenate(inside, axis)
    return Sliced(base, part, ranges, (1,) * len(shape))


def _extent(value: Value, axis: int, begin: int) -> Range:
    """The indices of an axis that may depend on the column, moved by ``begin``."""
    low, high = 0, shape_of(value)[axis]
    found = merge(value, axis) if isinstance(value, Sliced) else None
    r = found.ranges[found.axes()[axis][0]] if found is not None else None
    if r is not None:
        low, high = r.start.smallest, min(r.start.largest + r.size, high)
    return Range(Index((), begin + low), high - low)
