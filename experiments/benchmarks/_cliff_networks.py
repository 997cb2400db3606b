"""Networks whose operations are hard to see through: shapes only, after public architectures.

Images are 32x32 unless the network is of another kind. Each function of ``NETWORKS`` gives
``(loss_fn, params, batch)`` with ``jax.ShapeDtypeStruct`` in place of arrays.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array

PyTree = Any
Problem = tuple[Callable[[PyTree, PyTree], Array], PyTree, PyTree]
CLASSES = 10
WORDS = 400


def problem(module: nn.Module, inputs: jax.ShapeDtypeStruct) -> Problem:
    """Cross-entropy of a module's logits, [..., classes], against label 0.

    Batch norm takes the statistics of the mini-batch.
    """
    key = jax.eval_shape(jax.random.key, 0)
    params = jax.eval_shape(module.init, key, inputs)["params"]

    def loss_fn(params: PyTree, batch: Array) -> Array:
        logits, _ = module.apply({"params": params}, batch, mutable=["batch_stats"])
        labels = jnp.zeros(logits.shape[:-1], jnp.int32)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    return loss_fn, params, inputs


def images(channels: int = 3, size: int = 32) -> jax.ShapeDtypeStruct:
    """A mini-batch of images."""
    return jax.ShapeDtypeStruct((8, size, size, channels), jnp.float32)


def tokens(length: int = 32) -> jax.ShapeDtypeStruct:
    """A mini-batch of word indices."""
    return jax.ShapeDtypeStruct((8, length), jnp.int32)


def embedded(length: int, width: int) -> jax.ShapeDtypeStruct:
    """A mini-batch of sequences of vectors."""
    return jax.ShapeDtypeStruct((8, length, width), jnp.float32)


class Between(nn.Module):
    """Three convolutions with something between them."""

    what: Callable[[Array], Array]
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x):
        """Logits."""
        for width in (16, 32, 32):
            x = nn.Conv(width, (3, 3), padding=self.padding, use_bias=False)(x)
            x = nn.relu(self.what(x))
        return nn.Dense(CLASSES, use_bias=False)(x.mean((1, 2)))


def strided_rolled_flipped(x: Array) -> Array:
    """Every other pixel, moved by one, mirrored."""
    return jnp.roll(x[:, ::2, ::2], 1, 1)[:, :, ::-1]


class LeNet(nn.Module):
    """LeNet-5, or with the mean over the image in place of the flattening."""

    flatten: bool = True

    @nn.compact
    def __call__(self, x):
        """Logits."""
        x = nn.avg_pool(nn.tanh(nn.Conv(6, (5, 5), padding="VALID")(x)), (2, 2), (2, 2))
        x = nn.avg_pool(nn.tanh(nn.Conv(16, (5, 5), padding="VALID")(x)), (2, 2), (2, 2))
        x = x.reshape(len(x), -1) if self.flatten else x.mean((1, 2))
        x = nn.tanh(nn.Dense(120)(x))
        x = nn.tanh(nn.Dense(84)(x))
        return nn.Dense(CLASSES)(x)


class UNet(nn.Module):
    """Two levels down, two up, with concatenated skips and transposed convolutions."""

    width: int = 16

    @nn.compact
    def __call__(self, x):
        """Logits of every pixel."""

        def twice(x, width):
            for _ in range(2):
                x = nn.relu(nn.Conv(width, (3, 3))(x))
            return x

        skips = []
        for level in range(2):
            x = twice(x, self.width << level)
            skips.append(x)
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = twice(x, self.width << 2)
        for level in (1, 0):
            x = nn.ConvTranspose(self.width << level, (2, 2), (2, 2))(x)
            x = twice(jnp.concatenate([skips[level], x], -1), self.width << level)
        return nn.Conv(CLASSES, (1, 1))(x)


class DenseNet(nn.Module):
    """Dense blocks of batch norm, ReLU, convolution; growth 12."""

    blocks: int = 1
    layers: int = 7
    growth: int = 12

    @nn.compact
    def __call__(self, x):
        """Logits."""
        norm = partial(nn.BatchNorm, use_running_average=False)
        x = nn.Conv(2 * self.growth, (3, 3), use_bias=False)(x)
        for block in range(self.blocks):
            for _ in range(self.layers):
                new = nn.Conv(self.growth, (3, 3), use_bias=False)(nn.relu(norm()(x)))
                x = jnp.concatenate([x, new], -1)
            if block < self.blocks - 1:
                x = nn.Conv(x.shape[-1] // 2, (1, 1), use_bias=False)(nn.relu(norm()(x)))
                x = nn.avg_pool(x, (2, 2), (2, 2))
        return nn.Dense(CLASSES)(nn.relu(norm()(x)).mean((1, 2)))


def shuffled(x: Array, groups: int) -> Array:
    """Channels of the groups, interleaved."""
    *rest, channels = x.shape
    return x.reshape(*rest, groups, channels // groups).swapaxes(-1, -2).reshape(x.shape)


class ShuffleNet(nn.Module):
    """Grouped 1x1 convolutions, a shuffle, depthwise convolutions."""

    groups: int = 4
    width: int = 48
    stages: int = 1
    units: int = 4

    @nn.compact
    def __call__(self, x):
        """Logits."""
        norm = partial(nn.BatchNorm, use_running_average=False)
        x = nn.relu(norm()(nn.Conv(self.width, (3, 3), use_bias=False)(x)))
        for stage in range(self.stages):
            for unit in range(self.units):
                width, stride = self.width << stage, 2 if stage and not unit else 1
                grouped = partial(
                    nn.Conv, kernel_size=(1, 1), feature_group_count=self.groups, use_bias=False
                )
                out = width - x.shape[-1] if stride == 2 else width
                h = nn.relu(norm()(grouped(width // 4)(x)))
                h = shuffled(h, self.groups)
                h = norm()(depthwise(h, stride))
                h = norm()(grouped(out)(h))
                if stride == 2:
                    x = jnp.concatenate([nn.avg_pool(x, (2, 2), (2, 2)), h], -1)
                else:
                    x = x + h
                x = nn.relu(x)
        return nn.Dense(CLASSES)(x.mean((1, 2)))


def depthwise(x: Array, stride: int = 1) -> Array:
    """A 3x3 convolution of every channel by itself; inside a module's ``__call__``."""
    n = x.shape[-1]
    return nn.Conv(n, (3, 3), stride, feature_group_count=n, use_bias=False)(x)


