"""A small decoder for characters, of nothing but matrices.

Its design is GPT-2's, without biases and without what probes would pay for again: the slope of a
norm's scale costs an evaluation for every feature as a whole column of a kernel does, and the
kernel behind it can do the same. Layer norm without scale and bias: OLMo, arXiv 2402.00838.
"""

import flax.linen as nn
import jax.numpy as jnp
from flax.typing import Initializer
from jax import Array

from rso_jax.errors import UserError

_lecun_normal = nn.initializers.lecun_normal()


class Transformer(nn.Module):
    """Predicts the next token at every position, from those up to it.

    A table with a row for every token and a row for every position; blocks of causal attention and
    of an MLP four times as wide, each behind a layer norm and beside a shortcut; a last layer norm
    and a linear head.

    Attributes:
        vocabulary: number of tokens, and of logits.
        width: of a token's vector; a multiple of the heads.
        heads: of each attention.
        layers: blocks.
        length: tokens that there are positions for.
    """

    vocabulary: int
    width: int = 64
    heads: int = 4
    layers: int = 2
    length: int = 64

    @nn.compact
    def __call__(self, tokens: Array) -> Array:
        """Logits [examples, T, vocabulary] of tokens [examples, T], T at most ``length``.

        Raises:
            UserError: more tokens than there are positions, or a width that the heads do not
                divide.
        """
        self._check(tokens)
        small = nn.initializers.normal(0.02)
        x = _linear(self.width, "embedding", small)(self._rows(tokens))
        for i in range(1, self.layers + 1):
            x = Block(self.heads, name=f"block{i}")(x)
        return _linear(self.vocabulary, "head", small)(_normalized(x))

    def _rows(self, tokens: Array) -> Array:
        """Which two rows of the table are added up, as 0 and 1.

        A product with these, instead of a look-up, has pre-activations that can be probed.
        """
        positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
        of_token = nn.one_hot(tokens, self.vocabulary)
        return jnp.concatenate([of_token, nn.one_hot(positions, self.length)], axis=-1)

    def _check(self, tokens: Array) -> None:
        if tokens.ndim != 2 or not 1 <= tokens.shape[1] <= self.length:
            raise UserError(
                f"tokens have shape {tokens.shape}; they must be [examples, T], with T from 1 to "
                f"{self.length}, the length of the Transformer"
            )
        if self.width % self.heads:
            raise UserError(
                f"width is {self.width} and heads are {self.heads}; the heads must divide the width"
            )


class Block(nn.Module):
    """Causal attention, then an MLP, each behind a layer norm and beside a shortcut.

    Attributes:
        heads: of the attention.
    """

    heads: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Apply to [examples, T, width]."""
        x = x + Attention(self.heads, name="attention")(_normalized(x))
        width = x.shape[-1]
        return x + _linear(width, "down")(nn.gelu(_linear(4 * width, "up")(_normalized(x))))


class Attention(nn.Module):
    """Of every token to itself and those before it.

    Attributes:
        heads: that divide the width.
    """

    heads: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Apply to [examples, T, width]."""
        examples, count, width = x.shape
        by_head = (examples, count, self.heads, width // self.heads)
        query, key, value = (
            _linear(width, name)(x).reshape(by_head) for name in ("query", "key", "value")
        )
        scores = jnp.einsum("nqhd,nkhd->nhqk", query, key) * by_head[-1] ** -0.5
        before = jnp.tril(jnp.ones((count, count), bool))
        shares = nn.softmax(jnp.where(before, scores, -jnp.inf))
        mixed = jnp.einsum("nhqk,nkhd->nqhd", shares, value)
        return _linear(width, "out")(mixed.reshape(x.shape))


def _linear(features: int, name: str, kernel_init: Initializer = _lecun_normal) -> nn.Dense:
    return nn.Dense(features, use_bias=False, kernel_init=kernel_init, name=name)


def _normalized(x: Array) -> Array:
    bare = nn.LayerNorm(use_scale=False, use_bias=False, use_fast_variance=False)
    normalized: Array = bare(x)
    return normalized
