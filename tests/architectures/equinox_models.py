"""Networks of Equinox, whose kernels are stored [out, in] and whose layers take one example."""

import equinox as eqx
import jax
import jax.numpy as jnp
from equinox import nn
from jax import lax
from parts import CLASSES, cross_entropy, drawn, images, sequences, tokens, vectors

KEY = jax.random.key(0)


def problem(make, x):
    """The model of one example that a function makes, mapped over a mini-batch."""
    shapes, rest = eqx.partition(eqx.filter_eval_shape(make), is_shape)

    def loss_fn(params, x):
        return cross_entropy(jax.vmap(eqx.combine(params, rest))(x))

    return drawn(shapes), loss_fn, x


def is_shape(leaf):
    return isinstance(leaf, jax.ShapeDtypeStruct)


def layers(x, *made):
    return lambda: problem(lambda: nn.Sequential([make() for make in made]), x())


def function(f):
    return lambda: nn.Lambda(f)


def dense(inputs, outputs, bias=False):
    return lambda: nn.Linear(inputs, outputs, use_bias=bias, key=KEY)


def convolution(inputs, outputs, size=3, **how):
    return lambda: nn.Conv2d(inputs, outputs, size, **{"use_bias": False, "key": KEY} | how)


def pictures():
    return images().transpose(0, 3, 1, 2)


silu, gelu = function(jax.nn.silu), function(jax.nn.gelu)
mean = function(lambda x: x.mean((1, 2)))


class Block(eqx.Module):
    """A transformer block of one example, [length, width]."""

    norm: nn.LayerNorm
    attention: nn.MultiheadAttention
    wide: nn.Linear
    narrow: nn.Linear
    rotary: nn.RotaryPositionalEmbedding

    def __init__(self, bias, key=KEY):
        bias_of = {f"use_{part}_bias": bias for part in ("query", "key", "value", "output")}
        self.norm = nn.LayerNorm(4)
        self.attention = nn.MultiheadAttention(2, 4, **bias_of, key=key)
        self.wide = nn.Linear(4, 8, use_bias=bias, key=key)
        self.narrow = nn.Linear(8, 4, use_bias=bias, key=key)
        self.rotary = nn.RotaryPositionalEmbedding(2)

    def turned(self, q, k, v):
        """Queries and keys turned by their places."""
        turn = jax.vmap(self.rotary, in_axes=1, out_axes=1)
        return turn(q), turn(k), v

    def __call__(self, x, key=None):
        h = jax.vmap(self.norm)(x)
        mask = jnp.tri(len(x), dtype=bool)
        x = x + self.attention(h, h, h, mask=mask, process_heads=self.turned)
        return x + jax.vmap(lambda r: self.narrow(jax.nn.gelu(self.wide(r))))(x)


class Stacked(eqx.Module):
    """Blocks with stacked kernels, carried out by a scan."""

    blocks: Block
    out: nn.Linear

    def __init__(self):
        self.blocks = eqx.filter_vmap(lambda k: Block(False, k))(jax.random.split(KEY, 2))
        self.out = nn.Linear(4, CLASSES, use_bias=False, key=KEY)

    def __call__(self, x):
        params, rest = eqx.partition(self.blocks, eqx.is_array)
        x, _ = lax.scan(lambda h, p: (eqx.combine(p, rest)(h), None), x, params)
        return self.out(x.mean(0))


class Recurrent(eqx.Module):
    """A cell in a scan, or in a loop of Python."""

    cell: eqx.Module
    out: nn.Linear
    unrolled: bool

    def __init__(self, cell, bias=True, unrolled=False):
        self.cell = cell(4, 4, use_bias=bias, key=KEY)
        self.out = nn.Linear(4, CLASSES, use_bias=bias, key=KEY)
        self.unrolled = unrolled

    def __call__(self, x):
        state = jnp.zeros(4)
        if isinstance(self.cell, nn.LSTMCell):
            state = (state, state + 1)
        if self.unrolled:
            for row in x[:3]:
                state = self.cell(row, state)
        else:
            state, _ = lax.scan(lambda s, row: (self.cell(row, s), None), state, x)
        return self.out(state[0] if isinstance(state, tuple) else state)


class Words(eqx.Module):
    """A bag of embedded words."""

    embedding: nn.Embedding
    mlp: nn.MLP

    def __init__(self):
        self.embedding = nn.Embedding(7, 4, key=KEY)
        self.mlp = nn.MLP(4, CLASSES, 8, 1, jax.nn.gelu, use_bias=False, key=KEY)

    def __call__(self, x):
        return self.mlp(jax.vmap(self.embedding)(x).mean(0))


ARCHITECTURES = {
    "MLP": lambda: problem(
        lambda: nn.MLP(
            4, CLASSES, 8, 2, jax.nn.silu, use_bias=False, use_final_bias=False, key=KEY
        ),
        vectors(),
    ),
    "MLP, biases": lambda: problem(
        lambda: nn.MLP(4, CLASSES, 8, 2, jax.nn.gelu, key=KEY), vectors()
    ),
    "MLP, norms": layers(
        vectors, dense(4, 8), lambda: nn.RMSNorm(8), silu,
        dense(8, 8), lambda: nn.LayerNorm(8), gelu, dense(8, CLASSES),
    ),
    "MLP, weight norm": layers(
        vectors, lambda: nn.WeightNorm(dense(4, 8)(), "weight"), silu, dense(8, CLASSES, True)
    ),
    "LeNet": layers(
        pictures, convolution(3, 4), gelu, lambda: nn.AvgPool2d(2, 2), function(jnp.ravel),
        dense(16, 8), silu, dense(8, CLASSES),
    ),
    "convolutions, biases": layers(
        pictures, convolution(3, 4, use_bias=True, padding=1), silu,
        convolution(4, 4, padding=1, padding_mode="CIRCULAR"), lambda: nn.GroupNorm(2, 4), gelu,
        convolution(4, 4, groups=4), silu, convolution(4, 8, 2, stride=2, dilation=2), mean,
        dense(8, CLASSES),
    ),
    "transposed convolutions": layers(
        pictures, convolution(3, 4, stride=2), silu,
        lambda: nn.ConvTranspose2d(4, 4, 2, stride=2, use_bias=False, key=KEY), gelu,
        lambda: nn.MaxPool2d(2, 1), mean, dense(4, CLASSES),
    ),
    "transformer": layers(
        sequences, lambda: Block(False), function(lambda x: x.mean(0)), dense(4, CLASSES)
    ),
    "transformer, biases": layers(
        sequences, lambda: Block(True), function(lambda x: x[-1]), dense(4, CLASSES, True)
    ),
    "transformer, stacked": lambda: problem(Stacked, sequences()),
    "GRU": lambda: problem(lambda: Recurrent(nn.GRUCell), sequences()),
    "GRU, unrolled, no biases": lambda: problem(
        lambda: Recurrent(nn.GRUCell, bias=False, unrolled=True), sequences()
    ),
    "LSTM": lambda: problem(lambda: Recurrent(nn.LSTMCell), sequences()),
    "LSTM, unrolled": lambda: problem(lambda: Recurrent(nn.LSTMCell, unrolled=True), sequences()),
    "bag of words": lambda: problem(Words, tokens()),
}  # fmt: skip
