"""A small decoder for characters, written from dense maps and plain attention."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from rso_jax.errors import UserError
from rso_jax.networks.layers import layer_norm


class Transformer(nn.Module):
    """Predicts the next token at every position, from those up to it.

    Embedding and learned positions; blocks of causal attention and of an MLP four times as wide,
    each behind a layer norm and beside a shortcut; a last layer norm and a linear head. The
    published design is GPT-2's.

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
        normal = nn.initializers.normal(0.02)
        embedding = self.param("embedding", normal, (self.vocabulary, self.width))
        positions = self.param("positions", normal, (self.length, self.width))
        x = embedding[tokens] + positions[: tokens.shape[1]]
        for i in range(1, self.layers + 1):
            x = Block(self.heads, name=f"block{i}")(x)
        return nn.Dense(self.vocabulary, name="head")(_normalized(x, "norm"))

    def _check(self, tokens: Array) -> None:
        if tokens.ndim != 2 or not 1 <= tokens.shape[1] <= self.length:
            raise UserError(
                f"tokens have shape {tokens.shape}; they must be [examples, T], with T from 1 to "
                f"{self.length} (length of the Transformer)"
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
        x = x + Attention(self.heads, name="attention")(_normalized(x, "norm1"))
        width = x.shape[-1]
        inner = nn.gelu(nn.Dense(4 * width, name="up")(_normalized(x, "norm2")))
        return x + nn.Dense(width, name="down")(inner)


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
            nn.Dense(width, name=name)(x).reshape(by_head) for name in ("query", "key", "value")
        )
        scores = jnp.einsum("nqhd,nkhd->nhqk", query, key) * by_head[-1] ** -0.5
        before = jnp.tril(jnp.ones((count, count), bool))
        shares = nn.softmax(jnp.where(before, scores, -jnp.inf))
        mixed = jnp.einsum("nhqk,nkhd->nqhd", shares, value)
        return nn.Dense(width, name="out")(mixed.reshape(x.shape))


def _normalized(x: Array, name: str) -> Array:
    normalized: Array = layer_norm(name=name)(x)
    return normalized