class ResNet(nn.Module):
    """Residual blocks of two convolutions, three stages, with GroupNorm."""

    width: int = 16
    blocks: int = 1
    groups: int = 8

    @nn.compact
    def __call__(self, x):
        """Logits."""
        norm = partial(nn.GroupNorm, num_groups=self.groups)
        x = nn.relu(norm()(nn.Conv(self.width, (3, 3), use_bias=False)(x)))
        for stage in range(3):
            for block in range(self.blocks):
                width, stride = self.width << stage, 2 if stage and not block else 1
                h = nn.relu(norm()(nn.Conv(width, (3, 3), stride, use_bias=False)(x)))
                h = norm()(nn.Conv(width, (3, 3), use_bias=False)(h))
                if x.shape != h.shape:
                    x = norm()(nn.Conv(width, (1, 1), stride, use_bias=False)(x))
                x = nn.relu(x + h)
        return nn.Dense(CLASSES)(x.mean((1, 2)))


class MobileNetV2(nn.Module):
    """Inverted residuals: widened 6 times, depthwise, narrowed; batch norm."""

    stages: Sequence[tuple[int, int, int]] = ((16, 1, 1), (24, 1, 2), (32, 1, 2))
    """Channels, blocks, stride."""

    @nn.compact
    def __call__(self, x):
        """Logits."""
        norm = partial(nn.BatchNorm, use_running_average=False)
        x = nn.relu6(norm()(nn.Conv(16, (3, 3), use_bias=False)(x)))
        for width, blocks, first_stride in self.stages:
            for block in range(blocks):
                stride = 1 if block else first_stride
                h = nn.relu6(norm()(nn.Conv(6 * x.shape[-1], (1, 1), use_bias=False)(x)))
                h = nn.relu6(norm()(depthwise(h, stride)))
                h = norm()(nn.Conv(width, (1, 1), use_bias=False)(h))
                x = x + h if x.shape == h.shape else h
        x = nn.relu6(norm()(nn.Conv(4 * x.shape[-1], (1, 1), use_bias=False)(x)))
        return nn.Dense(CLASSES)(x.mean((1, 2)))


