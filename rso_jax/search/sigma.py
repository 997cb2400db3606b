"""Sigma: the scale of each leaf's perturbations, before the schedule over cycles."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rso_jax.errors import UserError
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


def sigma_tree(sigma: Callable[[PyTree], PyTree] | PyTree, params: PyTree) -> PyTree:
    """Sigma of each leaf, checked against the parameters and in the leaf's dtype."""
    tree = sigma(params) if callable(sigma) else sigma
    given, wanted = str(jax.tree.structure(tree)), str(jax.tree.structure(params))
    if given != wanted:
        raise UserError(
            f"sigma has the structure {given}, the parameters have {wanted}; pass one value for "
            "each leaf"
        )

    def checked(path: Any, leaf: Array, value: Any) -> Array:
        if jnp.shape(value) not in ((), leaf.shape):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise UserError(
                f"sigma of {name} has shape {jnp.shape(value)}; it must be a scalar or {leaf.shape}"
            )
        return jnp.asarray(value, leaf.dtype if searchable(leaf) else None)

    return jax.tree_util.tree_map_with_path(checked, params, tree)
