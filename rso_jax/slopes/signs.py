"""Signs at random: drawn for all columns of a leaf at once, a bit each.

They are unpacked where they are used: a word holds those of 32 examples.
"""

import jax
import jax.numpy as jnp
from jax import Array

_BITS = 32


def draw_signs(key: Array, shape: tuple[int, ...], examples: int) -> Array:
    """Signs of so many examples for each place in a shape, packed [*shape, words]."""
    return jax.random.bits(key, (*shape, -(-examples // _BITS)), jnp.uint32)


def unpack_signs(words: Array, examples: int, dtype: jnp.dtype) -> Array:
    """Signs [..., examples], 1 or -1, of those that are packed [..., words]."""
    bits = (words[..., None] >> jnp.arange(_BITS, dtype=jnp.uint32)) & 1
    every = bits.reshape(*words.shape[:-1], -1)[..., :examples]
    return jnp.where(every == 1, jnp.ones((), dtype), -jnp.ones((), dtype))
