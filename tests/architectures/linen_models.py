"""Networks of Flax Linen: its own layers, with and without biases."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from parts import CLASSES, cross_entropy, drawn, images, sequences, tokens, vectors


def problem(module, x, loss=cross_entropy):
    """A module on a mini-batch; collections besides the parameters are made anew each time."""
    variables = jax.eval_shape(module.init, jax.random.key(0), x)

    def loss_fn(params, x):
        logits, _ = module.apply({"params": params}, x, mutable=["batch_stats"])
        return loss(logits)

    return drawn(variables["params"]), loss_fn, x


class Layers(nn.Module):
    """Layers made by functions, one after the other, then logits."""

    made: tuple[Callable[[], Any], ...]
    bias: bool = False

    @nn.compact
    def __call__(self, x):
        for make in self.made:
            x = make()(x)
        return nn.Dense(CLASSES, use_bias=self.bias)(x)


def always(function):
    """A function as if it were a layer to be made."""
    return lambda: function


mean = always(lambda x: x.mean(tuple(range(1, x.ndim - 1))))
last = always(lambda x: x[:, -1])
flat = always(lambda x: x.reshape(len(x), -1))
normalised = partial(nn.BatchNorm, use_running_average=False)
plain = {"use_bias": False}
wide = {"param_dtype": jnp.float64}  # of the state that a cell begins with


def layers(x, *made, bias=False):
    return lambda: problem(Layers(made, bias), x())


class Residual(nn.Module):
    """Two convolutions and a norm beside a shortcut."""

    norm: Callable[[], Any]

    @nn.compact
    def __call__(self, x):
        h = nn.silu(self.norm()(nn.Conv(4, (3, 3), use_bias=False)(x)))
        h = self.norm()(nn.Conv(4, (3, 3), 2, use_bias=False)(h))
        return nn.relu(h + nn.Conv(4, (1, 1), 2, use_bias=False)(x))


class Up(nn.Module):
    """A level of a U-Net."""

    @nn.compact
    def __call__(self, x):
        down = nn.gelu(nn.Conv(8, (3, 3), 2, use_bias=False)(x))
        up = nn.ConvTranspose(4, (2, 2), (2, 2))(down)
        return nn.silu(nn.Conv(4, (3, 3), use_bias=False)(jnp.concatenate([x, up], -1)))


class SqueezeExcite(nn.Module):
    """Channels gated by their means."""

    @nn.compact
    def __call__(self, x):
        gate = nn.Dense(x.shape[-1])(nn.silu(nn.Dense(2)(x.mean((1, 2)))))
        return x * nn.sigmoid(gate)[:, None, None]


class Block(nn.Module):
    """A transformer block with separate kernels for queries, keys and values."""

    bias: bool = False
    causal: bool = False

    @nn.compact
    def __call__(self, x):
        attention = nn.MultiHeadDotProductAttention(num_heads=2, use_bias=self.bias)
        mask = nn.make_causal_mask(x[..., 0]) if self.causal else None
        h = nn.LayerNorm(use_bias=self.bias)(x)
        x = x + attention(h, h, mask=mask)
        h = nn.gelu(nn.Dense(8, use_bias=self.bias)(nn.RMSNorm()(x)))
        return x + nn.Dense(4, use_bias=self.bias)(h)


class Scanned(nn.Module):
    """Two blocks stacked by ``nn.scan``, the second computed again on the way back or not."""

    remat: bool = False

    @nn.compact
    def __call__(self, x):
        stack = nn.scan(
            lambda block, x, _: (block(x), None),
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=2,
        )
        return stack(nn.remat(Block)() if self.remat else Block(), x, None)[0]


class Words(nn.Module):
    """Embedded tokens with learned positions; logits of every token by the same embedding."""

    @nn.compact
    def __call__(self, x):
        embed = nn.Embed(7, 4)
        h = embed(x) + self.param("position", nn.initializers.normal(0.1), (5, 4))
        return embed.attend(Block(causal=True)(h))


class ClassToken(nn.Module):
    """A vision transformer."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (3, 3), 3, padding="VALID", use_bias=False)(x).reshape(2, 4, 4)
        token = self.param("token", nn.initializers.normal(0.1), (1, 1, 4))
        x = jnp.concatenate([jnp.broadcast_to(token, (2, 1, 4)), x], 1)
        x = x + self.param("position", nn.initializers.normal(0.1), (5, 4))
        return nn.LayerNorm()(Block(bias=True)(x))[:, 0]


