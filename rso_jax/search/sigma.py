"""Sigma: the scale of each leaf's perturbations, before the schedule over cycles."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rso_jax.errors import UserError
from rso_jax.leaves import Axes
from rso_jax.trees import holds_weights

PyTree = Any

NORM_SIGMA = 0.167
"""Sigma of batch-norm scales and shifts in the authors' script."""


def he(params: PyTree, axes: Sequence[Axes] | None = None) -> PyTree:
    """sqrt(2 / fan_in) of each kernel, 0.167 for scales and shifts.

    The authors' script. fan_in is the number of weights that feed one output. ``rso`` reads it off
    the loss; without that it is the product of all axes but the last, and of an array with only
    one axis longer than 1 the length of that. An array of one axis or none is a scale or a shift.

    Args:
        params: pytree of arrays.
        axes: of its leaves, by ``rso_jax.leaves.layout.axes_of``.

    Returns:
        Pytree of the same structure, one scalar per leaf, of the leaf's dtype.
    """
    leaves, treedef = jax.tree.flatten(params)
    fans = [a.fan_in for a in axes] if axes else [_fan_in(jnp.shape(leaf)) for leaf in leaves]
    return jax.tree.unflatten(
        treedef,
        [
            jnp.asarray(he_scale(fan_in), leaf.dtype) if holds_weights(leaf) else jnp.zeros(())
            for leaf, fan_in in zip(leaves, fans, strict=True)
        ],
    )


def he_scale(fan_in: int | None) -> float:
    """Of a kernel of so many weights for one output; None for a scale or a shift."""
    return NORM_SIGMA if fan_in is None else math.sqrt(2 / fan_in)


def _fan_in(shape: tuple[int, ...]) -> int | None:
    if len(shape) < 2:
        return None
    long = [size for size in shape if size > 1]
    return long[0] if len(long) == 1 else math.prod(shape[:-1])


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
        if not holds_weights(leaf):
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
        return jnp.asarray(value, leaf.dtype if holds_weights(leaf) else None)

    return jax.tree_util.tree_map_with_path(checked, params, tree)
