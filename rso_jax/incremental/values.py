"""Values: how much of an array a changed column can change.

While one column of a leaf is searched, every array inside the loss is of one of four kinds:
the same whatever the column holds, sliced (it differs in a box: a range of one or more axes),
dense, or a sum of convolutions that are still to be carried out.
"""

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from rso_jax.incremental.convolution import PendingConvolution, convolve
from rso_jax.incremental.indices import Index


class Range(NamedTuple):
    """Some indices of an axis, one after the other; fewer than the axis has."""

    start: Index
    size: int


Ranges = tuple[Range | None, ...]
"""A range for each axis, None for all of its indices."""


class Same(NamedTuple):
    """An array that does not depend on the column."""

    array: Array


class Sliced(NamedTuple):
    """An array that depends on the column inside a box only.

    It is held in a **view**: a shape into which the array's own may be split, as [n, 28 * 28 * c]
    into [n, 28 * 28, c], so that the box is a range of every axis.
    """

    base: Array
    """The whole array, in the view's shape; what it holds inside the box means nothing."""
    part: Array
    """The values inside the box."""
    ranges: Ranges
    """The box, along every axis of the view; at least one range."""
    groups: tuple[int, ...]
    """For each axis of the array, into how many axes of the view it is split."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(_product(self.base.shape[a] for a in axes) for axes in self.axes())

    def axes(self) -> list[list[int]]:
        """For each axis of the array its axes of the view."""
        found, begin = [], 0
        for count in self.groups:
            found.append(list(range(begin, begin + count)))
            begin += count
        return found


class Dense(NamedTuple):
    """An array that may depend on the column anywhere."""

    array: Array


class Sum(NamedTuple):
    """An array that depends on the column by way of convolutions, and linearly in them so far."""

    fixed: tuple[Array | PendingConvolution, ...]
    """Terms that do not depend on the column."""
    changing: tuple[PendingConvolution, ...]
    """Terms that do; at least one."""


Value = Same | Sliced | Dense | Sum


_reads_incumbent = ContextVar("reads_incumbent", default=False)


@contextmanager
def reading_incumbent(allowed: bool) -> Iterator[None]:
    """Inside, the base of a sliced array holds the incumbent inside the box, if it is allowed."""
    token = _reads_incumbent.set(allowed)
    try:
        yield
    finally:
        _reads_incumbent.reset(token)


def reads_incumbent() -> bool:
    """Whether the base of a sliced array means something inside the box, too."""
    return _reads_incumbent.get()


def sliced(base: Array, part: Array, ranges: Ranges, groups: Sequence[int]) -> Sliced | Dense:
    """The value with a part in its place: dense where there is no range left."""
    if any(ranges):
        return Sliced(base, part, ranges, tuple(groups))
    shape = Sliced(base, part, ranges, tuple(groups)).shape
    return Dense(part.reshape(shape))


def of_column(leaf: Array, weights: Array, index: Index) -> Sliced | Dense:
    """A leaf of which the column at an index holds these weights."""
    axis = leaf.ndim - 1
    if not leaf.ndim or leaf.shape[axis] == 1:
        return Dense(weights.reshape(leaf.shape))
    ranges = (None,) * axis + (Range(index, 1),)
    return Sliced(leaf, weights[..., None], ranges, (1,) * leaf.ndim)


def set_range(ranges: Ranges, axis: int, r: Range | None) -> Ranges:
    """Ranges with another one for an axis."""
    return (*ranges[:axis], r, *ranges[axis + 1 :])


def ranges_along(ranges: Ranges, axes: Sequence[int]) -> Ranges:
    """Ranges of some axes; others are whole."""
    return tuple(r if a in axes else None for a, r in enumerate(ranges))


def ranges_beside(ranges: Ranges, axes: Sequence[int]) -> Ranges:
    """Ranges with some axes whole."""
    return tuple(None if a in axes else r for a, r in enumerate(ranges))


def inner_shape(shape: Sequence[int], ranges: Ranges) -> tuple[int, ...]:
    """Shape of what lies inside a box."""
    return tuple(n if r is None else r.size for n, r in zip(shape, ranges, strict=True))


def take(array: Array, ranges: Ranges) -> Array:
    """What an array holds inside a box; an axis of size 1 stays as it is."""
    sizes = [n if r is None or n == 1 else r.size for n, r in zip(array.shape, ranges, strict=True)]
    if sizes == list(array.shape):
        return array
    boxed = [
        (axis, r)
        for axis, r in enumerate(ranges)
        if r is not None and sizes[axis] < array.shape[axis]
    ]
    if all(r.start.is_static for _, r in boxed):
        for axis, r in boxed:
            begin = r.start.constant
            array = lax.slice_in_dim(array, begin, begin + r.size, axis=axis)
        return array
    begins = [jnp.zeros((), jnp.int32)] * array.ndim
    for axis, r in boxed:
        begins[axis] = r.start.value()
    return lax.dynamic_slice(array, begins, sizes)


def put(array: Array, part: Array, ranges: Ranges) -> Array:
    """The array with other values inside a box."""
    begins = [jnp.zeros((), jnp.int32) if r is None else r.start.value() for r in ranges]
    return lax.dynamic_update_slice(array, part, begins)


def mask(array: Array, ranges: Ranges, value: Any) -> Array:
    """The array with one value everywhere inside a box."""
    inside = None
    for axis, r in enumerate(ranges):
        if r is None:
            continue
        place = lax.broadcasted_iota(jnp.int32, array.shape, axis)
        begin = r.start.value()
        here = place == begin if r.size == 1 else (place >= begin) & (place < begin + r.size)
        inside = here if inside is None else inside & here
    assert inside is not None
    return jnp.where(inside, jnp.asarray(value, array.dtype), array)


def whole(value: Value) -> Array:
    """The array itself, whatever its kind."""
    if isinstance(value, Sliced):
        return put(value.base, value.part, value.ranges).reshape(value.shape)
    if isinstance(value, Sum):
        # The fixed terms first: they are then added up once per column.
        terms = (convolve(t) if isinstance(t, PendingConvolution) else t for t in sum(value, ()))
        return functools.reduce(lax.add, terms)
    return value.array


def shape_of(value: Value) -> tuple[int, ...]:
    """Shape of the array, which is no sum."""
    assert not isinstance(value, Sum)
    return value.shape if isinstance(value, Sliced) else value.array.shape


def check_value(value: Any, shape: tuple[int, ...], dtype: Any) -> None:
    """Refuse what is no value of an array of this shape and type.

    Of a sum, whose shape only tracing would tell, the type and the fixed terms are looked at.

    Raises:
        TypeError, ValueError: saying what is wrong.
    """
    if not isinstance(value, Same | Sliced | Dense | Sum):
        raise TypeError(
            f"it gives {type(value).__name__}, where a value is one of Same, Sliced, Dense and Sum"
        )
    if isinstance(value, Sliced):
        _check_box(value)
        _check_array("it gives an array", value.shape, value.base.dtype, shape, dtype)
    elif isinstance(value, Sum):
        for term in (*value.fixed, *value.changing):
            if isinstance(term, PendingConvolution):
                _check_array("a convolution is", shape, term.kernel.dtype, shape, dtype)
            else:
                _check_array("a term is", term.shape, term.dtype, shape, dtype)
    else:
        _check_array("it gives an array", value.array.shape, value.array.dtype, shape, dtype)


def _check_box(value: Sliced) -> None:
    """Refuse a box that does not fit its view."""
    axes = (value.base.ndim, len(value.ranges), sum(value.groups))
    if len({*axes}) > 1:
        raise ValueError(
            "base, ranges and groups are of {}, {} and {} axes of the view".format(*axes)
        )
    _check_array(
        "inside the box the part is",
        value.part.shape,
        value.part.dtype,
        inner_shape(value.base.shape, value.ranges),
        value.base.dtype,
    )


def _check_array(what: str, shape: Any, dtype: Any, wanted: tuple[int, ...], kind: Any) -> None:
    if tuple(shape) != tuple(wanted) or dtype != kind:
        raise ValueError(f"{what} {dtype}{[*shape]}, where it should be {kind}{[*wanted]}")


def _product(sizes: Any) -> int:
    return functools.reduce(lambda a, b: a * b, sizes, 1)
