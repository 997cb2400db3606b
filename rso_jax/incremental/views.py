"""Views: sliced values seen in other shapes, so that a box stays a box.

A reshape moves nothing in memory. It splits and joins axes, and a range of an axis that is split is
often a range of each of its parts: one channel is one head and one place within it. Where it is
not, the box is made larger; it never has to be as small as it could be.
"""

import math
from collections.abc import Sequence

from jax import lax

from rso_jax.incremental.indices import Index
from rso_jax.incremental.values import Range, Ranges, Sliced, inner_shape, set_range, take


def widen(value: Sliced, ranges: Ranges) -> Sliced | None:
    """The value with a larger box.

    Args:
        value: a sliced value.
        ranges: of every axis of its view, each containing the value's own.

    Returns:
        None where no range is left.
    """
    if ranges == value.ranges:
        return value
    if not any(ranges):
        return None
    zero = Index().value()
    begins = [zero] * len(ranges)
    for axis, (old, new) in enumerate(zip(value.ranges, ranges, strict=True)):
        if old is not None and old != new:
            begin = old.start.value()
            begins[axis] = begin if new is None else begin - new.start.value()
    part = lax.dynamic_update_slice(take(value.base, ranges), value.part, begins)
    return Sliced(value.base, part, ranges, value.groups)


def reshape_value(value: Sliced, shape: Sequence[int]) -> Sliced | None:
    """The value in another shape of as many elements, in a view that splits both.

    Returns:
        None where there is no such view, as of (2, 3) and (3, 2), or no box that fits it.
    """
    factors = _common_factors([n for n in value.base.shape if n > 1], [n for n in shape if n > 1])
    if factors is None:
        return None
    of_view, of_shape = factors
    wide, ranges = [], []
    rest = iter(of_view)
    for size, r in zip(value.base.shape, value.ranges, strict=True):
        around, split = _split(r, next(rest) if size > 1 else [])
        wide.append(around)
        ranges += split
    found = widen(value, tuple(wide))
    if found is None:
        return None
    # Axes of size 1 have an axis of the view each, which is whole.
    sizes: list[list[int]] = []
    rest = iter(of_shape)
    for n in shape:
        sizes.append(next(rest) if n > 1 else [1])
    remaining = iter(ranges)
    view = [n for group in sizes for n in group]
    placed = tuple(next(remaining) if n > 1 else None for n in view)
    base, part = found.base.reshape(view), found.part.reshape(inner_shape(view, placed))
    return _join_whole(Sliced(base, part, placed, tuple(map(len, sizes))))


def merge(value: Sliced, axis: int) -> Sliced | None:
    """The value with one axis of the view for an axis of the array.

    Returns:
        None where no range is left.
    """
    axes = value.axes()[axis]
    if len(axes) == 1:
        return value
    sizes = [value.base.shape[a] for a in axes]
    ranges = list(value.ranges)
    # Single indices, then any range, then whole axes lie in a row; what else there is does not.
    outer = next((i for i, a in enumerate(axes[:-1]) if not _is_point(ranges[a])), len(axes) - 1)
    for a in axes[outer + 1 :]:
        ranges[a] = None
    found = widen(value, tuple(ranges))
    if found is None:
        return None
    joined = None
    last = found.ranges[axes[outer]]
    if outer or last is not None:
        start, below = Index(), math.prod(sizes)
        for a, size in zip(axes[: outer + 1], sizes, strict=False):
            below //= size
            r = found.ranges[a]
            start = start.together(r.start.times(below)) if r is not None else start
        width = sizes[outer] if last is None else last.size
        joined = Range(start, width * below)
    before, after = axes[0], axes[-1] + 1
    ranges = [*found.ranges[:before], joined, *found.ranges[after:]]
    shape = found.base.shape
    view = [*shape[:before], math.prod(sizes), *shape[after:]]
    groups = list(found.groups)
    groups[axis] = 1
    part = found.part.reshape(inner_shape(view, tuple(ranges)))
    return Sliced(found.base.reshape(view), part, tuple(ranges), tuple(groups))