class Block(nn.Module):
    """A pre-norm transformer block whose queries, keys and values come out of one product."""

    heads: int = 4
    widened: int = 4

    @nn.compact
    def __call__(self, x):
        """The same shape, [n, length, width]."""
        n, length, width = x.shape
        qkv = nn.Dense(3 * width)(nn.LayerNorm()(x))
        q, k, v = jnp.moveaxis(qkv.reshape(n, length, 3, self.heads, width // self.heads), 2, 0)
        scores = jnp.einsum("nqhd,nkhd->nhqk", q, k) / (width // self.heads) ** 0.5
        mixed = jnp.einsum("nhqk,nkhd->nqhd", nn.softmax(scores), v)
        x = x + nn.Dense(width)(mixed.reshape(x.shape))
        return x + nn.Dense(width)(nn.gelu(nn.Dense(self.widened * width)(nn.LayerNorm()(x))))


class Transformer(nn.Module):
    """Blocks on embedded words, stacked by ``nn.scan`` or one after the other."""

    layers: int
    scanned: bool
    width: int = 64

    @nn.compact
    def __call__(self, words):
        """Logits of the sequence."""
        x = nn.Embed(CLASSES, self.width)(words)
        if self.scanned:
            stack = nn.scan(
                lambda block, x, _: (block(x), None),
                variable_axes={"params": 0},
                split_rngs={"params": True},
                length=self.layers,
            )
            x, _ = stack(Block(), x, None)
        else:
            for _ in range(self.layers):
                x = Block()(x)
        return nn.Dense(CLASSES)(nn.LayerNorm()(x).mean(1))


class Gated(nn.Module):
    """Hidden layers whose products, of twice their width, are halved by a gate."""

    gate: Callable[[Array], Array]
    layers: int = 3
    width: int = 128

    @nn.compact
    def __call__(self, x):
        """Logits."""
        for _ in range(self.layers):
            x = self.gate(nn.Dense(2 * self.width)(x))
        return nn.Dense(CLASSES)(x)


def maxout(x: Array) -> Array:
    """The largest of every two."""
    return x.reshape(*x.shape[:-1], -1, 2).max(-1)


def gated_split(x: Array) -> Array:
    """Half of it, gated by the other half."""
    a, b = jnp.split(x, 2, -1)
    return a * nn.sigmoid(b)


class TwoLSTMs(nn.Module):
    """Two LSTM layers over a sequence."""

    width: int = 64

    @nn.compact
    def __call__(self, x):
        """Logits of the last step."""
        for _ in range(2):
            x = nn.RNN(nn.OptimizedLSTMCell(self.width))(x)
        return nn.Dense(CLASSES)(x[:, -1])


class BagOfWords(nn.Module):
    """The mean of embedded words, then a hidden layer."""

    width: int = 64

    @nn.compact
    def __call__(self, words):
        """Logits."""
        x = nn.Embed(WORDS, self.width)(words).mean(1)
        return nn.Dense(CLASSES)(nn.relu(nn.Dense(256)(x)))


def circular(x: Array) -> Array:
    """One more pixel on every side, from the opposite one."""
    return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="wrap")


def vectors(length: int) -> jax.ShapeDtypeStruct:
    """A mini-batch of vectors."""
    return jax.ShapeDtypeStruct((8, length), jnp.float32)


NETWORKS: dict[str, Callable[[], Problem]] = {
    "strided slicing, roll, flip": lambda: problem(Between(strided_rolled_flipped), images()),
    "circular padding": lambda: problem(Between(circular, "VALID"), images()),
    "LeNet, convolutions": lambda: problem(LeNet(), images(1)),
    "LeNet pooled, convolutions": lambda: problem(LeNet(flatten=False), images(1)),
    "U-Net": lambda: problem(UNet(), images()),
    "DenseNet": lambda: problem(DenseNet(), images()),
    "ShuffleNet": lambda: problem(ShuffleNet(), images()),
    "ResNet, GroupNorm": lambda: problem(ResNet(), images()),
    "MobileNetV2": lambda: problem(MobileNetV2(), images()),
    "packed q, k, v, heads split": lambda: problem(Block(), embedded(32, 64)),
    "maxout": lambda: problem(Gated(maxout), vectors(784)),
    "gated split": lambda: problem(Gated(gated_split), vectors(784)),
    "transformer, nn.scan": lambda: problem(Transformer(3, scanned=True), tokens()),
    "transformer, unrolled": lambda: problem(Transformer(3, scanned=False), tokens()),
    "two-layer LSTM": lambda: problem(TwoLSTMs(), embedded(16, 32)),
    "bag of words": lambda: problem(BagOfWords(), tokens()),
}
