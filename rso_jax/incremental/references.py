"""Programs that compute less ahead than ``column_program``: for comparison, and as references."""

from collections.abc import Callable
from typing import Any

import jax
from jax import Array

from rso_jax.arrays import struct_of
from rso_jax.incremental.program import ColumnProgram, ColumnView, Residuals
from rso_jax.incremental.staging import run, split

PyTree = Any


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

    def prefix(params: PyTree, batch: PyTree) -> Residuals:
        return tuple(run(first, values(params, batch)))

    def loss(view: ColumnView, weights: Array, z: Residuals) -> Array:
        known = values(view.params, view.batch) | dict(zip(first.gives, view.prefix, strict=True))
        leaf = known[traced.jaxpr.invars[-1]]
        known[traced.jaxpr.invars[-1]] = _with_column(leaf, view.index, weights)
        (value,) = run(last, known)
        return value

    return ColumnProgram(loss_fn, prefix, _nothing, _nothing, _nothing, loss)


def full_forward_program(
    loss_fn: Callable[[PyTree, PyTree], Array], leaf_index: int
) -> ColumnProgram:
    """The reference: nothing is computed ahead, every candidate runs the whole loss.

    Args:
        loss_fn: ``loss_fn(params, batch)``, a scalar.
        leaf_index: place of the leaf among the flattened parameters.
    """

    def loss(view: ColumnView, weights: Array, z: Residuals) -> Array:
        leaves, treedef = jax.tree.flatten(view.params)
        leaves[leaf_index] = _with_column(leaves[leaf_index], view.index, weights)
        return loss_fn(jax.tree.unflatten(treedef, leaves), view.batch)

    return ColumnProgram(loss_fn, _nothing, _nothing, _nothing, _nothing, loss)


def _with_column(leaf: Array, index: Array, weights: Array) -> Array:
    return leaf.at[..., index].set(weights) if leaf.ndim else weights


def _nothing(*_: Any) -> Residuals:
    return ()
