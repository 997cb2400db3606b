"""Rules of what runs along axes: sums, maxima, windows, cumulative operations, sorting.

Along whole axes of the view the box stays. Over a range of an axis a reduction is that of the other
elements, made once, joined with that of the box.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from rso_jax.incremental.alignment import align
from rso_jax.incremental.jaxprs import evaluate
from rso_jax.incremental.rules.rule import apply, result_shape, rule_for
from rso_jax.incremental.values import (
    Sliced,
    Value,
    mask,
    ranges_along,
    ranges_beside,
    reads_incumbent,
    sliced,
    take,
)
from rso_jax.incremental.views import whole_along


def _lowest(dtype: Any) -> Any:
    if dtype == jnp.bool_:
        return False
    return -jnp.inf if jnp.issubdtype(dtype, jnp.inexact) else jnp.iinfo(dtype).min


def _highest(dtype: Any) -> Any:
    if dtype == jnp.bool_:
        return True
    return jnp.inf if jnp.issubdtype(dtype, jnp.inexact) else jnp.iinfo(dtype).max


# How two parts of a reduction are joined, and the value that changes nothing.
_JOINS: dict[str, tuple[Callable[[Array, Array], Array], Callable[[Any], Any]]] = {
    "reduce_sum": (lax.add, lambda dtype: 0),
    "reduce_prod": (lax.mul, lambda dtype: 1),
    "reduce_max": (lax.max, _lowest),
    "reduce_min": (lax.min, _highest),
    "reduce_and": (lax.bitwise_and, _highest),
    "reduce_or": (lax.bitwise_or, lambda dtype: 0),
    # Within vmap, over an axis that it names: a reduction along that axis.
    "psum": (lax.add, lambda dtype: 0),
    "pmax": (lax.max, _lowest),
    "pmin": (lax.min, _highest),
}


@rule_for(*_JOINS, "argmax", "argmin")
def reduction(eqn: Any, operands: Sequence[Value]) -> Value | None:
    """Over other axes the box stays; over its own it is the rest once, joined with the part."""
    (value,), name = operands, eqn.primitive.name
    assert isinstance(value, Sliced)
    of_axes = value.axes()
    over = [a for axis in eqn.params["axes"] for a in of_axes[axis]]
    inside, outside = ranges_along(value.ranges, over), ranges_beside(value.ranges, over)
    left = tuple(r for a, r in enumerate(value.ranges) if a not in over)
    groups = [n for axis, n in enumerate(value.groups) if axis not in eqn.params["axes"]]

    def reduce(array: Array) -> Array:
        return apply(eqn, array, axes=tuple(over))

    if not any(inside):
        if name in ("argmax", "argmin") and len(over) > 1:
            return None
        return Sliced(reduce(value.base), reduce(value.part), left, tuple(groups))
    if name not in _JOINS or (name == "reduce_and" and value.base.dtype != jnp.bool_):
        return None
    join, neutral = _JOINS[name]
    if name in ("reduce_sum", "psum") and reads_incumbent():
        change = reduce(value.part - take(value.base, value.ranges))
        part = take(reduce(value.base), left) + change
        return sliced(reduce(value.base) if any(left) else part, part, left, groups)
    others = mask(take(value.base, outside), inside, neutral(value.base.dtype))
    part = join(reduce(others), reduce(value.part))
    return sliced(reduce(value.base) if any(left) else part, part, left, groups)


@rule_for("reduce_window_sum", "reduce_window_max", "reduce_window_min")
def reduce_window(eqn: Any, operands: Sequence[Value]) -> Value | None:
    """Pooling over other axes leaves the box."""
    (value,), p = operands, eqn.params
    assert isinstance(value, Sliced)
    spans = zip(
        p["window_dimensions"], p["window_strides"], p["base_dilation"], p["padding"], strict=True
    )
    moving = [axis for axis, span in enumerate(spans) if span != (1, 1, 1, (0, 0))]
    found = whole_along(value, moving)
    if found is None:
        return None

    def of_view(setting: Sequence[Any], other: Any) -> tuple[Any, ...]:
        """A setting for each axis of the view."""
        return tuple(
            setting[axis] if axis in moving else other
            for axis, count in enumerate(found.groups)
            for _ in range(count)
        )

    settings = {
        "window_dimensions": of_view(p["window_dimensions"], 1),
        "window_strides": of_view(p["window_strides"], 1),
        "base_dilation": of_view(p["base_dilation"], 1),
        "window_dilation": of_view(p["window_dilation"], 1),
        "padding": of_view(p["padding"], (0, 0)),
    }
    base, part = (apply(eqn, array, **settings) for array in (found.base, found.part))
    return Sliced(base, part, found.ranges, found.groups)


@rule_for("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")
def cumulative(eqn: Any, operands: Sequence[Value]) -> Value | None:
    """Along another axis the box stays."""
    (value,), axis = operands, eqn.params["axis"]
    assert isinstance(value, Sliced)
    found = whole_along(value, [axis])
    if found is None:
        return None
    (at,) = found.axes()[axis]
    base, part = (apply(eqn, array, axis=at) for array in (found.base, found.part))
    return Sliced(base, part, found.ranges, found.groups)


@rule_for("sort")
def sort(eqn: Any, operands: Sequence[Value]) -> list[Value] | None:
    """Along another axis the box stays, in every result."""
    axis = eqn.params["dimension"]
    ready: list[Value] = []
    for value in operands:
        if isinstance(value, Sliced):
            found = whole_along(value, [axis])
            if found is None:
                return None
            value = found
        ready.append(value)
    together = align(ready, result_shape(eqn))
    if together is None or together.groups[axis] != 1:
        return None
    at = sum(together.groups[:axis])
    along = eqn.replace(params=eqn.params | {"dimension": at})
    results = zip(evaluate(along, together.bases), evaluate(along, together.parts), strict=True)
    return [Sliced(base, part, together.ranges, together.groups) for base, part in results]
