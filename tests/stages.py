"""Column programs held against the full loss, with NaN in all that a stage must not read."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rso_jax.incremental import ColumnProgram

STEP = 0.3
"""By which a weight is moved along its direction."""


def with_leaf(params: Any, leaf_index: int, leaf: Array) -> Any:
    """The parameters with one leaf replaced."""
    leaves, treedef = jax.tree.flatten(params)
    leaves[leaf_index] = leaf
    return jax.tree.unflatten(treedef, leaves)


def with_column(params: Any, leaf_index: int, o: Any, weights: Any) -> Any:
    """The parameters with one column of a leaf replaced."""
    leaf = jax.tree.leaves(params)[leaf_index]
    column = leaf.at[..., o].set(weights) if leaf.ndim else jnp.full_like(leaf, weights)
    return with_leaf(params, leaf_index, column)


def staged(
    program: ColumnProgram,
    loss_fn: Any,
    leaf_index: int,
    params: Any,
    batch: Any,
    o: Any,
    weights: Array,
    k: Any,
) -> dict[str, tuple[Any, Any]]:
    """What every stage gives and what it should give, as ``rso_jax.incremental.program`` says.

    Args:
        program: of the leaf.
        loss_fn: the full loss.
        leaf_index: place of the leaf among the flattened parameters.
        params: pytree of arrays.
        batch: likewise.
        o: a column.
        weights: what it holds.
        k: the weight of it that is moved along its direction.
    """
    leaf = jax.tree.leaves(params)[leaf_index]
    prefix = program.prefix(with_leaf(params, leaf_index, jnp.full_like(leaf, jnp.nan)), batch)
    forgotten = with_column(params, leaf_index, o, jnp.nan)
    view = program.view(forgotten, batch, o, prefix)
    z = program.preactivation(view, weights)
    direction = program.direction(view, k)
    moved = weights.ravel().at[k].add(STEP).reshape(weights.shape)
    z_moved = tuple(a + STEP * d for a, d in zip(z, direction, strict=True))
    return {
        "loss": (
            program.loss(view, weights, z),
            loss_fn(with_column(params, leaf_index, o, weights), batch),
        ),
        "z moved by its direction": (z_moved, program.preactivation(view, moved)),
        "loss from z moved": (
            program.loss(view, moved, z_moved),
            loss_fn(with_column(params, leaf_index, o, moved), batch),
        ),
    }


def check_stages(
    found: dict[str, tuple[Any, Any]], where: str, rtol: float = 1e-12, atol: float = 1e-12
) -> None:
    """Assert that every stage gives what it should.

    Args:
        found: by ``staged``.
        where: what the message of a failure begins with.
        rtol: relative tolerance of losses.
        atol: absolute tolerance of losses; 100 times that of z, relative to its largest value.
    """
    for name, (got, expected) in found.items():
        arrays = jax.tree.leaves(got), jax.tree.leaves(expected)
        for a, b in zip(*arrays, strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype), f"{where}: {name}"
            tolerance = (rtol, atol)
            if name.startswith("z"):
                tolerance = (0, 100 * atol * np.max(np.abs(b), initial=1.0))
            np.testing.assert_allclose(a, b, *tolerance, err_msg=f"{where}: {name}")
