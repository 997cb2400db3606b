"""Biases: what is added to the pre-activations of another leaf, and to nothing else.

A pre-activation that moves says as much of what is added to it as of the weights that it is made
of, so the slopes of a bias follow from the probes of its layer, without one of its own.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import Literal

from rso_jax.incremental.jaxprs import variables, without_calls
from rso_jax.leaves import Leaf

PyTree = Any
_Axes = tuple[int, ...]
"""Of an array: those along which the columns of a leaf lie, in their order."""

_RESHAPES = ("copy", "convert_element_type", "expand_dims", "reshape", "squeeze")


def find_biases(
    losses_fn: Callable[[PyTree, PyTree], Any],
    params: PyTree,
    batch: PyTree,
    leaves: Sequence[Leaf],
) -> dict[int, int]:
    """By the position of a bias that of the leaf to whose pre-activations it is added.

    The loss depends on both by way of the sum alone, a column of one for each of the other.

    Args:
        losses_fn: of params and a mini-batch.
        params: arrays or ``jax.ShapeDtypeStruct``.
        batch: one mini-batch, likewise.
        leaves: those looked at.
    """
    traced = without_calls(jax.make_jaxpr(losses_fn)(params, batch)).jaxpr
    readers: dict[Any, list[Any]] = defaultdict(list)
    for eqn in traced.eqns:
        for v in variables(eqn.invars):
            readers[v].append(eqn)
    for v in variables(traced.outvars):
        readers[v].append(None)

    biases: dict[tuple[int, _Axes], int] = {}
    weights: dict[tuple[int, _Axes], int] = {}
    for leaf in leaves:
        if leaf.axes.stacked or not leaf.shape:
            continue
        own = traced.invars[leaf.position]
        long = [axis for axis, n in enumerate(leaf.shape) if n > 1]
        outputs = tuple(axis for axis in leaf.axes.outputs if axis in long)
        if met := _sum_with(own, tuple(long), readers, products=0):
            biases[met] = leaf.position
        elif met := _sum_with(own, outputs, readers, products=1):
            weights[met] = leaf.position
    return {biases[met]: weights[met] for met in biases if met in weights}


def _sum_with(
    variable: Any, axes: _Axes, readers: dict[Any, list[Any]], products: int
) -> tuple[int, _Axes] | None:
    """The sum that an array enters, and along which axes of it the columns lie.

    Args:
        variable: of the array.
        axes: along which they lie in it.
        readers: equations that read each variable.
        products: how many products it passes on the way.

    Returns:
        The ``id`` of the equation, and the axes; None where something else reads the array.
    """
    while True:
        if len(readers[variable]) != 1 or (eqn := readers[variable][0]) is None:
            return None
        name = eqn.primitive.name
        if name in ("add", "add_any"):
            return (id(eqn), axes) if not products and _adds_arrays(eqn) else None
        found = _follow(eqn, variable, axes)
        if name in ("dot_general", "conv_general_dilated"):
            products -= 1
        if found is None or products < 0:
            return None
        (variable,), axes = eqn.outvars, found


def _adds_arrays(eqn: Any) -> bool:
    first, second = eqn.invars
    return not isinstance(first, Literal) and not isinstance(second, Literal) and first != second


def _follow(eqn: Any, variable: Any, axes: _Axes) -> _Axes | None:
    """Along which axes of the result columns lie that lie along these of an operand."""
    name, p, result = eqn.primitive.name, eqn.params, eqn.outvars[0].aval
    before = variable.aval.shape
    if name == "transpose":
        return tuple(p["permutation"].index(a) for a in axes)
    if name == "broadcast_in_dim":
        found = tuple(p["broadcast_dimensions"][a] for a in axes)
        kept = all(before[a] == result.shape[b] for a, b in zip(axes, found, strict=True))
        return found if kept else None
    if name in _RESHAPES:
        return _reshaped(before, result.shape, axes)
    if name == "dot_general":
        return _of_product(eqn, variable, axes)
    if name == "conv_general_dilated":
        numbers = p["dimension_numbers"]
        outputs = eqn.invars[1] is variable and axes == (numbers.rhs_spec[0],)
        return (numbers.out_spec[1],) if outputs and p["batch_group_count"] == 1 else None
    return None


def _reshaped(before: Sequence[int], after: Sequence[int], axes: _Axes) -> _Axes | None:
    """The axes of another shape of as many elements that are these of the first."""
    found = []
    for a in axes:
        outer = math.prod(before[:a])
        same = [
            b
            for b, n in enumerate(after)
            if n == before[a] and math.prod(after[:b]) == outer and b not in found
        ]
        if not same:
            return None
        found.append(same[0])
    return tuple(found)


def _of_product(eqn: Any, variable: Any, axes: _Axes) -> _Axes | None:
    """The axes of a product that its operand's free ones become."""
    contract, batch = eqn.params["dimension_numbers"]
    side = eqn.invars.index(variable)
    free = [
        [a for a in range(v.aval.ndim) if a not in (*contract[i], *batch[i])]
        for i, v in enumerate(eqn.invars)
    ]
    if any(a not in free[side] for a in axes):
        return None
    begin = len(batch[0]) + (len(free[0]) if side else 0)
    return tuple(begin + free[side].index(a) for a in axes)
