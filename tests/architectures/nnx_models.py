"""Networks of Flax NNX: its own layers, with and without biases."""

import jax
import jax.numpy as jnp
from flax import nnx
from parts import CLASSES, cross_entropy, images, in_64_bits, sequences, tokens, vectors


def problem(model, x, loss=cross_entropy):
    """A model on a mini-batch; what it keeps besides its parameters starts anew each time."""
    graph, params, statistics, kept = nnx.split(model, nnx.Param, nnx.BatchStat, ...)
    statistics = jax.tree.map(lambda a: a.astype(float), statistics)

    def loss_fn(params, x):
        return loss(nnx.merge(graph, params, statistics, kept, copy=True)(x))

    return in_64_bits(params), loss_fn, x


def mean(x):
    return x.mean(tuple(range(1, x.ndim - 1)))


def logits(width, bias=False):
    return nnx.Linear(width, CLASSES, use_bias=bias, rngs=nnx.Rngs(9))


def rngs():
    return nnx.Rngs(0)


def mlp(bias):
    return nnx.Sequential(
        nnx.Linear(4, 8, use_bias=bias, rngs=rngs()), nnx.gelu,
        nnx.Linear(8, 8, use_bias=bias, rngs=rngs()), nnx.silu,
        nnx.Linear(8, 4, use_bias=bias, rngs=rngs()), nnx.glu,
        logits(2, bias),
    )  # fmt: skip


def convolutions():
    return nnx.Sequential(
        nnx.Conv(3, 4, (3, 3), use_bias=False, rngs=rngs()), nnx.BatchNorm(4, rngs=rngs()),
        nnx.silu,
        nnx.Conv(4, 4, (3, 3), feature_group_count=4, use_bias=False, rngs=rngs()), nnx.gelu,
        nnx.Conv(4, 8, (3, 3), 2, padding="CIRCULAR", use_bias=False, rngs=rngs()),
        nnx.GroupNorm(8, 2, rngs=rngs()), nnx.relu,
        nnx.ConvTranspose(8, 4, (2, 2), (2, 2), use_bias=False, rngs=rngs()), nnx.silu,
        lambda x: x[:, ::2, ::2].reshape(len(x), -1), logits(36),
    )  # fmt: skip


class Block(nnx.Module):
    """A transformer block."""

    def __init__(self, rngs, bias=False):
        self.norms = nnx.List([nnx.LayerNorm(4, rngs=rngs), nnx.RMSNorm(4, rngs=rngs)])
        self.attention = nnx.MultiHeadAttention(2, 4, use_bias=bias, decode=False, rngs=rngs)
        self.wide = nnx.Linear(4, 8, use_bias=bias, rngs=rngs)
        self.narrow = nnx.Linear(8, 4, use_bias=bias, rngs=rngs)

    def __call__(self, x):
        x = x + self.attention(self.norms[0](x))
        return x + self.narrow(nnx.gelu(self.wide(self.norms[1](x))))


class Stacked(nnx.Module):
    """Blocks with kernels stacked along a first axis, carried out by a scan."""

    def __init__(self):
        @nnx.split_rngs(splits=2)
        @nnx.vmap(in_axes=0, out_axes=0)
        def create(rngs):
            return Block(rngs)

        self.blocks = create(nnx.Rngs(0))
        self.out = logits(4)

    def __call__(self, x):
        @nnx.scan(in_axes=(0, nnx.Carry), out_axes=nnx.Carry)
        def forward(block, x):
            return block(x)

        return self.out(mean(forward(self.blocks, x)))


class Words(nnx.Module):
    """Embedded tokens; logits of every token by the same embedding, of the mean of all."""

    def __init__(self):
        self.embed = nnx.Embed(7, 4, param_dtype=jnp.float64, rngs=rngs())
        self.block = Block(rngs(), bias=True)

    def __call__(self, x):
        return self.embed.attend(mean(self.block(self.embed(x))))


class Adapted(nnx.Module):
    """A frozen product with a learned correction of low rank, and a scalar gain."""

    def __init__(self):
        frozen = nnx.Linear(4, 8, use_bias=False, rngs=rngs())
        self.adapted = nnx.LoRA(4, 2, 8, base_module=frozen, rngs=rngs())
        self.gain = nnx.Param(jnp.asarray(0.5))
        self.out = logits(8)

    def __call__(self, x):
        return self.out(nnx.silu(self.gain[...] * self.adapted(x)))


def recurrent(cell, **how):
    return nnx.Sequential(
        nnx.RNN(cell, rngs=rngs(), **how), nnx.silu, lambda x: x[:, -1], logits(4)
    )


class Unrolled(nnx.Module):
    """A cell called in a loop of Python, from its own initial state."""

    def __init__(self):
        self.cell = nnx.GRUCell(4, 4, rngs=rngs())
        self.out = logits(4)

    def __call__(self, x):
        carry = self.cell.initialize_carry(x[:, 0].shape, nnx.Rngs(0))
        for t in range(3):
            carry, y = self.cell(carry, x[:, t])
        return self.out(y)


ARCHITECTURES = {
    "MLP": lambda: problem(mlp(False), vectors()),
    "MLP, biases": lambda: problem(mlp(True), vectors()),
    "convolutions": lambda: problem(convolutions(), images()),
    "einsum": lambda: problem(
        nnx.Sequential(
            nnx.Einsum("nc,chd->nhd", (4, 2, 4), rngs=rngs()),
            lambda x: nnx.silu(x).reshape(len(x), -1),
            logits(8),
        ),
        vectors(),
    ),
    "transformer": lambda: problem(
        nnx.Sequential(Block(rngs()), Block(rngs(), True), mean, logits(4)), sequences()
    ),
    "transformer, nnx.scan": lambda: problem(Stacked(), sequences()),
    "language model, tied": lambda: problem(Words(), tokens()),
    "LoRA and gain": lambda: problem(Adapted(), vectors()),
    "LSTM": lambda: problem(
        recurrent(nnx.LSTMCell(4, 4, param_dtype=jnp.float64, rngs=rngs())), sequences()
    ),
    "GRU, backwards": lambda: problem(
        recurrent(
            nnx.GRUCell(4, 4, param_dtype=jnp.float64, rngs=rngs()), reverse=True, keep_order=True
        ),
        sequences(),
    ),
    "GRU, unrolled": lambda: problem(Unrolled(), sequences()),
}
