"""Column programs held against the full loss, with NaN in all that a stage must not read."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rso_jax.incremental import ColumnProgram

STEP = 0.3
"""By which a weight is moved along its direction."""


def with_leaf(params: Any, leaf_index: int, leaf: Any) -> Any:
    """The parameters with one leaf replaced."""
    leaves, treedef = jax.tree.flatten(params)
    leaves[leaf_index] = leaf
    return jax.tree.unflatten(treedef, leaves)


def with_column(params: Any, leaf_index: int, o: int, weights: Any) -> Any:
    """The parameters with one column of a leaf replaced."""
    leaf = jax.tree.leaves(params)[leaf_index]
    column = leaf.at[..., o].set(weights) if leaf.ndim else jnp.asarray(weights, leaf.dtype)
    return with_leaf(params, leaf_index, column)


def check_column(
    program: ColumnProgram,
    loss_fn: Any,
    params: Any,
    batch: Any,
    leaf_index: int,
    o: int,
    weights: Any,
    k: int,
    rtol: float = 1e-12,
    atol: float = 1e-12,
) -> None:
    """Assert that every stage does as ``rso_jax.incremental.program`` says.

    Args:
        program: of the leaf.
        loss_fn: the full loss.
        params: pytree of arrays.
        batch: likewise.
        leaf_index: place of the leaf among the flattened parameters.
        o: a column.
        weights: what it holds.
        k: the weight of it that is moved along its direction.
        rtol: relative tolerance of losses.
        atol: absolute tolerance of losses, and that of z relative to its largest value over 100.
    """
    leaf = jax.tree.leaves(params)[leaf_index]
    prefix = program.prefix(with_leaf(params, leaf_index, jnp.full_like(leaf, jnp.nan)), batch)
    forgotten = with_column(params, leaf_index, o, jnp.nan)
    column = program.column(forgotten, batch, prefix, o)
    inside = (forgotten, batch, prefix, column, o)
    z = program.preactivation(*inside, weights)
    got = program.loss(*inside, weights, z)
    expected = loss_fn(with_column(params, leaf_index, o, weights), batch)
    assert got.shape == expected.shape == ()
    assert got.dtype == expected.dtype
    np.testing.assert_allclose(got, expected, rtol, atol, err_msg="loss")

    moved = weights.ravel().at[k].add(STEP).reshape(weights.shape)
    direction = program.direction(*inside, k)
    assert [d.shape for d in direction] == [a.shape for a in z]
    z = tuple(a + STEP * d for a, d in zip(z, direction, strict=True))
    for a, b in zip(z, program.preactivation(*inside, moved), strict=True):
        scale = float(jnp.max(jnp.abs(b), initial=1.0))
        np.testing.assert_allclose(a, b, 0, 100 * atol * scale, err_msg="z moved by its direction")
    got = program.loss(*inside, moved, z)
    expected = loss_fn(with_column(params, leaf_index, o, moved), batch)
    np.testing.assert_allclose(got, expected, rtol, atol, err_msg="loss from z moved")
