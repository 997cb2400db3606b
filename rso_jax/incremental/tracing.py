"""Tracing: a loss as a function of one column of one leaf, entered at its pre-activations."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import ClosedJaxpr

from rso_jax.incremental.column_loss import interpret_column, trace_loss
from rso_jax.incremental.contributions import direction, preactivations
from rso_jax.incremental.directions import one_hot_at
from rso_jax.incremental.jaxprs import variables
from rso_jax.incremental.linear import linear_entry
from rso_jax.incremental.staging import Portion, of_equations, run, split
from rso_jax.incremental.values import reading_incumbent, whole

PyTree = Any


class TracedColumn(NamedTuple):
    """A loss of one column as one traced function, and what it was traced for."""

    loss_fn: Callable[[PyTree, PyTree], Array]
    """``(params, batch)``."""
    leaf_index: int
    """Place of the leaf among the flattened parameters."""
    from_incumbent: bool
    """Whether all of the leaf is known before its columns are."""
    traced: ClosedJaxpr
    """``(*arrays, index, weights, place, *z) -> (loss from z, *z of the weights, *direction)``; the
    arrays are those of parameters and mini-batch, the leaf last."""
    preactivations: int
    """How many arrays z has."""


def trace_column(
    loss_fn: Callable[[PyTree, PyTree], Array],
    params: PyTree,
    batch: PyTree,
    leaf_index: int,
    *,
    from_incumbent: bool,
    to_products: bool,
) -> TracedColumn:
    """Trace a loss for the columns of one leaf; arguments as of ``column_program``."""
    loss, leaf, others = trace_loss(loss_fn, params, batch, leaf_index)

    def at_column(others: list[Array], leaf: Array, o: Array, weights: Array) -> Array:
        with reading_incumbent(from_incumbent):
            (value,) = interpret_column(loss, others, leaf, o, weights)
        return whole(value)

    index = jax.ShapeDtypeStruct((), jnp.int32)
    weights = jax.ShapeDtypeStruct(leaf.shape[:-1], leaf.dtype)
    at_weights = jax.make_jaxpr(at_column)(others, leaf, index, weights)
    in_parts, z = _with_linear_entry(at_weights, to_products)
    traced = jax.make_jaxpr(in_parts)([*others, leaf, index, weights], index, z)
    return TracedColumn(loss_fn, leaf_index, from_incumbent, traced, len(z))


def _constants(*stages: Portion) -> set[Any]:
    """Variables of arrays that depend on nothing that the function is given."""
    found = {v for stage in stages for v in stage.constants}
    for eqn in (eqn for stage in stages for eqn in stage.eqns):
        if found.issuperset(variables(eqn.invars)):
            found.update(eqn.outvars)
    return found


def _with_linear_entry(
    traced: ClosedJaxpr, to_products: bool
) -> tuple[Callable[..., list[Array]], list[jax.ShapeDtypeStruct]]:
    """The loss of a column, entered at the weights or, where there is one, at z.

    Args:
        traced: the loss as a function of ``(*inputs, weights)``.
        to_products: as of ``column_program``.

    Returns:
        ``function((*inputs, weights), k, z) -> [loss from z, z of the weights, direction k]``, and
        the shapes of z.
    """
    inputs = traced.jaxpr.invars
    ahead, after = split(traced, [0] * (len(inputs) - 1) + [1])
    entry = linear_entry(
        after.eqns,
        inputs[-1],
        after.gives,
        constants=_constants(ahead, after),
        to_products=to_products,
    )
    to_z = of_equations(entry.eqns, entry.gives, after.constants)
    beyond = [eqn for eqn in after.eqns if not set(eqn.outvars) & set(entry.gives)]
    to_loss = of_equations(beyond, after.gives, after.constants)

    def function(given: list[Array], k: Array, z: list[Array]) -> list[Array]:
        values = dict(zip(inputs, given, strict=True))
        values |= dict(zip(ahead.gives, run(ahead, values), strict=True))
        one = one_hot_at(k, inputs[-1].aval.shape)
        directions = direction(entry, inputs[-1], values | after.constants, one)
        made = None
        if not to_products:
            made = preactivations(entry, inputs[-1], values | after.constants, given[-1])
        made = run(to_z, values) if made is None else made
        return [
            *run(to_loss, values | dict(zip(entry.gives, z, strict=True))),
            *made,
            *directions,
        ]

    return function, [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in entry.gives]