class Unrolled(nn.Module):
    """A recurrent cell called in a loop of Python, from its own initial state."""

    cell: Callable[[], Any]

    @nn.compact
    def __call__(self, x):
        cell = self.cell()
        carry = cell.initialize_carry(jax.random.key(0), x[:, 0].shape)
        for t in range(3):
            carry, y = cell(carry, x[:, t])
        return y


def next_token(logits):
    return -jax.nn.log_softmax(logits)[..., 2].mean()


ARCHITECTURES = {
    "MLP": layers(vectors, *[partial(nn.Dense, 8, **plain), always(nn.gelu)] * 2),
    "MLP, biases": layers(vectors, *[partial(nn.Dense, 8), always(nn.silu)] * 2, bias=True),
    "MLP, GLU": layers(vectors, partial(nn.Dense, 8, **plain), always(nn.glu)),
    "MLP, weight norm": layers(
        vectors, lambda: nn.WeightNorm(nn.Dense(8, use_bias=False)), always(nn.silu)
    ),
    "MLP, GELU, batch norm, PReLU": layers(
        vectors, partial(nn.Dense, 8, **plain), always(nn.gelu), normalised, nn.PReLU
    ),
    "Einsum of heads": layers(
        vectors, partial(nn.DenseGeneral, (2, 4), **plain), always(nn.silu), flat
    ),
    "LeNet": layers(
        images,
        partial(nn.Conv, 4, (3, 3), **plain),
        always(lambda x: nn.avg_pool(nn.silu(x), (2, 2), (2, 2))),
        flat,
        partial(nn.Dense, 8, **plain),
        always(nn.gelu),
    ),
    "circular, dilated, grouped": layers(
        images,
        partial(nn.Conv, 4, (3, 3), padding="CIRCULAR", **plain),
        always(nn.silu),
        partial(nn.Conv, 4, (3, 3), kernel_dilation=2, **plain),
        partial(nn.Conv, 8, (3, 3), feature_group_count=2, **plain),
        always(nn.gelu),
        partial(nn.Conv, 8, (3, 3), feature_group_count=8),
        always(lambda x: nn.max_pool(x, (2, 2), (2, 2))),
        mean,
    ),
    "local": layers(images, partial(nn.ConvLocal, 4, (3, 3), **plain), always(nn.silu), mean),
    "U-Net": layers(images, partial(nn.Conv, 4, (3, 3), **plain), Up, mean),
    "MobileNet": layers(
        images,
        partial(nn.Conv, 4, (3, 3), **plain),
        normalised,
        always(nn.hard_swish),
        SqueezeExcite,
        partial(nn.Conv, 4, (3, 3), feature_group_count=4, **plain),
        always(nn.silu),
        mean,
    ),
    "transformer": layers(sequences, Block, Block, mean),
    "transformer, biases": layers(sequences, partial(Block, True, True), mean, bias=True),
    "transformer, nn.scan": layers(sequences, Scanned, mean),
    "transformer, nn.scan, nn.remat": layers(sequences, partial(Scanned, True), last),
    "ViT": layers(images, ClassToken),
    "language model, tied": lambda: problem(Words(), tokens(), next_token),
    "bag of words": layers(tokens, partial(nn.Embed, 7, 4), mean, partial(nn.Dense, 8, **plain)),
    "LSTM, two layers": layers(
        sequences,
        lambda: nn.RNN(nn.LSTMCell(4, **wide)),
        lambda: nn.RNN(nn.OptimizedLSTMCell(4, **wide)),
        last,
    ),
    "GRU, both directions": layers(
        sequences,
        lambda: nn.Bidirectional(*(nn.RNN(nn.GRUCell(4, **wide)) for _ in range(2))),
        mean,
    ),
    "GRU, unrolled": layers(sequences, partial(Unrolled, partial(nn.GRUCell, 4))),
    "LSTM, unrolled from ones": layers(
        sequences,
        partial(Unrolled, partial(nn.LSTMCell, 4, carry_init=nn.initializers.ones)),
    ),
    "convolutional LSTM": layers(
        lambda: images()[:, None].repeat(2, 1),
        lambda: nn.RNN(nn.ConvLSTMCell(4, (3, 3), **wide)),
        mean,
    ),
}
ARCHITECTURES |= {
    f"ResNet, {name}": layers(images, partial(nn.Conv, 4, (3, 3)), partial(Residual, norm), mean)
    for name, norm in {
        "batch norm": normalised,
        "group norm": partial(nn.GroupNorm, 2),
        "layer norm": nn.LayerNorm,
        "RMS norm": nn.RMSNorm,
        "instance norm": nn.InstanceNorm,
    }.items()
}
