"""Sigma: the scale of each leaf's perturbations, before the schedule over cycles."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rso_jax.search.leaves import searchable

PyTree = Any

NORM_SIGMA = 0.167
"""Sigma of batch-norm scales and shifts in the authors' script."""


def he(params: PyTree) -> PyTree:
    """sqrt(2 / fan_in) of each kernel, 0.167 for arrays of one axis or none.

    The authors' script. fan_in is the number of weights that feed one output: the product
    of all axes but the last.

    Args:
        params: pytree of arrays, output axis last.

    Returns:
        Pytree of the same structure, one scalar per leaf, of the leaf's dtype.
    """

    def leaf_sigma(leaf: Array) -> Array:
        if not searchable(leaf):
            return jnp.zeros(())
        sigma = NORM_SIGMA if jnp.ndim(leaf) < 2 else math.sqrt(2 / math.prod(leaf.shape[:-1]))
        return jnp.asarray(sigma, leaf.dtype)

    return jax.tree.map(leaf_sigma, params)


def empirical(params: PyTree) -> PyTree:
    """The standard deviation of each leaf as it is now: call it on the initial parameters.

    The paper. A leaf that starts constant (the scales and shifts of a batch norm) has no
    spread to measure and would never move; it gets the authors' 0.167.

    Args:
        params: pytree of arrays.

    Returns:
        Pytree of the same structure, one scalar per leaf, of the leaf's dtype.
    """

    def leaf_sigma(leaf: Array) -> Array:
        if not searchable(leaf):
            return jnp.zeros(())
        # Reduced precision is fine for the weights but not for a mean over many of them.
        precise = leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))
        spread = jnp.std(precise)
        return jnp.where(spread > 0, spread, NORM_SIGMA).astype(leaf.dtype)

    return jax.tree.map(leaf_sigma, params)
