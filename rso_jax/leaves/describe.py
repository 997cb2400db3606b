"""Which leaves of the parameters are searched, their layers, and where the loss meets them."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from rso_jax.errors import UserError
from rso_jax.incremental.jaxprs import inner_jaxprs
from rso_jax.leaves.columns import Outputs, axes_as_told
from rso_jax.leaves.layout import axes_in
from rso_jax.leaves.leaf import Leaf
from rso_jax.trees import choose, holds_weights, named_leaves

PyTree = Any


def searched_leaves(
    params: PyTree, searched: Callable[[str], bool] | PyTree | None = None
) -> list[bool]:
    """Which leaves of the parameters a search changes, in flattening order.

    Args:
        params: pytree of arrays or ``jax.ShapeDtypeStruct``.
        searched: which may be, as ``chosen`` takes it; those of floating point are.

    Raises:
        UserError: complex numbers among them, or nothing.
    """
    named = named_leaves(params)
    wanted = choose("searched", searched, params)
    for (path, array), want in zip(named.items(), wanted, strict=True):
        if want and jnp.issubdtype(jnp.result_type(array), jnp.complexfloating):
            raise UserError(f"{path} is complex; pass its real and imaginary parts instead")
    found = [want and holds_weights(a) for a, want in zip(named.values(), wanted, strict=True)]
    if not any(map(holds_weights, named.values())):
        raise UserError("params holds no floating-point array, so there is nothing to search")
    if not any(found):
        raise UserError(
            "searched leaves out every floating-point array, so there is nothing to search; "
            f"arrays are {', '.join(named)}"
        )
    return found


def mark_searched(params: PyTree, searched: Callable[[str], bool] | PyTree | None = None) -> PyTree:
    """Which leaves a search changes, as a pytree of booleans; arguments of ``searched_leaves``."""
    found = searched_leaves(params, searched)
    return jax.tree.unflatten(jax.tree.structure(params), found)


def describe_leaves(
    loss_fn: Callable[[PyTree, PyTree], PyTree],
    params: PyTree,
    batch: PyTree,
    searched: Callable[[str], bool] | PyTree | None = None,
    outputs: Outputs | None = None,
) -> tuple[Leaf, ...]:
    """The searched leaves of ``params``, their layers ranked by first use in the loss.

    A layer is the node that arrays hang from (``conv1`` of ``conv1/kernel``). Arrays at the
    root, or a tree with a single such node, are layers of their own. The rank comes from
    tracing the loss: the first operation where a parameter meets something that depends on
    the batch. A pytree flattens in the order of its keys' names, which says nothing about
    the network; the trace does. It says too what the axes of an array are for.

    Args:
        loss_fn: ``loss_fn(params, batch)``, a loss or several.
        params: pytree of arrays.
        batch: one mini-batch, arrays or ``jax.ShapeDtypeStruct``.
        searched: which leaves are, as ``searched_leaves`` takes it.
        outputs: by path the axes of arrays that hold their outputs, where the trace is wrong.

    Raises:
        UserError: nothing to search, or ``outputs`` of no array.
    """
    named = named_leaves(params)
    wanted = searched_leaves(params, searched)
    traced = jax.make_jaxpr(loss_fn)(params, batch)
    uses = _first_uses(traced, len(named))
    shapes = {path: np.shape(array) for path, array in named.items()}
    found = dict(zip(named, axes_in(traced, list(shapes.values())), strict=True))
    axes = axes_as_told(found, shapes, outputs or {})
    layers = _layers(list(named))

    first_use: dict[str, int] = {}
    for layer, use in zip(layers, uses, strict=True):
        first_use[layer] = min(use, first_use.get(layer, use))
    rank = {layer: i for i, layer in enumerate(sorted(first_use, key=lambda k: first_use[k]))}

    described = zip(named.items(), layers, wanted, strict=True)
    return tuple(
        Leaf(path, layer, i, np.shape(array), jnp.result_type(array), rank[layer], axes[path])
        for i, ((path, array), layer, is_searched) in enumerate(described)
        if is_searched
    )


def _layers(paths: list[str]) -> list[str]:
    parents = [path.rpartition("/")[0] for path in paths]
    if len(set(parents)) == 1:
        return paths
    return [parent or path for parent, path in zip(parents, paths, strict=True)]


def _first_uses(traced: ClosedJaxpr, parameters: int) -> list[int]:
    """For each of the first ``parameters`` inputs, when it first meets batch-dependent data."""
    never = 2**62
    first = [never] * parameters
    clock = 0

    class Value(NamedTuple):
        batch: bool  # depends on the batch
        waiting: frozenset[int]  # parameters it depends on that have not met the batch yet

    constant = Value(False, frozenset())

    def walk(jaxpr: Jaxpr, inputs: list[Value]) -> None:
        nonlocal clock
        values: dict[Any, Value] = defaultdict(lambda: constant)
        values.update(zip(jaxpr.invars, inputs, strict=True))
        for eqn in jaxpr.eqns:
            operands = [constant if isinstance(v, Literal) else values[v] for v in eqn.invars]
            held = inner_jaxprs(eqn)
            if len(held) == 1 and len(held[0].jaxpr.invars) == len(operands):
                walk(held[0].jaxpr, operands)
            clock += 1
            meets_batch = any(v.batch for v in operands)
            waiting = frozenset().union(*(v.waiting for v in operands))
            if meets_batch:
                for i in waiting:
                    first[i] = min(first[i], clock)
                waiting = frozenset()
            for var in eqn.outvars:
                values[var] = Value(meets_batch, waiting)

    inputs = [
        Value(False, frozenset([i])) if i < parameters else Value(True, frozenset())
        for i in range(len(traced.jaxpr.invars))
    ]
    walk(traced.jaxpr, inputs)
    return first
