"""Views: values along the way from a parameter array, as arrangements of its entries."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple


class Part(NamedTuple):
    """Part of an axis of a view."""

    axes: frozenset[int]
    """Of the leaf that its entries belong to; none where they are only repeated."""
    size: int


class View(NamedTuple):
    """A value as an arrangement of one leaf."""

    shape: tuple[int, ...]
    """Of the leaf."""
    dims: tuple[tuple[Part, ...], ...]
    """What each axis of the value is made of, slowest first."""
    stacked: frozenset[int]
    """Axes of the leaf of which the value is of one index."""
    summed: frozenset[int]
    """Axes that a product with weights, or with as many constants, has contracted."""


def view_of(shape: tuple[int, ...]) -> View:
    """A leaf as it is."""
    dims = tuple((Part(frozenset([axis]), size),) for axis, size in enumerate(shape))
    return View(shape, dims, frozenset(), frozenset())


def leaf_axes(view: View, dims: Iterable[int]) -> list[int]:
    """Axes of the leaf that some axes of a view are made of."""
    found = (axis for i in dims for part in view.dims[i] for axis in sorted(part.axes))
    return [*dict.fromkeys(found)]


def _repeated(shape: Sequence[int]) -> tuple[tuple[Part, ...], ...]:
    return tuple((Part(frozenset(), size),) for size in shape)


def resized(dims: Sequence[tuple[Part, ...]], shape: Sequence[int]) -> tuple[Any, ...]:
    """Axes of other sizes, made of what they were made of before."""
    return tuple(
        parts
        if math.prod(part.size for part in parts) == size
        else (Part(frozenset().union(*(part.axes for part in parts)), size),)
        for parts, size in zip(dims, shape, strict=True)
    )


def spread(dims: Sequence[tuple[Part, ...]], shape: Sequence[int]) -> tuple[Any, ...]:
    """Axes along which an operand is repeated as often as it takes."""
    if not dims:
        return _repeated(shape)
    return tuple(
        parts if math.prod(part.size for part in parts) == new[0].size else new
        for parts, new in zip(dims, _repeated(shape), strict=True)
    )


def extent(view: View) -> tuple[int, int]:
    """How much of a leaf a view shows: the kernel itself rather than its mean."""
    return len(leaf_axes(view, range(len(view.dims)))), -len(view.summed)


def _dropped(view: View, dims: Iterable[int]) -> frozenset[int]:
    """Axes of the leaf, of one index from now on."""
    return frozenset(axis for axis in leaf_axes(view, dims) if view.shape[axis] > 1)


def _squeeze(eqn: Any, view: View) -> list[View]:
    gone = eqn.params["dimensions"]
    dims = tuple(parts for i, parts in enumerate(view.dims) if i not in gone)
    return [view._replace(dims=dims, stacked=view.stacked | _dropped(view, gone))]


def _reduce(eqn: Any, view: View) -> list[View]:
    gone = eqn.params["axes"]
    return [view._replace(dims=tuple(p for i, p in enumerate(view.dims) if i not in gone))]


def _transpose(eqn: Any, view: View) -> list[View]:
    return [view._replace(dims=tuple(view.dims[i] for i in eqn.params["permutation"]))]


def _broadcast(eqn: Any, view: View) -> list[View]:
    dims = [*_repeated(eqn.outvars[0].aval.shape)]
    for parts, at in zip(view.dims, eqn.params["broadcast_dimensions"], strict=True):
        if math.prod(part.size for part in parts) == dims[at][0].size:
            dims[at] = parts
    return [view._replace(dims=tuple(dims))]


def _same(eqn: Any, view: View) -> list[View]:
    return [view]


def _cut(eqn: Any, view: View) -> list[View]:
    """Of a slice, of all parts of a split, of a padded array."""
    return [view._replace(dims=resized(view.dims, v.aval.shape)) for v in eqn.outvars]


def _reshape(eqn: Any, view: View) -> list[View]:
    """Axes are merged and split; where one holds parts of two that do not divide it, nothing."""
    left = [part for parts in reversed(view.dims) for part in reversed(parts)]
    lost = {axis for part in left if part.size == 1 for axis in part.axes}
    left = [part for part in left if part.size > 1]
    dims: list[tuple[Part, ...]] = []
    for size in eqn.outvars[0].aval.shape:
        parts: list[Part] = []
        while size > 1:
            axes, length = left.pop()
            shared = math.gcd(size, length)
            if shared != min(size, length):
                return []
            parts.append(Part(axes, shared))
            size //= shared
            if length > shared:
                left.append(Part(axes, length // shared))
        dims.append(tuple(parts))
    seen = {axis for parts in dims for part in parts for axis in part.axes}
    one = frozenset(axis for axis in lost - seen if view.shape[axis] > 1)
    return [view._replace(dims=tuple(dims), stacked=view.stacked | one)]


def _gather(eqn: Any, view: View) -> list[View]:
    """Of entries at places that are known: of one index, or of some along one axis."""
    numbers, shape = eqn.params["dimension_numbers"], eqn.outvars[0].aval.shape
    gone = numbers.collapsed_slice_dims
    if numbers.operand_batching_dims:
        return []
    dims = [*_repeated(shape)]
    kept = [parts for i, parts in enumerate(view.dims) if i not in gone]
    for parts, at in zip(kept, numbers.offset_dims, strict=True):
        (dims[at],) = resized([parts], [shape[at]])
    places = [i for i in range(len(shape)) if i not in numbers.offset_dims and shape[i] > 1]
    if not places:
        return [view._replace(dims=tuple(dims), stacked=view.stacked | _dropped(view, gone))]
    if len(places) == len(gone) == 1:
        (dims[places[0]],) = resized([view.dims[gone[0]]], [shape[places[0]]])
        return [view._replace(dims=tuple(dims))]
    return []


MOVES: dict[str, Callable[[Any, View], list[View]]] = {
    "broadcast_in_dim": _broadcast,
    "copy": _same,
    "copy_p": _same,
    "dynamic_slice": _cut,
    "gather": _gather,
    "pad": _cut,
    "reshape": _reshape,
    "rev": _same,
    "sharding_constraint": _same,
    "slice": _cut,
    "split": _cut,
    "squeeze": _squeeze,
    "transpose": _transpose,
} | {f"reduce_{how}": _reduce for how in ("max", "min", "prod", "sum")}


def one_of(view: View) -> View:
    """One of the entries along the first axis."""
    return view._replace(dims=view.dims[1:], stacked=view.stacked | _dropped(view, [0]))


def contracted_to(
    eqn: Any,
    i: int,
    view: View,
    contracted: Sequence[int],
    stacked: Sequence[int],
    *,
    with_constants: bool,
) -> View:
    """A view of one operand of a product of weights, in the product.

    What constants make of an axis, as the pixels of a bin, is that axis still.
    """
    mine = [view.dims[d] for d in range(len(view.dims)) if d not in (*contracted, *stacked)]
    dims: list[tuple[Part, ...]] = [view.dims[d] for d in stacked]
    gone = frozenset(leaf_axes(view, contracted))
    made_of = gone if with_constants else frozenset()
    sizes = eqn.outvars[0].aval.shape[len(stacked) :]
    theirs = tuple((Part(made_of, size),) for size in sizes)
    count = len(sizes) - len(mine)
    dims += [*mine, *theirs[len(mine) :]] if i == 0 else [*theirs[:count], *mine]
    kept = with_constants and count > 0
    return view._replace(dims=tuple(dims), summed=view.summed if kept else view.summed | gone)
