"""Layout: what the axes of each parameter array are for, found in the trace of the loss.

Frameworks store kernels in many layouts: [in, out], [out, in], [height, width, in, out], [out, in,
height, width], [in, heads, width], [layers, in, out]. Which axes hold the inputs of a unit is not
to be seen from an array, but from its first product with data: these axes it contracts.

Arrays are followed from the parameters through whatever rearranges or rescales them to their first
product with something that depends on the batch. One that meets only other weights or constants is
read off its first product with those; one that meets no product at all (a scale, a shift, an
embedding of positions) has its outputs last.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from rso_jax.incremental.arithmetic import is_elementwise
from rso_jax.incremental.jaxprs import called_by, inner_jaxprs, scan_parts
from rso_jax.leaves.columns import Axes, outputs_last
from rso_jax.leaves.views import (
    MOVES,
    View,
    contracted_to,
    extent,
    leaf_axes,
    one_of,
    resized,
    spread,
    view_of,
)

PyTree = Any


class _Value(NamedTuple):
    """What is known of a value."""

    data: bool
    """Whether it depends on the batch."""
    views: dict[int, View]
    """By leaf; none where it depends on the batch."""


class _Found(NamedTuple):
    """What is known of the leaves; what was found first stays."""

    with_data: dict[int, Axes]
    with_weights: dict[int, Axes]
    apart: dict[int, frozenset[int]]
    """Stacked axes of leaves that met data otherwise than in a product."""


_CONSTANT = _Value(False, {})
_DATA = _Value(True, {})


def axes_of(
    loss_fn: Callable[[PyTree, PyTree], Array], params: PyTree, batch: PyTree
) -> tuple[Axes, ...]:
    """The axes of every leaf of ``params``, in flattening order.

    Args:
        loss_fn: ``loss_fn(params, batch)``, any JAX function.
        params: pytree of arrays or ``jax.ShapeDtypeStruct``.
        batch: one mini-batch, likewise.
    """
    traced = jax.make_jaxpr(loss_fn)(params, batch)
    return axes_in(traced, [np.shape(leaf) for leaf in jax.tree.leaves(params)])


def axes_in(traced: ClosedJaxpr, shapes: Sequence[tuple[int, ...]]) -> tuple[Axes, ...]:
    """The axes of the first arguments of a traced function.

    Args:
        traced: the loss as a function of its flattened parameters and batch.
        shapes: of the parameters.
    """
    found = _Found({}, {}, {})
    leaves = [_Value(False, {i: view_of(shape)}) for i, shape in enumerate(shapes)]
    _walk(traced.jaxpr, [*leaves, *[_DATA] * (len(traced.jaxpr.invars) - len(leaves))], found)
    return tuple(
        found.with_data.get(i)
        or found.with_weights.get(i)
        or outputs_last(shape, found.apart.get(i, ()))
        for i, shape in enumerate(shapes)
    )


def _walk(jaxpr: Jaxpr, inputs: Sequence[_Value], found: _Found) -> list[_Value]:
    values: dict[Any, _Value] = dict(zip(jaxpr.invars, inputs, strict=True))

    def read(atom: Any) -> _Value:
        return _CONSTANT if isinstance(atom, Literal) else values.get(atom, _CONSTANT)

    eqns: list[Any] = jaxpr.eqns
    for eqn in eqns:
        operands = [read(atom) for atom in eqn.invars]
        values.update(zip(eqn.outvars, _results(eqn, operands, found), strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _results(eqn: Any, operands: Sequence[_Value], found: _Found) -> Sequence[_Value]:
    name, results = eqn.primitive.name, len(eqn.outvars)
    if (called := called_by(eqn)) is not None:
        return _walk(called.jaxpr, operands, found)
    if name in _LOOPS:
        return _LOOPS[name](eqn, operands, found)
    if name in _PRODUCTS:
        return [_product(eqn, operands, found)]
    if any(value.data for value in operands):
        _met(eqn, operands, found)
        return [_DATA] * results
    if is_elementwise(eqn) or _joins(eqn):
        return [_Value(False, _combined(eqn, operands))]
    if name in MOVES and operands[0].views:
        moved = {leaf: MOVES[name](eqn, view) for leaf, view in operands[0].views.items()}
        return [
            _Value(False, {leaf: views[i] for leaf, views in moved.items() if views})
            for i in range(results)
        ]
    return [_CONSTANT] * results


def _met(eqn: Any, operands: Sequence[_Value], found: _Found) -> None:
    """Leaves that meet data here, not in a product."""
    for value in operands:
        for leaf, view in value.views.items():
            found.apart.setdefault(leaf, view.stacked)
    if eqn.primitive.name in ("gather", "dynamic_slice"):
        # Looking a row up is a product with a one-hot vector.
        sizes = zip(eqn.params["slice_sizes"], eqn.invars[0].aval.shape, strict=True)
        chosen = [axis for axis, (taken, size) in enumerate(sizes) if taken < size]
        for leaf, view in operands[0].views.items():
            if axes := _axes_at(view, chosen, ()):
                found.with_data.setdefault(leaf, axes)


# Products


def _roles_in_dot(eqn: Any) -> tuple[tuple[Sequence[int], Sequence[int]], ...]:
    contracted, stacked = eqn.params["dimension_numbers"]
    return tuple(zip(contracted, stacked, strict=True))


def _roles_in_convolution(eqn: Any) -> tuple[tuple[Sequence[int], Sequence[int]], ...]:
    _, inputs, *window = eqn.params["dimension_numbers"].rhs_spec
    return ((), ()), ((*window, inputs), ())


_PRODUCTS = {"dot_general": _roles_in_dot, "conv_general_dilated": _roles_in_convolution}
"""Axes of each operand that are contracted, and those that are stacked. Images are no kernels."""


def _product(eqn: Any, operands: Sequence[_Value], found: _Found) -> _Value:
    name, roles = eqn.primitive.name, _PRODUCTS[eqn.primitive.name](eqn)
    for value, other, (contracted, stacked) in zip(operands, operands[::-1], roles, strict=True):
        for leaf, view in value.views.items():
            axes = _axes_at(view, contracted, stacked, in_order=name != "dot_general")
            if axes:
                (found.with_data if other.data else found.with_weights).setdefault(leaf, axes)
            elif other.data:
                found.apart.setdefault(leaf, view.stacked)
    if any(value.data for value in operands):
        return _DATA
    views: dict[int, View] = {}
    for i, value in enumerate(operands if name == "dot_general" else ()):
        constants = not operands[1 - i].views
        for leaf, view in value.views.items():
            found_view = contracted_to(eqn, i, view, *roles[i], with_constants=constants)
            views.setdefault(leaf, found_view)
    return _Value(False, views)


def _axes_at(
    view: View, contracted: Sequence[int], stacked: Sequence[int], in_order: bool = False
) -> Axes | None:
    """The axes of a leaf, from where a view of it enters a product.

    Args:
        view: what enters.
        contracted: its axes that are summed over.
        stacked: its axes along which there are many products.
        in_order: whether the order of these is that of a column, or else that of the leaf is.

    Returns:
        None where there are inputs and outputs in one axis, or an axis is missing.
    """
    others = [i for i in range(len(view.dims)) if i not in (*contracted, *stacked)]
    inputs, outputs = leaf_axes(view, contracted), leaf_axes(view, others)
    apart = [*leaf_axes(view, stacked), *view.stacked]
    # What weights were summed over before is a bottleneck, if data are summed over now.
    before = sorted(view.summed)
    inputs, outputs = (inputs, [*outputs, *before]) if inputs else (before, outputs)
    for axis, size in enumerate(view.shape):
        if size == 1 and axis not in (*inputs, *outputs, *apart):
            (outputs if axis == len(view.shape) - 1 else inputs).append(axis)
    everywhere = sorted([*inputs, *outputs, *apart])
    if everywhere != [*range(len(view.shape))] or not inputs or len(view.shape) < 2:
        return None
    ordered = inputs if in_order else sorted(inputs)
    fan_in = math.prod(view.shape[axis] for axis in inputs)
    return Axes(tuple(ordered), tuple(sorted(outputs)), tuple(sorted(apart)), fan_in)


def _combined(eqn: Any, operands: Sequence[_Value]) -> dict[int, View]:
    """Views in an elementwise function of several values, or in what they are put together to."""
    shape, arrange = eqn.outvars[0].aval.shape, resized if _joins(eqn) else spread
    views: dict[int, View] = {}
    unclear: set[int] = set()
    for value in operands:
        for leaf, view in value.views.items():
            found, known = view._replace(dims=arrange(view.dims, shape)), views.get(leaf)
            if known and known != found and extent(known) == extent(found):
                unclear.add(leaf)
            if not known or extent(found) > extent(known):
                unclear.discard(leaf)
                views[leaf] = found
    return {leaf: view for leaf, view in views.items() if leaf not in unclear}


def _joins(eqn: Any) -> bool:
    return bool(eqn.primitive.name == "concatenate")


# Loops and branches


def _scan(eqn: Any, operands: Sequence[_Value], found: _Found) -> list[_Value]:
    consts, carried = scan_parts(eqn)
    (body,) = inner_jaxprs(eqn)
    scanned = [
        _Value(value.data, {leaf: one_of(view) for leaf, view in value.views.items()})
        for value in operands[consts + carried :]
    ]
    fixed = operands[:consts]

    def turn(carry: Sequence[_Value], found: _Found) -> list[_Value]:
        return _walk(body.jaxpr, [*fixed, *carry, *scanned], found)

    outs = _turned(turn, operands[consts : consts + carried], found)
    return [*outs[:carried], *(_Value(value.data, {}) for value in outs[carried:])]


def _while(eqn: Any, operands: Sequence[_Value], found: _Found) -> list[_Value]:
    ahead, consts = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
    body: Jaxpr = eqn.params["body_jaxpr"].jaxpr
    fixed = operands[ahead : ahead + consts]

    def turn(carry: Sequence[_Value], found: _Found) -> list[_Value]:
        return _walk(body, [*fixed, *carry], found)

    return _turned(turn, operands[ahead + consts :], found)


def _turned(
    turn: Callable[[Sequence[_Value], _Found], list[_Value]],
    carry: Sequence[_Value],
    found: _Found,
) -> list[_Value]:
    """A loop, first without finding anything, until what is known of what it carries stays."""
    while True:
        outs = turn(carry, _Found({}, {}, {}))
        after = [
            _Value(old.data or new.data, old.views if old.views == new.views else {})
            for old, new in zip(carry, outs, strict=False)
        ]
        if after == [*carry]:
            return turn(carry, found)
        carry = after


def _cond(eqn: Any, operands: Sequence[_Value], found: _Found) -> list[_Value]:
    outs = [_walk(branch.jaxpr, operands[1:], found) for branch in inner_jaxprs(eqn)]
    data = operands[0].data
    return [
        _Value(
            data or any(value.data for value in values),
            values[0].views if all(value == values[0] for value in values) and not data else {},
        )
        for values in zip(*outs, strict=True)
    ]


_LOOPS: dict[str, Callable[[Any, Sequence[_Value], _Found], list[_Value]]] = {
    "cond": _cond,
    "scan": _scan,
    "while": _while,
}
