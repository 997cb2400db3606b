"""Proposals: how far from its incumbent a weight is tried.

A proposal is a pure function ``(key, weight, sigma) -> perturbations``; the candidates of a
visit are the incumbent and ``weight + perturbation`` for each of them.
"""

from typing import Protocol

import jax
import jax.numpy as jnp
from jax import Array


class Proposal(Protocol):
    """Draws the perturbations of one visit."""

    def __call__(self, key: Array, weight: Array, sigma: Array) -> Array:
        """Return the perturbations of one weight.

        Args:
            key: PRNG key of this visit.
            weight: the incumbent, a scalar.
            sigma: the scale of a perturbation, a scalar of the weight's dtype.

        Returns:
            Perturbations [candidates - 1], of the weight's dtype.
        """
        ...


def normal(key: Array, weight: Array, sigma: Array) -> Array:
    """``[d, -d]`` with d ~ N(0, sigma), as in Algorithm 1 of the paper."""
    d = sigma * jax.random.normal(key, (), weight.dtype)
    return jnp.stack([d, -d])


def uniform(key: Array, weight: Array, sigma: Array) -> Array:
    """``[d, -d]`` with d uniform and of standard deviation sigma."""
    bound = sigma * jnp.asarray(3.0**0.5, weight.dtype)
    d = bound * jax.random.uniform(key, (), weight.dtype, minval=-1.0, maxval=1.0)
    return jnp.stack([d, -d])
