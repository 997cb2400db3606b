"""Column programs: what a candidate costs once all that it cannot change is computed.

``column_program`` traces a loss once for a leaf and cuts it into three functions::

    prefix   = program.prefix(params, batch)                        once per mini-batch
    column   = program.column(params, batch, prefix, o)             once per column, mini-batch
    loss     = program.loss(params, batch, prefix, column, o, w)    once per candidate

``w`` are the weights of column ``o`` of the leaf. Neither ``prefix`` nor ``column`` nor ``loss``
reads what ``params`` holds in that column; ``prefix`` reads nothing of the leaf.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rso_jax.incremental.interpreter import interpret
from rso_jax.incremental.staging import Stage, split
from rso_jax.incremental.values import Dense, Same, Sliced, whole

PyTree = Any
Residuals = tuple[Array, ...]


class ColumnProgram(NamedTuple):
    """A loss as a function of one column of one leaf, in three stages."""

    prefix: Callable[[PyTree, PyTree], Residuals]
    """``(params, batch)``: all that no weight of the leaf touches."""
    column: Callable[[PyTree, PyTree, Residuals, Array], Residuals]
    """``(params, batch, prefix, o)``: all that no weight of column ``o`` touches."""
    loss: Callable[[PyTree, PyTree, Residuals, Residuals, Array, Array], Array]
    """``(params, batch, prefix, column, o, weights)``: the loss with these weights there."""


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
    shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in arrays]
    leaf = shapes.pop(leaf_index)

    def traced_on(leaf: Any, others: list[Any]) -> tuple[PyTree, PyTree]:
        params, batch = jax.tree.unflatten(
            treedef, [*others[:leaf_index], leaf, *others[leaf_index:]]
        )
        return params, batch

    loss = jax.make_jaxpr(lambda leaf, others: loss_fn(*traced_on(leaf, others)))(leaf, shapes)

    def incremental(others: list[Array], leaf: Array, o: Array, weights: Array) -> Array:
        axis = leaf.ndim - 1
        changed = Sliced(leaf, weights[..., None], axis) if leaf.ndim else Dense(weights)
        inputs = [changed, *(Same(a) for a in others)]
        (value,) = interpret(loss.jaxpr, loss.consts, inputs, o)
        return whole(value, o)

    index = jax.ShapeDtypeStruct((), jnp.int32)
    weights = jax.ShapeDtypeStruct(leaf.shape[:-1], leaf.dtype)
    traced = jax.make_jaxpr(incremental)(shapes, leaf, index, weights)
    first, second, third = split(traced, [0] * len(shapes) + [1, 1, 2])
    *other_vars, leaf_var, index_var, weights_var = traced.jaxpr.invars

    def known(params: PyTree, batch: PyTree) -> dict[Any, Array]:
        found = jax.tree.leaves((params, batch))
        leaf = found.pop(leaf_index)
        return dict(zip(other_vars, found, strict=True)) | {leaf_var: leaf}

    def run(stage: Stage, values: dict[Any, Array]) -> Residuals:
        return tuple(stage.run(*(values[v] for v in stage.takes)))

    def prefix(params: PyTree, batch: PyTree) -> Residuals:
        return run(first, known(params, batch))

    def column(params: PyTree, batch: PyTree, prefix: Residuals, o: Array) -> Residuals:
        given = dict(zip(first.gives, prefix, strict=True))
        return run(second, known(params, batch) | given | {index_var: jnp.asarray(o, jnp.int32)})

    def loss_of_weights(
        params: PyTree,
        batch: PyTree,
        prefix: Residuals,
        column: Residuals,
        o: Array,
        weights: Array,
    ) -> Array:
        given = dict(zip(first.gives, prefix, strict=True))
        given |= dict(zip(second.gives, column, strict=True))
        given |= {index_var: jnp.asarray(o, jnp.int32), weights_var: weights}
        (value,) = run(third, known(params, batch) | given)
        return value

    return ColumnProgram(prefix, column, loss_of_weights)


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
    ) -> Array:
        leaves, treedef = jax.tree.flatten(params)
        leaf = leaves[leaf_index]
        leaves[leaf_index] = leaf.at[..., o].set(weights) if leaf.ndim else weights
        return loss_fn(jax.tree.unflatten(treedef, leaves), batch)

    return ColumnProgram(
        prefix=lambda params, batch: (),
        column=lambda params, batch, prefix, o: (),
        loss=loss,
    )