def split_as(value: Sliced, sizes: Sequence[Sequence[int]]) -> Sliced | None:
    """The value in a view that splits every axis in a given way, finer than its own or the same.

    Args:
        value: a sliced value.
        sizes: for each axis of the array those of its axes of the view.

    Returns:
        None where there is no box that fits.
    """
    view = tuple(n for group in sizes for n in group)
    if view == value.base.shape:
        return value._replace(groups=tuple(map(len, sizes)))
    found = reshape_value(value, view)
    found = unsplit(found) if found is not None else None
    return None if found is None else found._replace(groups=tuple(map(len, sizes)))


def unsplit(value: Sliced) -> Sliced | None:
    """The value in a view that is its own shape; None where no range is left."""
    found: Sliced | None = value
    for axis in range(len(value.groups)):
        found = merge(found, axis) if found is not None else None
    return found


def common_sizes(first: Sequence[int], second: Sequence[int]) -> list[int] | None:
    """The coarsest splitting of an axis that splits two others of it, if there is one."""
    factors = _common_factors(list(first), list(second))
    return None if factors is None else [n for group in factors[0] for n in group]


def _common_factors(
    first: Sequence[int], second: Sequence[int]
) -> tuple[list[list[int]], list[list[int]]] | None:
    """The axes of two shapes of as many elements, each split so that the parts are the same."""
    of_first: list[list[int]] = [[] for _ in first]
    of_second: list[list[int]] = [[] for _ in second]
    i = j = 0
    left, right = (list(first) or [1])[0], (list(second) or [1])[0]
    while i < len(first) and j < len(second):
        common = min(left, right)
        if left % common or right % common:
            return None
        of_first[i].append(common)
        of_second[j].append(common)
        left, right = left // common, right // common
        if left == 1:
            i += 1
            left = first[i] if i < len(first) else 1
        if right == 1:
            j += 1
            right = second[j] if j < len(second) else 1
    return of_first, of_second


def _split(r: Range | None, sizes: Sequence[int]) -> tuple[Range | None, list[Range | None]]:
    """A range of an axis, if need be made larger, and the ranges that it is of the axis's parts."""
    if r is None or len(sizes) == 1:
        return r, [r] if r is not None else [None] * len(sizes)
    inner = math.prod(sizes[1:])
    outer, within = r.start.divided(inner)
    if r.size % inner == 0 and within == Index():
        count = r.size // inner
        whole = [None] * (len(sizes) - 1)
        return r, [Range(outer, count) if count < sizes[0] else None, *whole]
    if within.largest + r.size <= inner:
        around, ranges = _split(Range(within, r.size), sizes[1:])
        begin = outer.times(inner)
        if around is None:
            wide = Range(begin, inner)
        else:
            wide = Range(begin.together(around.start), around.size)
        return (r if around == Range(within, r.size) else wide), [Range(outer, 1), *ranges]
    if r.start.is_static:
        first = r.start.constant // inner * inner
        last = -(-(r.start.constant + r.size) // inner) * inner
        if last - first < inner * sizes[0]:
            return _split(Range(Index((), first), last - first), sizes)
    return None, [None] * len(sizes)


def _is_point(r: Range | None) -> bool:
    return r is not None and r.size == 1


def _join_whole(value: Sliced) -> Sliced:
    """The value with neighbouring whole axes of a group as one."""
    view: list[int] = []
    ranges: list[Range | None] = []
    groups: list[int] = []
    for axes in value.axes():
        begin = len(view)
        for a in axes:
            if len(view) > begin and ranges[-1] is None and value.ranges[a] is None:
                view[-1] *= value.base.shape[a]
            else:
                view.append(value.base.shape[a])
                ranges.append(value.ranges[a])
        groups.append(len(view) - begin)
    if len(view) == value.base.ndim:
        return value
    part = value.part.reshape(inner_shape(view, tuple(ranges)))
    return Sliced(value.base.reshape(view), part, tuple(ranges), tuple(groups))


def whole_along(value: Sliced, axes: Sequence[int]) -> Sliced | None:
    """The value with one axis of the view, and no range, for each of some axes of the array.

    Returns:
        None where no range is left.
    """
    for axis in axes:
        found = merge(value, axis)
        if found is None:
            return None
        (at,) = found.axes()[axis]
        found = widen(found, set_range(found.ranges, at, None))
        if found is None:
            return None
        value = found
    return value
