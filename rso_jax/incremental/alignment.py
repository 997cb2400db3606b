"""Alignment: several operands brought to one view and one box, to be computed side by side."""

from collections.abc import Sequence
from typing import NamedTuple

from jax import Array

from rso_jax.incremental.indices import Index
from rso_jax.incremental.values import Range, Ranges, Sliced, Value, take, whole
from rso_jax.incremental.views import common_sizes, split_as, widen

Sizes = list[list[int]]
"""For each axis of an array the axes of the view that it is split into."""


class Aligned(NamedTuple):
    """Operands of which each is known whole and inside one box."""

    bases: list[Array]
    """Whole arrays, in the view's shape or scalars."""
    parts: list[Array]
    """What they hold inside the box."""
    ranges: Ranges
    groups: tuple[int, ...]


def align(
    operands: Sequence[Value], shape: Sequence[int], apart: int | None = None
) -> Aligned | None:
    """Bring operands of an elementwise operation together.

    Args:
        operands: the same or sliced, of this shape, of size 1 where it is stretched, or scalars.
        shape: of the result.
        apart: an axis along which operands may differ in size; sliced ones have one axis of the
            view for it, and none of them a range of it.

    Returns:
        None where nothing is left of a common box.
    """
    sizes = _sizes_for_all(operands, shape, apart)
    if sizes is None:
        return None

    def own_sizes(of: Sequence[int]) -> Sizes:
        """The splitting for an operand of a shape, which may be 1 where it is stretched."""
        return [
            group if n == m else _of_size(group, n)
            for group, n, m in zip(sizes, of, shape, strict=True)
        ]

    fitted: list[Value] = []
    for value in operands:
        found = split_as(value, own_sizes(value.shape)) if isinstance(value, Sliced) else value
        if found is None:
            return None
        fitted.append(found)
    ranges = _union([v for v in fitted if isinstance(v, Sliced)], sizes)
    if not any(ranges):
        return None
    bases, parts = [], []
    for value in fitted:
        if isinstance(value, Sliced):
            wide = widen(value, ranges)
            assert wide is not None
            base, part = wide.base, wide.part
        else:
            base = part = whole(value)
            if base.ndim:
                base = base.reshape([n for group in own_sizes(base.shape) for n in group])
                part = take(base, ranges)
        bases.append(base)
        parts.append(part)
    return Aligned(bases, parts, ranges, tuple(map(len, sizes)))


def _of_size(group: Sequence[int], size: int) -> list[int]:
    """The splitting of an axis whose size differs from the result's: not split."""
    return [size, *[1] * (len(group) - 1)]


def _sizes_for_all(
    operands: Sequence[Value], shape: Sequence[int], apart: int | None
) -> Sizes | None:
    """The splitting of every axis that suits all sliced operands."""
    found: Sizes = []
    for axis, n in enumerate(shape):
        common: list[int] = [n]
        for value in operands:
            if not isinstance(value, Sliced) or axis == apart or value.shape[axis] != n:
                continue
            own = [value.base.shape[a] for a in value.axes()[axis]]
            refined = common_sizes(common, own) if n > 1 else [1]
            if refined is None:
                return None
            common = refined
        found.append(common)
    return found


def _union(values: Sequence[Sliced], sizes: Sizes) -> Ranges:
    """The smallest box that is known to contain all boxes."""
    found = []
    for axis, n in enumerate(m for group in sizes for m in group):
        ranges = {v.ranges[axis] for v in values}
        found.append(hull(ranges, n))
    return tuple(found)


def hull(ranges: set[Range | None], size: int) -> Range | None:
    """The smallest range known to contain some, or None for all of an axis."""
    if len(ranges) == 1:
        return next(iter(ranges))
    if any(r is None or not r.start.is_static for r in ranges):
        return None
    begin = min(r.start.constant for r in ranges if r is not None)
    end = max(r.start.constant + r.size for r in ranges if r is not None)
    return Range(Index((), begin), end - begin) if end - begin < size else None
