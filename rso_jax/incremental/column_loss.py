"""The loss of one column: traced for a leaf, interpreted for what the column can change."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import ClosedJaxpr

from rso_jax.arrays import struct_of
from rso_jax.incremental.indices import column_index
from rso_jax.incremental.interpreter import interpret
from rso_jax.incremental.notes import Note, Notes
from rso_jax.incremental.values import Same, Value, of_column

PyTree = Any


def trace_loss(
    loss_fn: Callable[[PyTree, PyTree], Array], params: PyTree, batch: PyTree, leaf_index: int
) -> tuple[ClosedJaxpr, jax.ShapeDtypeStruct, list[jax.ShapeDtypeStruct]]:
    """The loss as a function of the leaf and of all other arrays, and their shapes."""
    arrays, treedef = jax.tree.flatten((params, batch))
    others = [struct_of(a) for a in arrays]
    leaf = others.pop(leaf_index)

    def loss_of(leaf: Any, others: list[Any]) -> Array:
        given = [*others[:leaf_index], leaf, *others[leaf_index:]]
        return loss_fn(*jax.tree.unflatten(treedef, given))

    return jax.make_jaxpr(loss_of)(leaf, others), leaf, others


def interpret_column(
    loss: ClosedJaxpr,
    others: list[Array],
    leaf: Array,
    o: Array,
    weights: Array,
    notes: Notes | None = None,
) -> list[Value]:
    """The value of the loss for a column of the leaf."""
    columns = leaf.shape[-1] if leaf.ndim else 1
    changed = of_column(leaf, weights, column_index(o, columns))
    return interpret(loss.jaxpr, loss.consts, [changed, *map(Same, others)], notes)


def became_dense(
    loss_fn: Callable[[PyTree, PyTree], Array], params: PyTree, batch: PyTree, leaf_index: int
) -> list[Note]:
    """The operations from which on a column of a leaf can change a whole array.

    A candidate costs little up to them. Arguments as of ``column_program``; nothing is computed.
    """
    loss, leaf, others = trace_loss(loss_fn, params, batch, leaf_index)
    notes = Notes([])

    def at_column(others: list[Array], leaf: Array, o: Array, weights: Array) -> None:
        interpret_column(loss, others, leaf, o, weights, notes)

    index = jax.ShapeDtypeStruct((), jnp.int32)
    weights = jax.ShapeDtypeStruct(leaf.shape[:-1], leaf.dtype)
    jax.eval_shape(at_column, others, leaf, index, weights)
    return list(dict.fromkeys(notes.found))
