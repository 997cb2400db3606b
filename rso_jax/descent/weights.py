"""The weights among the parameters: what an optimiser may change, and the rest, which stays."""

from typing import Any

import jax
import jax.numpy as jnp

from rso_jax.arrays import check_arrays
from rso_jax.errors import UserError
from rso_jax.method import weights_among

PyTree = Any


def checked_arrays(params: PyTree) -> PyTree:
    """The parameters as arrays.

    Raises:
        UserError: a leaf that is no array, by name, or no floating-point array at all.
    """
    check_arrays("params", params)
    arrays = jax.tree.map(jnp.asarray, params)
    if not jax.tree.leaves(weights_of(arrays)):
        raise UserError("params holds no floating-point array, so there is nothing to train")
    return arrays


def weights_of(params: PyTree, trained: PyTree | None = None) -> PyTree:
    """The leaves that hold weights, in their places; None where others are.

    Args:
        params: arrays, or ``jax.ShapeDtypeStruct``.
        trained: which leaves, as a pytree of booleans; all that hold weights, if None.
    """
    which = weights_among(params) if trained is None else trained
    return jax.tree.map(lambda leaf, is_one: leaf if is_one else None, params, which)


def with_weights(params: PyTree, weights: PyTree) -> PyTree:
    """The parameters with other weights, given as ``weights_of`` gives them."""
    return jax.tree.map(
        lambda new, old: old if new is None else new, weights, params, is_leaf=lambda a: a is None
    )
