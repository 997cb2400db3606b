"""Column programs: what a candidate costs once all that it cannot change is computed.

``column_program`` traces a loss once for a leaf and cuts it into functions::

    prefix    = program.prefix(params, batch)                        once per mini-batch
    column    = program.column(params, batch, prefix, o)             once per column, mini-batch
    z         = program.preactivation(params, batch, prefix, column, o, w)
    direction = program.direction(params, batch, prefix, column, o, k)
    loss      = program.loss(params, batch, prefix, column, o, w, z)  once per candidate

``w`` are the weights of column ``o`` of the leaf. None of them reads what ``params`` holds in that
column; ``prefix`` reads nothing of the leaf. ``z`` is linear in ``w``: the weight at ``k``, in
row-major order, changed by d changes ``z`` by d times ``direction``. Where no such z is found it
is empty, and ``loss`` starts from the weights.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import ClosedJaxpr

from rso_jax.arrays import struct_of
from rso_jax.incremental.directions import one_hot_at
from rso_jax.incremental.interpreter import interpret
from rso_jax.incremental.linear import direction, linear_entry
from rso_jax.incremental.staging import of_equations, run, split
from rso_jax.incremental.values import Dense, Same, Sliced, whole

PyTree = Any
Residuals = tuple[Array, ...]


class ColumnProgram(NamedTuple):
    """A loss as a function of one column of one leaf, in stages."""

    prefix: Callable[[PyTree, PyTree], Residuals]
    """``(params, batch)``: all that no weight of the leaf touches."""
    column: Callable[[PyTree, PyTree, Residuals, Array], Residuals]
    """``(params, batch, prefix, o)``: all that no weight of column ``o`` touches."""
    preactivation: Callable[[PyTree, PyTree, Residuals, Residuals, Array, Array], Residuals]
    """``(params, batch, prefix, column, o, weights)``: what these weights enter linearly."""
    direction: Callable[[PyTree, PyTree, Residuals, Residuals, Array, Array], Residuals]
    """``(params, batch, prefix, column, o, k)``: what a change of 1 of weight ``k`` adds to it."""
    loss: Callable[[PyTree, PyTree, Residuals, Residuals, Array, Array, Residuals], Array]
    """``(params, batch, prefix, column, o, weights, preactivation)``."""


def column_program(
    loss_fn: Callable[[PyTree, PyTree], Array], params: PyTree, batch: PyTree, leaf_index: int
) -> ColumnProgram:
    """Stage a loss for the columns of one leaf.

    A column is what feeds one output: the leaf with its last axis fixed. A leaf of one axis has
    columns of one scalar; a scalar leaf is one column.

    Args:
        loss_fn: ``loss_fn(params, batch)``, a scalar; any JAX function.
        params: pytree of arrays or ``jax.ShapeDtypeStruct``.
        batch: one mini-batch, likewise. The program is for these shapes.
        leaf_index: place of the leaf among the flattened parameters.
    """
    arrays, treedef = jax.tree.flatten((params, batch))
    others = [struct_of(a) for a in arrays]
    leaf = others.pop(leaf_index)

    def loss_of(leaf: Any, others: list[Any]) -> Array:
        given = [*others[:leaf_index], leaf, *others[leaf_index:]]
        return loss_fn(*jax.tree.unflatten(treedef, given))

    loss = jax.make_jaxpr(loss_of)(leaf, others)

    def of_column(others: list[Array], leaf: Array, o: Array, weights: Array) -> Array:
        axis = leaf.ndim - 1
        changed = Sliced(leaf, weights[..., None], axis) if leaf.ndim else Dense(weights)
        inputs = [changed, *(Same(a) for a in others)]
        (value,) = interpret(loss.jaxpr, loss.consts, inputs, o)
        return whole(value, o)

    index = jax.ShapeDtypeStruct((), jnp.int32)
    weights = jax.ShapeDtypeStruct(leaf.shape[:-1], leaf.dtype)
    in_parts, z = _with_linear_entry(jax.make_jaxpr(of_column)(others, leaf, index, weights))
    traced = jax.make_jaxpr(in_parts)([*others, leaf, index, weights], index, z)
    first, second, last = split(traced, [0] * len(others) + [1, 1, 2, 2] + [2] * len(z))
    n = len(others)
    *known_vars, o_var, w_var, k_var = traced.jaxpr.invars[: n + 4]
    z_vars = traced.jaxpr.invars[n + 4 :]
    to_loss, to_z, to_direction = (
        of_equations(last.eqns, gives, last.constants)
        for gives in (last.gives[:1], last.gives[1 : len(z) + 1], last.gives[len(z) + 1 :])
    )

    def values(params: PyTree, batch: PyTree, *more: tuple[Any, Any]) -> dict[Any, Array]:
        found = jax.tree.leaves((params, batch))
        leaf = found.pop(leaf_index)
        known = dict(zip(known_vars, [*found, leaf], strict=True))
        for variables, arrays in more:
            known |= dict(zip(variables, arrays, strict=True))
        return known

    def before(o: Array, prefix: Residuals) -> list[tuple[Any, Any]]:
        return [(first.gives, prefix), ([o_var], [jnp.asarray(o, jnp.int32)])]

    def prefix(params: PyTree, batch: PyTree) -> Residuals:
        return tuple(run(first, values(params, batch)))

    def column(params: PyTree, batch: PyTree, prefix: Residuals, o: Array) -> Residuals:
        return tuple(run(second, values(params, batch, *before(o, prefix))))

    def preactivation(
        params: PyTree,
        batch: PyTree,
        prefix: Residuals,
        column: Residuals,
        o: Array,
        weights: Array,
    ) -> Residuals:
        ahead = (*before(o, prefix), (second.gives, column))
        return tuple(run(to_z, values(params, batch, *ahead, ([w_var], [weights]))))

    def direction_of(
        params: PyTree, batch: PyTree, prefix: Residuals, column: Residuals, o: Array, k: Array
    ) -> Residuals:
        ahead = (*before(o, prefix), (second.gives, column))
        at = ([k_var], [jnp.asarray(k, jnp.int32)])
        return tuple(run(to_direction, values(params, batch, *ahead, at)))

    def loss_of_weights(
        params: PyTree,
        batch: PyTree,
        prefix: Residuals,
        column: Residuals,
        o: Array,
        weights: Array,
        z: Residuals,
    ) -> Array:
        ahead = (*before(o, prefix), (second.gives, column))
        given = values(params, batch, *ahead, ([w_var], [weights]), (z_vars, z))
        (value,) = run(to_loss, given)
        return value

    return ColumnProgram(prefix, column, preactivation, direction_of, loss_of_weights)


def _with_linear_entry(
    traced: ClosedJaxpr,
) -> tuple[Callable[..., list[Array]], list[jax.ShapeDtypeStruct]]:
    """The loss of a column, entered at the weights or, where there is one, at z.

    Args:
        traced: the loss as a function of ``(*inputs, weights)``.

    Returns:
        ``function((*inputs, weights), k, z) -> [loss from z, z of the weights, direction k]``, and
        the shapes of z.
    """
    inputs = traced.jaxpr.invars
    ahead, after = split(traced, [0] * (len(inputs) - 1) + [1])
    entry = linear_entry(after.eqns, inputs[-1], after.gives)
    to_z = of_equations(entry.eqns, entry.gives, after.constants)
    beyond = [eqn for eqn in after.eqns if not set(eqn.outvars) & set(entry.gives)]
    to_loss = of_equations(beyond, after.gives, after.constants)

    def function(given: list[Array], k: Array, z: list[Array]) -> list[Array]:
        values = dict(zip(inputs, given, strict=True))
        values |= dict(zip(ahead.gives, run(ahead, values), strict=True))
        one = one_hot_at(k, inputs[-1].aval.shape)
        directions = direction(entry, inputs[-1], values | after.constants, one)
        made = run(to_z, values)
        return [
            *run(to_loss, values | dict(zip(entry.gives, z, strict=True))),
            *made,
            *directions,
        ]

    return function, [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in entry.gives]


def cached_forward_program(
    loss_fn: Callable[[PyTree, PyTree], Array], params: PyTree, batch: PyTree, leaf_index: int
) -> ColumnProgram:
    """Activation caching alone: what no weight of the leaf touches is computed once.

    What most implementations do, for comparison. Arguments as of ``column_program``.
    """
    arrays, treedef = jax.tree.flatten((params, batch))
    others = [struct_of(a) for a in arrays]
    leaf = others.pop(leaf_index)

    def loss_of(others: list[Any], leaf: Any) -> Array:
        given = [*others[:leaf_index], leaf, *others[leaf_index:]]
        return loss_fn(*jax.tree.unflatten(treedef, given))

    traced = jax.make_jaxpr(loss_of)(others, leaf)
    first, last = split(traced, [0] * len(others) + [1])

    def values(params: PyTree, batch: PyTree) -> dict[Any, Array]:
        found = jax.tree.leaves((params, batch))
        leaf = found.pop(leaf_index)
        return dict(zip(traced.jaxpr.invars, [*found, leaf], strict=True))

    def loss(
        params: PyTree,
        batch: PyTree,
        prefix: Residuals,
        column: Residuals,
        o: Array,
        weights: Array,
        z: Residuals,
    ) -> Array:
        known = values(params, batch) | dict(zip(first.gives, prefix, strict=True))
        leaf = known[traced.jaxpr.invars[-1]]
        known[traced.jaxpr.invars[-1]] = leaf.at[..., o].set(weights) if leaf.ndim else weights
        (value,) = run(last, known)
        return value

    def prefix(params: PyTree, batch: PyTree) -> Residuals:
        return tuple(run(first, values(params, batch)))

    return ColumnProgram(prefix, _nothing, _nothing, _nothing, loss)


def full_forward_program(
    loss_fn: Callable[[PyTree, PyTree], Array], leaf_index: int
) -> ColumnProgram:
    """The reference: nothing is computed ahead, every candidate runs the whole loss.

    Args:
        loss_fn: ``loss_fn(params, batch)``, a scalar.
        leaf_index: place of the leaf among the flattened parameters.
    """

    def loss(
        params: PyTree,
        batch: PyTree,
        prefix: Residuals,
        column: Residuals,
        o: Array,
        weights: Array,
        z: Residuals,
    ) -> Array:
        leaves, treedef = jax.tree.flatten(params)
        leaf = leaves[leaf_index]
        leaves[leaf_index] = leaf.at[..., o].set(weights) if leaf.ndim else weights
        return loss_fn(jax.tree.unflatten(treedef, leaves), batch)

    return ColumnProgram(_nothing, _nothing, _nothing, _nothing, loss)


def _nothing(*_: Any) -> Residuals:
    return ()
