"""Layout: a traced function rewritten to hold examples along the last axis of its arrays.

Arrays inside a candidate are often long along examples and short along all others: one channel, ten
classes. A processor works on what lies together in memory, so these are held with their examples
last, wherever that is all the same to an operation. Others get them as they were.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import ClosedJaxpr, Literal

from rso_jax.incremental.jaxprs import evaluate, variables, without_calls
from rso_jax.incremental.rules.elementwise import ELEMENTWISE


class _Held:
    """An array held as it was, with its examples last, or both."""

    def __init__(
        self, axis: int | None, *, plain: Array | None = None, last: Array | None = None
    ) -> None:
        self.axis = axis
        """Along which its examples lie; None where it has none, or they are not apart."""
        self._plain = plain
        self._last = last

    def plain(self) -> Array:
        """The array as it was."""
        if self._plain is None:
            assert self._last is not None and self.axis is not None
            self._plain = jnp.moveaxis(self._last, -1, self.axis)
        return self._plain

    def last(self) -> Array:
        """The array with its examples last; as it was, where it has none."""
        if self._last is None:
            plain = self.plain()
            self._last = plain if self.axis is None else jnp.moveaxis(plain, self.axis, -1)
        return self._last


def hold_examples_last(
    traced: ClosedJaxpr, twice: ClosedJaxpr, known: int, arguments: int
) -> ClosedJaxpr | None:
    """The function with examples last in all that depends on more than what is known at first.

    Args:
        traced: the function.
        twice: the same for twice the examples, which tells where these lie.
        known: how many of its first arguments are known at first.
        arguments: how many of its last ones are held so too; and so are all its results but one.

    Returns:
        None where the two traces differ in more than sizes, or most of what is computed is longer
        along another last axis than along examples.
    """
    traced, twice = without_calls(traced), without_calls(twice)
    axes = _example_axes(traced, twice)
    if axes is None or not _worth_it(traced, axes, known):
        return None
    jaxpr = traced.jaxpr
    plain_until = len(jaxpr.invars) - arguments

    def function(*given: Array) -> list[Array]:
        constants = zip(jaxpr.constvars, traced.consts, strict=True)
        held: dict[Any, _Held] = {v: _Held(None, plain=c) for v, c in constants}
        dependent: set[Any] = set(jaxpr.invars[known:])
        for i, (v, array) in enumerate(zip(jaxpr.invars, given, strict=True)):
            is_last = i >= plain_until and axes[v] is not None
            held[v] = _Held(axes[v], last=array) if is_last else _Held(axes[v], plain=array)
        for eqn in jaxpr.eqns:
            operands = [_read(held, atom) for atom in eqn.invars]
            found = None
            if eqn.outvars and dependent.intersection(variables(eqn.invars)):
                dependent.update(eqn.outvars)
                moved = [isinstance(v, Literal) or v in dependent for v in eqn.invars]
                found = _hold_result(eqn, operands, moved, axes)
            if found is None:
                # As it was: a rule has nothing to say, or would only move examples.
                arrays = evaluate(eqn, [one.plain() for one in operands])
                pairs = zip(eqn.outvars, arrays, strict=True)
                held.update((v, _Held(axes[v], plain=array)) for v, array in pairs)
            else:
                held[eqn.outvars[0]] = found
        first, *others = (_read(held, atom) for atom in jaxpr.outvars)
        return [first.plain(), *(one.last() for one in others)]

    def shape_of(v: Any, is_last: bool) -> jax.ShapeDtypeStruct:
        axis = axes[v] if is_last else None
        shape = _turned(v.aval.shape, axis)
        return jax.ShapeDtypeStruct(shape, v.aval.dtype, weak_type=v.aval.weak_type)

    shapes = [shape_of(v, i >= plain_until) for i, v in enumerate(jaxpr.invars)]
    return jax.make_jaxpr(function)(*shapes)


def _worth_it(traced: ClosedJaxpr, axes: dict[Any, int | None], known: int) -> bool:
    """Whether most elements are in arrays that are longer along examples than along the last axis.

    A product for each example is done as it was, so its elements count among the others.
    """
    dependent: set[Any] = set(traced.jaxpr.invars[known:])
    longer = 0
    for eqn in traced.jaxpr.eqns:
        if not dependent.intersection(variables(eqn.invars)):
            continue
        dependent.update(eqn.outvars)
        products = eqn.primitive.name == "dot_general" and any(eqn.params["dimension_numbers"][1])
        for v in eqn.outvars:
            shape, axis = v.aval.shape, axes[v]
            if axis is not None and axis != len(shape) - 1:
                better = shape[axis] > shape[-1] and not products
                longer += math.prod(shape) if better else -math.prod(shape)
    return longer > 0


def _read(held: dict[Any, _Held], atom: Any) -> _Held:
    constant = isinstance(atom, Literal)
    return _Held(None, plain=jnp.asarray(atom.val, atom.aval.dtype)) if constant else held[atom]


def _example_axes(traced: ClosedJaxpr, twice: ClosedJaxpr) -> dict[Any, int | None] | None:
    """For each variable the one axis that doubles with the examples; None if nothing is certain."""
    one, two = traced.jaxpr, twice.jaxpr
    if [e.primitive.name for e in one.eqns] != [e.primitive.name for e in two.eqns]:
        return None
    pairs: list[tuple[Any, Any]] = list(zip(one.invars, two.invars, strict=True))
    pairs += zip(one.constvars, two.constvars, strict=False)
    for a, b in zip(one.eqns, two.eqns, strict=True):
        pairs += zip(a.outvars, b.outvars, strict=True)
    return {v: axis_of_examples(v.aval.shape, w.aval.shape) for v, w in pairs}


def axis_of_examples(one: Sequence[int], two: Sequence[int]) -> int | None:
    """The one axis of a shape that is twice as long for twice the examples; None where none is."""
    grown = [i for i, (m, n) in enumerate(zip(one, two, strict=False)) if m != n]
    return grown[0] if len(grown) == 1 and 2 * one[grown[0]] == two[grown[0]] else None


def _hold_result(
    eqn: Any, operands: list[_Held], moved: list[bool], axes: dict[Any, int | None]
) -> _Held | None:
    """The result of an equation from operands with their examples last.

    Args:
        eqn: the equation.
        operands: of it.
        moved: which of them depend on more than what is known at first.
        axes: of examples, by variable.

    Returns:
        None where it has to be computed as it was.
    """
    name, axis = eqn.primitive.name, axes[eqn.outvars[0]]
    apart = name == "broadcast_in_dim" or any(one.axis is not None for one in operands)
    if name not in _RULES or not apart:
        return None
    array = _RULES[name](eqn, operands, moved, axis)
    if array is None:
        return None
    return _Held(axis, plain=array) if axis is None else _Held(axis, last=array)


def _order(ndim: int, axis: int | None) -> list[int]:
    """Axes in the order in which they are held."""
    return [a for a in range(ndim) if a != axis] + ([] if axis is None else [axis])


def _place(axes: Sequence[int], ndim: int, axis: int | None) -> tuple[int, ...]:
    """Where these axes of an array are held."""
    order = _order(ndim, axis)
    return tuple(order.index(a) for a in axes)


def _turned(setting: Sequence[Any], axis: int | None) -> tuple[Any, ...]:
    """A setting for each axis in the order in which they are held."""
    return tuple(setting[a] for a in _order(len(setting), axis))


def _apply(eqn: Any, arrays: Sequence[Array], **params: Any) -> Array:
    (result,) = evaluate(eqn.replace(params=eqn.params | params) if params else eqn, arrays)
    return result


def _elementwise(eqn: Any, operands: list[_Held], moved: list[bool], axis: int | None) -> Any:
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


def _broadcast_in_dim(eqn: Any, operands: list[_Held], moved: list[bool], axis: int | None) -> Any:
    (value,), p = operands, eqn.params
    dimensions, shape = p["broadcast_dimensions"], p["shape"]
    if axis is None or (value.axis is not None and dimensions[value.axis] != axis):
        return None
    ndim = eqn.invars[0].aval.ndim
    own = [dimensions[a] for a in _order(ndim, value.axis)]
    stretched = value.axis is None and axis in own
    if stretched:  # an axis of size 1 becomes that of examples: it has to be held last too
        own = [d for d in own if d != axis] + [axis]
        array = jnp.moveaxis(value.plain(), dimensions.index(axis), -1)
    else:
        array = value.last()
    return jax.lax.broadcast_in_dim(array, _turned(shape, axis), _place(own, len(shape), axis))


def _reshape(eqn: Any, operands: list[_Held], moved: list[bool], axis: int | None) -> Any:
    value, before, after = operands[0], eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape
    turned = eqn.primitive.name == "reshape" and eqn.params["dimensions"] is not None
    if axis is None or value.axis is None or turned:
        return None
    # An axis into which examples and others are merged, or that is split into them, is another one.
    alone = before[value.axis] == after[axis]
    if not alone or math.prod(before[: value.axis]) != math.prod(after[:axis]):
        return None
    return value.last().reshape(_turned(after, axis))


def _transpose(eqn: Any, operands: list[_Held], moved: list[bool], axis: int | None) -> Any:
    (value,), order = operands, eqn.params["permutation"]
    of_result = _order(len(order), axis)
    permutation = _place([order[a] for a in of_result], len(order), value.axis)
    return jnp.transpose(value.last(), permutation)


def _along_axes(name: str) -> Callable[..., Any]:
    """A rule of what runs along the axes that a parameter names."""

    def rule(eqn: Any, operands: list[_Held], moved: list[bool], axis: int | None) -> Any:
        (value,), ndim = operands, eqn.invars[0].aval.ndim
        named = eqn.params[name]
        if isinstance(named, int):
            return _apply(eqn, [value.last()], **{name: _place([named], ndim, value.axis)[0]})
        return _apply(eqn, [value.last()], **{name: _place(named, ndim, value.axis)})

    return rule


def _slice(eqn: Any, operands: list[_Held], moved: list[bool], axis: int | None) -> Any:
    (value,), p = operands, eqn.params
    if value.axis != axis:
        return None
    return _apply(
        eqn,
        [value.last()],
        start_indices=_turned(p["start_indices"], axis),
        limit_indices=_turned(p["limit_indices"], axis),
        strides=None if p["strides"] is None else _turned(p["strides"], axis),
    )


def _pad(eqn: Any, operands: list[_Held], moved: list[bool], axis: int | None) -> Any:
    value, filling = operands
    if value.axis != axis:
        return None
    config = _turned(eqn.params["padding_config"], axis)
    return _apply(eqn, [value.last(), filling.plain()], padding_config=config)


def _dynamic_slice(eqn: Any, operands: list[_Held], moved: list[bool], axis: int | None) -> Any:
    value, *starts = operands
    if value.axis != axis:
        return None
    begins = [one.plain() for one in _turned(starts, axis)]
    sizes = _turned(eqn.params["slice_sizes"], axis)
    return _apply(eqn, [value.last(), *begins], slice_sizes=sizes)


def _dynamic_update_slice(
    eqn: Any, operands: list[_Held], moved: list[bool], axis: int | None
) -> Any:
    value, update, *starts = operands
    if value.axis != axis or update.axis != axis:
        return None
    begins = [one.plain() for one in _turned(starts, axis)]
    return _apply(eqn, [value.last(), update.last(), *begins])


def _concatenate(eqn: Any, operands: list[_Held], moved: list[bool], axis: int | None) -> Any:
    if axis is None or any(one.axis != axis for one in operands):
        return None
    ndim = eqn.outvars[0].aval.ndim
    (dimension,) = _place([eqn.params["dimension"]], ndim, axis)
    return _apply(eqn, [one.last() for one in operands], dimension=dimension)


def _dot_general(eqn: Any, operands: list[_Held], moved: list[bool], axis: int | None) -> Any:
    """Weights by examples, in this order.

    Examples that are known at first are taken as they were, by the product that the loss has too.
    """
    (contract, batch) = eqn.params["dimension_numbers"]
    sides = [i for i, one in enumerate(operands) if one.axis is not None]
    if axis is None or len(sides) != 1 or any(batch) or not moved[sides[0]]:
        return None
    (i,), ndims = sides, [v.aval.ndim for v in eqn.invars]
    value, other = operands[i], operands[1 - i]
    if value.axis in contract[i]:
        return None
    mine = _place(contract[i], ndims[i], value.axis)
    numbers = ((tuple(contract[1 - i]), mine), ((), ()))
    array = _apply(eqn, [other.plain(), value.last()], dimension_numbers=numbers)
    free, others = ndims[i] - len(mine) - 1, ndims[1 - i] - len(mine)
    if i == 0:  # what is free of the examples' side comes first
        array = jnp.moveaxis(array, range(others), range(free, free + others))
    return array


_RULES: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    "broadcast_in_dim": _broadcast_in_dim,
    **dict.fromkeys(("reshape", "squeeze", "expand_dims"), _reshape),
    "transpose": _transpose,
    **dict.fromkeys(
        (
            *("reduce_sum", "reduce_prod", "reduce_max", "reduce_min", "reduce_and", "reduce_or"),
            *("argmax", "argmin"),
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
