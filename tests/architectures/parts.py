"""What the architectures are made of: weights, mini-batches, losses, norms, gates.

A problem is ``(params, loss_fn, batch)``, in 64 bits. Sizes are few, so that architectures share
what is compiled: 2 examples, 4 or 8 channels, images of 6x6, sequences of 5.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

Problem = tuple[Any, Callable[[Any, Any], Array], Any]
N, CLASSES = 2, 4
LABELS = (1, 3)


def numbers(seed: int, *shape: int) -> Array:
    """Random numbers, always the same."""
    # Of NumPy: a generator of JAX's is compiled for every shape.
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


def weights(**shapes: tuple[int, ...]) -> dict[str, Array]:
    """Random arrays by name, scaled by their first axes."""
    return {
        name: numbers(seed, *shape) / max(1, math.prod(shape[:-1])) ** 0.5
        for seed, (name, shape) in enumerate(shapes.items(), 100)
    }


def images(size: int = 6, channels: int = 3) -> Array:
    """A mini-batch of images, [N, size, size, channels]."""
    return numbers(1, N, size, size, channels)


def vectors(length: int = 4) -> Array:
    """A mini-batch of vectors."""
    return numbers(2, N, length)


def sequences(length: int = 5, width: int = 4) -> Array:
    """A mini-batch of sequences of vectors."""
    return numbers(3, N, length, width)


def tokens(length: int = 5, words: int = 7) -> Array:
    """A mini-batch of word indices; a word occurs twice."""
    return (jnp.arange(N * length).reshape(N, length) * 3) % words


def cross_entropy(logits: Array) -> Array:
    """Mean cross-entropy of logits [N, classes] against fixed labels."""
    labels = jax.nn.one_hot(jnp.array(LABELS), logits.shape[-1])
    return -(jax.nn.log_softmax(logits) * labels).sum(-1).mean()


def classifier(logits: Callable[[Any, Any], Array], batch: Any, **shapes: Any) -> Problem:
    """Cross-entropy of ``logits(params, batch)`` with plain arrays as parameters."""
    return weights(**shapes), lambda p, x: cross_entropy(logits(p, x)), batch


def in_64_bits(params: Any) -> Any:
    """Parameters a module has initialised, in 64 bits; none is left zero or one."""
    leaves, treedef = jax.tree.flatten(params)
    moved = [a + 0.1 * numbers(200 + i, *a.shape) for i, a in enumerate(leaves)]
    return jax.tree.unflatten(treedef, moved)


def drawn(shapes: Any) -> Any:
    """Parameters of a module of which only the shapes were worked out; no initialiser runs.

    Kernels have their outputs first or last; what has one axis is a bias or a scale.
    """
    named, treedef = jax.tree_util.tree_flatten_with_path(shapes)

    def draw(i: int, path: Any, shape: tuple[int, ...]) -> Array:
        if len(shape) > 1:
            inputs = math.prod(shape) / max(shape[0], shape[-1])
            return numbers(200 + i, *shape) / inputs**0.5
        return ("bias" not in str(path[-1])) + 0.1 * numbers(200 + i, *shape)

    found = [draw(i, path, a.shape) for i, (path, a) in enumerate(named)]
    return jax.tree.unflatten(treedef, found)


def convolve(x: Array, kernel: Array, stride: int = 1, pad: Any = "SAME", **how: Any) -> Array:
    """A convolution of images [n, h, w, c] with a kernel [h, w, in, out]."""
    layout = how.pop("layout", ("NHWC", "HWIO", "NHWC"))
    return lax.conv_general_dilated(
        x, kernel, (stride,) * (x.ndim - 2), pad, dimension_numbers=layout, **how
    )


def pool(x: Array) -> Array:
    """The mean over windows of 2x2."""
    window = (1, 2, 2, 1)
    return lax.reduce_window(x, 0.0, lax.add, window, window, "VALID") / 4


def layer_norm(x: Array) -> Array:
    """Over the last axis, without parameters."""
    return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-3)


def rms_norm(x: Array) -> Array:
    """Over the last axis, without parameters."""
    return x * lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-3)


def batch_norm(x: Array) -> Array:
    """Over all axes but the last, without parameters."""
    axes = tuple(range(x.ndim - 1))
    return (x - x.mean(axes)) / jnp.sqrt(x.var(axes) + 1e-3)


def group_norm(x: Array, groups: int = 2) -> Array:
    """Over space and the channels of a group, without parameters."""
    g = x.reshape(*x.shape[:-1], groups, -1)
    axes = (*range(1, x.ndim - 1), g.ndim - 1)
    g = (g - g.mean(axes, keepdims=True)) / jnp.sqrt(g.var(axes, keepdims=True) + 1e-3)
    return g.reshape(x.shape)


def instance_norm(x: Array) -> Array:
    """Over space."""
    return (x - x.mean((1, 2), keepdims=True)) / jnp.sqrt(x.var((1, 2), keepdims=True) + 1e-3)


def attend(q: Array, k: Array, v: Array, mask: Array | None = None) -> Array:
    """Attention of heads, each [n, length, heads, width]."""
    scores = jnp.einsum("nqhd,nkhd->nhqk", q, k) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = jnp.where(mask, scores, -1e9)
    return jnp.einsum("nhqk,nkhd->nqhd", jax.nn.softmax(scores, -1), v)
