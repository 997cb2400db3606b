"""Proposals: how far from its incumbent a weight is tried.

A proposal is a pure function ``(key, weight, sigma) -> perturbations``; the candidates of a
visit are the incumbent and ``weight + perturbation`` for each of them. Most draw a distance and
try it both ways: ``antithetic`` makes a proposal, of as many pairs as wanted, of a ``Distance``.
"""

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from rso_jax.arguments import check_callable
from rso_jax.errors import UserError


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


class ByLeaf(NamedTuple):
    """A proposal for each leaf: ``ByLeaf(lambda path: ...)``.

    For networks in which some leaves take few values and others real numbers.
    """

    choose: Callable[[str], Proposal]
    """By the path of the leaf, ``"conv1/kernel"``; asked once for each."""


class Distance(Protocol):
    """``(key, sigma) -> d``, a scalar of sigma's dtype."""

    def __call__(self, key: Array, sigma: Array) -> Array:
        """Return a distance to try both ways."""
        ...


def antithetic(distance: Distance, *, pairs: int = 1, scales: Sequence[float] = (1.0,)) -> Proposal:
    """Perturbations in opposite pairs ``[d, -d, ...]``, all scored at once.

    Args:
        distance: draws d.
        pairs: distances drawn at each visit, independently.
        scales: factors on every one of them.

    Returns:
        A proposal of ``2 * pairs * len(scales)`` perturbations.

    Raises:
        UserError: no pair, no scale, or more than the 127 candidates that ``choices`` counts.
    """
    check_callable("distance", distance)
    if not isinstance(pairs, Integral) or pairs < 1 or not len(scales):
        raise UserError(f"{pairs} pairs at {len(scales)} scales are no perturbation; use 1 or more")
    if 2 * pairs * len(scales) > 126:
        raise UserError(
            f"{pairs} pairs at {len(scales)} scales are {2 * pairs * len(scales)} perturbations of "
            "a weight; at most 126 can be told apart"
        )

    def propose(key: Array, weight: Array, sigma: Array) -> Array:
        del weight
        keys = [key] if pairs == 1 else list(jax.random.split(key, pairs))
        drawn = [distance(key, sigma) for key in keys]
        steps = [jnp.asarray(scale, d.dtype) * d for d in drawn for scale in scales]
        return jnp.stack([signed for d in steps for signed in (d, -d)])

    return propose


def one_way(distance: Distance, *, scale: float = 1.0) -> Proposal:
    """One perturbation ``[scale * d]``, for blocks that measure a slope with a single probe.

    Args:
        distance: draws d.
        scale: factor on it.
    """
    check_callable("distance", distance)

    def propose(key: Array, weight: Array, sigma: Array) -> Array:
        del weight
        d = distance(key, sigma)
        return (jnp.asarray(scale, d.dtype) * d)[None]

    return propose


def normal_distance(key: Array, sigma: Array) -> Array:
    """N(0, sigma)."""
    return sigma * jax.random.normal(key, (), sigma.dtype)


def uniform_distance(key: Array, sigma: Array) -> Array:
    """Uniform around 0, of standard deviation sigma."""
    bound = sigma * jnp.asarray(3.0**0.5, sigma.dtype)
    return bound * jax.random.uniform(key, (), sigma.dtype, minval=-1.0, maxval=1.0)


def fixed_distance(key: Array, sigma: Array) -> Array:
    """Sigma itself."""
    del key
    return sigma


normal = antithetic(normal_distance)
"""``[d, -d]`` with d ~ N(0, sigma), as in Algorithm 1 of the paper."""

uniform = antithetic(uniform_distance)
"""``[d, -d]`` with d uniform and of standard deviation sigma."""

fixed = antithetic(fixed_distance)
"""``[sigma, -sigma]``."""


def sign_flip(key: Array, weight: Array, sigma: Array) -> Array:
    """``[-2 w]``: the weight with its sign changed, for networks of binary weights."""
    del key, sigma
    return jnp.stack([-2 * weight])


def ternary_step(key: Array, weight: Array, sigma: Array) -> Array:
    """To the other two of the values -sigma, 0 and sigma, for networks of ternary weights.

    A weight between them is taken for the nearest. With a constant schedule and no weight decay
    it never leaves them once it was moved.
    """
    del key
    values = jnp.stack([-sigma, jnp.zeros_like(sigma), sigma])
    nearest = jnp.argmin(jnp.abs(values - weight))
    return values[(nearest + jnp.array([1, 2])) % 3] - weight
