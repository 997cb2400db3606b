"""The rule of products: what mixes channels is the rest, once, plus the box's share.

Where a box lies along an axis that is summed over, both operands are zeroed there for the rest:
a zero times an infinite weight would be NaN.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jax import Array

from rso_jax.incremental.rules.rule import apply, rule_for
from rso_jax.incremental.values import (
    Ranges,
    Sliced,
    Value,
    mask,
    ranges_along,
    ranges_beside,
    reads_incumbent,
    shape_of,
    sliced,
    take,
    whole,
)
from rso_jax.incremental.views import common_sizes, split_as, widen

Axes = list[int]


class _Side(NamedTuple):
    """An operand of a product, in a view."""

    value: Value
    sizes: list[list[int]]
    """For each of its axes those of the view."""

    def axes(self, of: Sequence[int]) -> Axes:
        """Axes of the view for some axes of the array."""
        begins = [sum(map(len, self.sizes[:axis])) for axis in range(len(self.sizes))]
        return [a for axis in of for a in range(begins[axis], begins[axis] + len(self.sizes[axis]))]

    @property
    def base(self) -> Array:
        if isinstance(self.value, Sliced):
            return self.value.base
        return whole(self.value).reshape([n for group in self.sizes for n in group])

    @property
    def ranges(self) -> Ranges:
        if isinstance(self.value, Sliced):
            return self.value.ranges
        return (None,) * sum(map(len, self.sizes))


@rule_for("dot_general")
def dot_general(eqn: Any, operands: Sequence[Value]) -> Value | None:
    """Contracted over the box it is the rest once, plus the box's share; else the box stays."""
    (contract, batch) = eqn.params["dimension_numbers"]
    pairs = [*zip(*contract, strict=True), *zip(*batch, strict=True)]
    sides = _split_alike(operands, pairs)
    if sides is None:
        return None
    contracted = [side.axes(axes) for side, axes in zip(sides, contract, strict=True)]
    batched = [side.axes(axes) for side, axes in zip(sides, batch, strict=True)]
    boxes = _boxes(sides, contracted, batched)
    wide = [_within(side, box) for side, box in zip(sides, boxes, strict=True)]
    if None in wide:
        return None
    numbers = {"dimension_numbers": (tuple(map(tuple, contracted)), tuple(map(tuple, batched)))}

    def dot(left: Array, right: Array) -> Array:
        return apply(eqn, left, right, **numbers)

    summed = [ranges_along(box, axes) for box, axes in zip(boxes, contracted, strict=True)]
    beside = [ranges_beside(box, axes) for box, axes in zip(boxes, contracted, strict=True)]
    part = dot(*(_part(side, box) for side, box in zip(wide, boxes, strict=True)))  # type: ignore[arg-type]
    bases = [side.base for side in sides]
    if any(summed[0]) and reads_incumbent() and not all(isinstance(v.value, Sliced) for v in sides):
        change = (_change(side, box) for side, box in zip(wide, boxes, strict=True))  # type: ignore[arg-type]
        whole_box = (take(base, around) for base, around in zip(bases, beside, strict=True))
        part = dot(*whole_box) + dot(*change)
    elif any(summed[0]):
        rest = dot(
            *(
                mask(take(base, around), box, 0)
                for base, around, box in zip(bases, beside, summed, strict=True)
            )
        )
        part = rest + part
    free = [
        [a for a in range(len(box)) if a not in (*c, *b)]
        for box, c, b in zip(boxes, contracted, batched, strict=True)
    ]
    ranges = tuple(
        [boxes[0][a] for a in batched[0]]
        + [box[a] for box, f in zip(boxes, free, strict=True) for a in f]
    )
    groups = [len(sides[0].sizes[axis]) for axis in batch[0]]
    for side, c, b in zip(sides, contract, batch, strict=True):
        groups += [len(g) for axis, g in enumerate(side.sizes) if axis not in (*c, *b)]
    return sliced(dot(*bases) if any(ranges) else part, part, ranges, groups)


def _split_alike(operands: Sequence[Value], pairs: Sequence[tuple[int, int]]) -> list[_Side] | None:
    """Both operands in views whose axes match where they meet."""
    sizes = [
        [[v.base.shape[a] for a in axes] for axes in v.axes()]
        if isinstance(v, Sliced)
        else [[n] for n in shape_of(v)]
        for v in operands
    ]
    for i, j in pairs:
        common = common_sizes([n for n in sizes[0][i] if n > 1], [n for n in sizes[1][j] if n > 1])
        if common is None:
            return None
        sizes[0][i] = sizes[1][j] = common or [1]
    sides = []
    for value, own in zip(operands, sizes, strict=True):
        found = split_as(value, own) if isinstance(value, Sliced) else value
        if found is None:
            return None
        sides.append(_Side(found, own))
    return sides


def _boxes(
    sides: Sequence[_Side], contracted: Sequence[Axes], batched: Sequence[Axes]
) -> tuple[Ranges, Ranges]:
    """Which box of each operand belongs to the part of the result."""
    boxes = [list(side.ranges) for side in sides]
    both = all(isinstance(side.value, Sliced) for side in sides)
    for axes in (contracted, batched):
        for a, b in zip(*axes, strict=True):
            left, right = boxes[0][a], boxes[1][b]
            common = (left if left == right else None) if both else left or right
            boxes[0][a] = boxes[1][b] = common
    if both:
        # Each reaches all that the other's free axes hold.
        for box, c, b in zip(boxes, contracted, batched, strict=True):
            for a in range(len(box)):
                if a not in (*c, *b):
                    box[a] = None
    return tuple(boxes[0]), tuple(boxes[1])


def _within(side: _Side, box: Ranges) -> _Side | None:
    """The operand with that box, where it depends on the column."""
    if not isinstance(side.value, Sliced):
        return side
    found = widen(side.value, box)
    return None if found is None else side._replace(value=found)


def _part(side: _Side, box: Ranges) -> Array:
    return side.value.part if isinstance(side.value, Sliced) else take(side.base, box)


def _change(side: _Side, box: Ranges) -> Array:
    """What a candidate changes of an operand that depends on the column; the other as it is."""
    found = _part(side, box)
    return found - take(side.base, box) if isinstance(side.value, Sliced) else found
