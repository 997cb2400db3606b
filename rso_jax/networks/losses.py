"""Losses of logits. Search needs no gradient, so a loss may be any function of them."""

from typing import Literal

import jax.numpy as jnp
import optax
from jax import Array


def cross_entropy(
    logits: Array,
    labels: Array,
    *,
    reduction: Literal["mean", "sum"] = "mean",
    precision: Literal["float32", "float64"] | None = None,
) -> Array:
    """Softmax cross-entropy of integer labels, over the examples of a mini-batch.

    Args:
        logits: [examples, classes].
        labels: integers [examples] in [0, classes).
        reduction: mean or sum over the examples. The authors' script sums.
        precision: type the logits are cast to first; ``"float64"`` (the authors' script) needs
            JAX's 64-bit mode. The logits' own by default.

    Returns:
        Scalar, in nats.
    """
    if precision is not None:
        logits = logits.astype(precision)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return jnp.mean(losses) if reduction == "mean" else jnp.sum(losses)


def zero_one(logits: Array, labels: Array) -> Array:
    """Share of examples whose largest logit is not their label: a loss without a gradient.

    Args:
        logits: [examples, classes].
        labels: integers [examples].

    Returns:
        Scalar in [0, 1].
    """
    return jnp.mean(jnp.argmax(logits, axis=-1) != labels)
