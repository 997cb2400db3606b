"""Weight decay: a weight shrunk by a share of itself, in types too coarse to hold the result."""

import jax
import jax.numpy as jnp
from jax import Array, lax

_BITS = {1: jnp.uint8, 2: jnp.uint16}


def shrink(key: Array, weights: Array, share: float) -> Array:
    """The weights times ``1 - share``.

    In types narrower than float32 a small share would be rounded away: there the result is one of
    the two nearest values that the type has, drawn so that its expectation is right (stochastic
    rounding; Gupta et al., "Deep Learning with Limited Numerical Precision", 2015).

    Args:
        key: PRNG key of the draws, one for each weight by its place.
        weights: [weights], floating point.
        share: from 0 up to 1.
    """
    bits = _BITS.get(weights.dtype.itemsize)
    if bits is None or share == 0:
        return weights * jnp.asarray(1.0 - share, weights.dtype)
    wanted = weights.astype(jnp.float32) * jnp.float32(1.0 - share)
    nearest = lax.bitcast_convert_type(wanted.astype(weights.dtype), bits)

    def value(pattern: Array) -> Array:
        return lax.bitcast_convert_type(pattern, weights.dtype).astype(jnp.float32)

    # Sign and magnitude: the next pattern is the next value away from 0.
    beyond = jnp.abs(value(nearest)) > jnp.abs(wanted)
    inner = nearest - beyond.astype(bits)
    outer = inner + jnp.ones((), bits)
    gap = jnp.abs(value(outer) - value(inner))
    gap = jnp.where(jnp.isfinite(gap) & (gap > 0), gap, jnp.inf)
    draw = jax.random.uniform(key, weights.shape, jnp.float32)
    chosen = jnp.where(draw * gap < jnp.abs(wanted - value(inner)), outer, inner)
    rounded = lax.bitcast_convert_type(chosen, weights.dtype)
    return jnp.where(jnp.isfinite(weights) & (wanted != 0), rounded, weights)
