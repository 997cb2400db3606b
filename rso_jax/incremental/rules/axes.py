"""Rules of what moves, stretches, cuts and joins axes: nothing is computed, the box follows."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from rso_jax.incremental.indices import Index, from_the_end
from rso_jax.incremental.rules.rule import apply, result_shape, rule_for
from rso_jax.incremental.values import (
    Dense,
    Range,
    Same,
    Sliced,
    Value,
    inner_shape,
    set_range,
    sliced,
    take,
    whole,
)
from rso_jax.incremental.views import merge, reshape_value, whole_along, widen


@rule_for("broadcast_in_dim")
def broadcast_in_dim(eqn: Any, operands: Sequence[Value]) -> Value | None:
    """A stretched axis is whole, a new one too."""
    value = operands[0]
    if not isinstance(value, Sliced):
        return None
    shape, dimensions = eqn.params["shape"], list(eqn.params["broadcast_dimensions"])
    view: list[int] = []
    ranges: list[Range | None] = []
    groups: list[int] = []
    to_view: list[int] = []
    for axis, size in enumerate(shape):
        own = value.axes()[dimensions.index(axis)] if axis in dimensions else []
        begin = len(view)
        if own and value.shape[dimensions.index(axis)] == size:
            view += [value.base.shape[a] for a in own]
            ranges += [value.ranges[a] for a in own]
        else:
            view.append(size)
            ranges.append(None)
        groups.append(len(view) - begin)
        to_view += range(begin, begin + len(own))
    box = tuple(ranges)
    base = lax.broadcast_in_dim(value.base, view, to_view)
    part = lax.broadcast_in_dim(value.part, inner_shape(view, box), to_view)
    return Sliced(base, part, box, tuple(groups))


@rule_for("transpose")
def transpose(eqn: Any, operands: Sequence[Value]) -> Value | None:
    """The axes move."""
    (value,) = operands
    assert isinstance(value, Sliced)
    axes, order = value.axes(), eqn.params["permutation"]
    of_view = tuple(a for axis in order for a in axes[axis])
    base, part = (apply(eqn, x, permutation=of_view) for x in (value.base, value.part))
    ranges = tuple(value.ranges[a] for a in of_view)
    return Sliced(base, part, ranges, tuple(value.groups[axis] for axis in order))


@rule_for("reshape", "squeeze", "expand_dims")
def reshape(eqn: Any, operands: Sequence[Value]) -> Value | None:
    """The box is seen in another shape."""
    value = operands[0]
    if not isinstance(value, Sliced) or (
        eqn.primitive.name == "reshape" and eqn.params["dimensions"] is not None
    ):
        return None
    return reshape_value(value, result_shape(eqn))


@rule_for("rev")
def reverse(eqn: Any, operands: Sequence[Value]) -> Value | None:
    """A box counts from the other end."""
    (value,) = operands
    assert isinstance(value, Sliced)
    axes = value.axes()
    turned = tuple(a for axis in eqn.params["dimensions"] for a in axes[axis])
    base, part = (apply(eqn, array, dimensions=turned) for array in (value.base, value.part))
    ranges = list(value.ranges)
    for a in turned:
        if (r := ranges[a]) is not None:
            ranges[a] = Range(from_the_end(r.start, value.base.shape[a] - r.size), r.size)
    return Sliced(base, part, tuple(ranges), value.groups)


@rule_for("slice")
def slice_(eqn: Any, operands: Sequence[Value]) -> Value | None:
    """What is cut out holds what is left of the box."""
    value: Value | None = operands[0]
    p = eqn.params
    begins, ends = p["start_indices"], p["limit_indices"]
    strides = p["strides"] or (1,) * len(begins)
    for axis, (begin, end, stride) in enumerate(zip(begins, ends, strides, strict=True)):
        if isinstance(value, Sliced):
            value = _cut(value, axis, begin, end, stride)
        elif isinstance(value, Same):
            value = Same(lax.slice_in_dim(value.array, begin, end, stride, axis))
    return value if isinstance(value, Sliced | Same) else None


@rule_for("split")
def split(eqn: Any, operands: Sequence[Value]) -> list[Value] | None:
    """Each part is a cut."""
    (value,) = operands
    assert isinstance(value, Sliced)
    found: list[Value] = []
    begin = 0
    for size in eqn.params["sizes"]:
        part = _cut(value, eqn.params["axis"], begin, begin + size, 1)
        if part is None:
            return None
        found.append(part)
        begin += size
    return found


@rule_for("unstack")
def unstack(eqn: Any, operands: Sequence[Value]) -> list[Value] | None:
    """Each index of the axis, which goes, is a cut."""
    (value,), axis = operands, eqn.params["axis"]
    assert isinstance(value, Sliced)
    found: list[Value] = []
    for i, var in enumerate(eqn.outvars):
        row = _cut(value, axis, i, i + 1, 1)
        if isinstance(row, Sliced):
            row = reshape_value(row, var.aval.shape)
        elif row is not None:
            kind = Same if isinstance(row, Same) else Dense
            row = kind(whole(row).reshape(var.aval.shape))
        if row is None:
            return None
        found.append(row)
    return found


@rule_for("tile")
def tile(eqn: Any, operands: Sequence[Value]) -> Value | None:
    """The box is repeated along new axes, which then join those that it had."""
    (value,) = operands
    assert isinstance(value, Sliced)
    for axis, times in enumerate(eqn.params["reps"]):
        before, n, after = value.shape[:axis], value.shape[axis], value.shape[axis + 1 :]
        found = reshape_value(value, (*before, 1, n, *after))
        if found is None:
            return None
        (at,) = found.axes()[axis]
        base, part = (jnp.repeat(array, times, at) for array in (found.base, found.part))
        found = reshape_value(found._replace(base=base, part=part), (*before, times * n, *after))
        if found is None:
            return None
        value = found
    return value


def _cut(value: Sliced, axis: int, begin: int, end: int, stride: int) -> Value | None:
    """Every ``stride``-th index of an axis from ``begin`` to ``end - 1``."""
    if (begin, end, stride) == (0, value.shape[axis], 1):
        return value
    axes = value.axes()[axis]
    inner = value.shape[axis] // value.base.shape[axes[0]] if value.shape[axis] else 1
    if len(axes) > 1 and stride == 1 and begin % inner == end % inner == 0:
        return _cut_view(value, axes[0], begin // inner, end // inner, 1)
    found = merge(value, axis)
    if found is None:
        return None
    (at,) = found.axes()[axis]
    return _cut_view(found, at, begin, end, stride)


def _cut_view(value: Sliced, at: int, begin: int, end: int, stride: int) -> Value | None:
    """Those indices of an axis of the view."""
    r = value.ranges[at]
    base = lax.slice_in_dim(value.base, begin, end, stride, at)
    if r is None:
        part = lax.slice_in_dim(value.part, begin, end, stride, at)
        return value._replace(base=base, part=part)
    if r.start.is_static:
        return _cut_static(value, base, at, begin, end, stride)
    if r.size > 1:
        inside = stride == 1 and begin <= r.start.smallest and r.start.largest + r.size <= end
        if inside:
            return _with_range(value, base, value.part, at, Range(r.start.plus(-begin), r.size))
        wide = widen(value, set_range(value.ranges, at, None))
        return None if wide is None else _cut_view(wide, at, begin, end, stride)
    if r.start.largest < begin or r.start.smallest >= end:
        return Same(base.reshape(_shape(base, value.groups)))
    # Where the index is not among those cut out, another takes its place, unchanged.
    size = base.shape[at]
    aligned = r.start.plus(-begin % (stride * size))
    place = aligned.divided(stride)[0].divided(size)[1]
    if stride == 1 and begin <= r.start.smallest and r.start.largest < end:
        return _with_range(value, base, value.part, at, Range(r.start.plus(-begin), 1))
    came_from = place.value() * jnp.int32(stride) + jnp.int32(begin)
    there = take(base, set_range(value.ranges, at, Range(place, 1)))
    part = jnp.where(came_from == r.start.value(), value.part, there)
    return _with_range(value, base, part, at, Range(place, 1) if size > 1 else None)


def _cut_static(
    value: Sliced, base: Any, at: int, begin: int, end: int, stride: int
) -> Value | None:
    r = value.ranges[at]
    assert r is not None
    first, last = max(begin, r.start.constant), min(end, r.start.constant + r.size)
    place = -(-(first - begin) // stride)
    first = begin + place * stride
    if first >= last:
        return Same(base.reshape(_shape(base, value.groups)))
    offset = first - r.start.constant
    part = lax.slice_in_dim(value.part, offset, last - r.start.constant, stride, at)
    count = part.shape[at]
    box = Range(Index((), place), count) if count < base.shape[at] else None
    return _with_range(value, base, part, at, box)


def _with_range(value: Sliced, base: Any, part: Any, at: int, r: Range | None) -> Value:
    return sliced(base, part, set_range(value.ranges, at, r), value.groups)


def _shape(base: Any, groups: Sequence[int]) -> tuple[int, ...]:
    return Sliced(base, base, (None,) * base.ndim, tuple(groups)).shape


@rule_for("pad")
def pad(eqn: Any, operands: Sequence[Value]) -> Value | None:
    """The box moves; what is added beside it does not depend on the column."""
    value, filling = operands
    if not isinstance(value, Sliced) or not isinstance(filling, Same):
        return None
    widths = eqn.params["padding_config"]
    moving = [axis for axis, width in enumerate(widths) if any(width)]
    for axis in moving:
        found = merge(value, axis)
        if found is None:
            return None
        (at,) = found.axes()[axis]
        low, high, holes = widths[axis]
        r = found.ranges[at]
        if r is not None and (low < 0 or high < 0 or (holes and r.size > 1)):
            found = whole_along(found, [axis])
            if found is None:
                return None
        value = found
    of_base = [(0, 0, 0)] * value.base.ndim
    of_part, ranges = list(of_base), list(value.ranges)
    for axis in moving:
        (at,) = value.axes()[axis]
        low, _, holes = of_base[at] = widths[axis]
        r = ranges[at]
        if r is None:
            of_part[at] = widths[axis]
        else:
            ranges[at] = Range(r.start.times(holes + 1).plus(low), r.size)
    base, part = (
        lax.pad(array, filling.array, config)
        for array, config in ((value.base, of_base), (value.part, of_part))
    )
    return Sliced(base, part, tuple(ranges), value.groups)
