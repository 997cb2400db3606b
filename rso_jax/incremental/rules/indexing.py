"""Rules of reading and adding at computed places: along axes that are read whole, a box stays."""

from collections.abc import Sequence
from typing import Any

from rso_jax.incremental.rules.rule import apply, rule_for
from rso_jax.incremental.values import Range, Same, Sliced, Value, inner_shape, take
from rso_jax.incremental.views import unsplit, whole_along


@rule_for("dynamic_slice")
def dynamic_slice(eqn: Any, operands: Sequence[Value]) -> Value | None:
    """Axes read whole keep the box, where the places do not depend on the column."""
    value, *begins = operands
    if not isinstance(value, Sliced) or not all(isinstance(b, Same) for b in begins):
        return None
    sizes = eqn.params["slice_sizes"]
    cut = [axis for axis, n in enumerate(value.shape) if sizes[axis] < n]
    found = _plain(value, cut)
    if found is None:
        return None
    box = tuple(None if axis in cut else r for axis, r in enumerate(found.ranges))
    places = [b.array for b in begins]  # type: ignore[union-attr]
    base = apply(eqn, found.base, *places)
    part = apply(eqn, found.part, *places, slice_sizes=inner_shape(sizes, box))
    return Sliced(base, part, box, found.groups)


@rule_for("gather")
def gather(eqn: Any, operands: Sequence[Value]) -> Value | None:
    """Rows read whole keep the box: of an embedding, a permutation, one position of many."""
    value, places = operands
    if not isinstance(value, Sliced) or not isinstance(places, Same):
        return None
    numbers, sizes = eqn.params["dimension_numbers"], eqn.params["slice_sizes"]
    gone = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
    read = {*gone, *numbers.start_index_map}
    read |= {axis for axis, n in enumerate(value.shape) if sizes[axis] < n}
    found = _plain(value, sorted(read))
    if found is None:
        return None
    part = apply(eqn, found.part, places.array, slice_sizes=inner_shape(sizes, found.ranges))
    base = apply(eqn, found.base, places.array)
    ranges: list[Range | None] = [None] * base.ndim
    kept = [axis for axis in range(found.base.ndim) if axis not in gone]
    for axis, at in zip(kept, numbers.offset_dims, strict=True):
        ranges[at] = found.ranges[axis]
    return Sliced(base, part, tuple(ranges), (1,) * base.ndim)


@rule_for("scatter", "scatter-add", "scatter_add", "scatter-max", "scatter-min")
def scatter(eqn: Any, operands: Sequence[Value]) -> Value | None:
    """Rows of updates written whole keep the box: sums over segments, say."""
    into, places, updates = operands
    if not (isinstance(into, Same) and isinstance(places, Same) and isinstance(updates, Sliced)):
        return None
    numbers = eqn.params["dimension_numbers"]
    shape = into.array.shape
    gone = (*numbers.inserted_window_dims, *numbers.operand_batching_dims)
    kept = [axis for axis in range(len(shape)) if axis not in gone]
    in_updates = dict(zip(numbers.update_window_dims, kept, strict=True))
    read = [
        at
        for at, n in enumerate(updates.shape)
        if at not in in_updates
        or n != shape[in_updates[at]]
        or in_updates[at] in numbers.scatter_dims_to_operand_dims
    ]
    found = _plain(updates, read)
    if found is None:
        return None
    ranges: list[Range | None] = [None] * len(shape)
    for at, axis in in_updates.items():
        ranges[axis] = found.ranges[at]
    box = tuple(ranges)
    base = apply(eqn, into.array, places.array, found.base)
    part = apply(eqn, take(into.array, box), places.array, found.part)
    return Sliced(base, part, box, (1,) * len(shape))


def _plain(value: Sliced, whole_axes: Sequence[int]) -> Sliced | None:
    """The value in its own shape, without a range of these axes."""
    found = unsplit(value)
    return whole_along(found, whole_axes) if found is not None else None
