"""Losses of logits. Search needs no gradient, so a loss may be any function of them."""

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rso_jax.errors import UserError

Reduction = Literal["mean", "sum", "none"]
Precision = Literal["float32", "float64"]


def cross_entropy(
    logits: Array,
    labels: Array,
    *,
    reduction: Reduction = "mean",
    precision: Precision | None = None,
) -> Array:
    """Softmax cross-entropy of integer labels, over the examples of a mini-batch.

    Args:
        logits: [examples, classes] or, with a label for each token, [examples, tokens, classes].
        labels: integers in [0, classes) of the shape of the logits without the last axis. Where
            they are outside, which only their values tell, a compiled loss is NaN.
        reduction: mean or sum over all labels, the authors' script sums; or none, a loss for
            each label.
        precision: type the logits are cast to first; ``"float64"`` (the authors' script) needs
            JAX's 64-bit mode. The logits' own by default.

    Returns:
        Scalar, or of the shape of the labels without a reduction; in nats.

    Raises:
        UserError: logits or labels of another shape or kind, labels that are no class, or a
            setting that is none of those.
    """
    check_logits(logits, labels)
    check_reduction(reduction)
    _check_choice("precision", precision, (*get_args(Precision), None))
    if precision == "float64" and jax.dtypes.canonicalize_dtype(precision) != precision:
        raise UserError(
            "precision='float64' needs JAX's 64-bit mode: jax.config.update('jax_enable_x64', "
            "True), or precision='float32'"
        )
    if precision is not None:
        logits = logits.astype(precision)
    classes = logits.shape[-1]
    # Masks of all classes, as a processor looks up one number at a time and masks many at once.
    is_label = labels[..., None] == jnp.arange(classes)
    losses = jax.nn.logsumexp(logits, axis=-1) - jnp.sum(logits, axis=-1, where=is_label)
    return reduce_losses(jnp.where(is_label.any(axis=-1), losses, jnp.nan), reduction)


def zero_one(logits: Array, labels: Array, *, reduction: Reduction = "mean") -> Array:
    """Share of labels that are not the largest logit: a loss without a gradient.

    Args:
        logits: [examples, classes] or, with a label for each token, [examples, tokens, classes].
        labels: integers in [0, classes) of the shape of the logits without the last axis.
        reduction: mean; or sum, the number of errors; or none, 0 or 1 for each label.

    Returns:
        Scalar, or of the shape of the labels without a reduction; float32.

    Raises:
        UserError: logits or labels of another shape or kind, labels that are no class, or another
            reduction.
    """
    check_logits(logits, labels)
    check_reduction(reduction)
    wrong = jnp.argmax(logits, axis=-1) != labels
    return reduce_losses(wrong.astype(jnp.float32), reduction)


def reduce_losses(losses: Array, reduction: Reduction) -> Array:
    """The losses of all labels, joined as ``check_reduction`` allows."""
    reduce = {"mean": jnp.mean, "sum": jnp.sum}
    return reduce[reduction](losses) if reduction in reduce else losses


def count_from_the_first(labels: Array, classes: int) -> Array:
    """The labels, with numbers below 0 moved above the last class.

    They would count from the last class; as those above, they are no class.
    """
    if not jnp.issubdtype(labels.dtype, jnp.signedinteger):
        return labels
    labels = labels.astype(jnp.promote_types(labels.dtype, jnp.int32))
    return jnp.where(labels < 0, classes, labels)


def check_reduction(reduction: Any) -> None:
    """Refuse what is no reduction.

    Raises:
        UserError: with those that there are.
    """
    _check_choice("reduction", reduction, get_args(Reduction))


def check_logits(logits: Any, labels: Any) -> None:
    """Refuse logits [examples, ..., classes] and labels that do not go with one another.

    Raises:
        UserError: another shape or kind, or labels that are no class, where their values are known.
    """
    for name, array, kind in (("logits", logits, jnp.floating), ("labels", labels, jnp.integer)):
        if not hasattr(array, "dtype") or not jnp.issubdtype(array.dtype, kind):
            found = getattr(array, "dtype", type(array).__name__)
            wanted = "real numbers" if kind is jnp.floating else "whole numbers, one class each"
            raise UserError(f"{name} are {found}; pass an array of {wanted}")
    if logits.ndim < 2 or logits.shape[-1] < 1:
        raise UserError(f"logits have shape {logits.shape}; they must be [examples, ..., classes]")
    if labels.shape != logits.shape[:-1]:
        remedy = f"labels must have shape {logits.shape[:-1]}"
        if labels.shape == (*logits.shape[:-1], 1):
            remedy = "pass labels[..., 0]"
        elif labels.shape == logits.shape:
            remedy = "pass classes instead of one-hot labels: labels.argmax(-1)"
        raise UserError(f"labels have shape {labels.shape}, logits {logits.shape}; {remedy}")
    if isinstance(labels, jax.core.Tracer) or not labels.size:
        return
    known = np.asarray(labels)  # JAX would trace the minimum of an array that it knows
    lowest, highest = int(known.min()), int(known.max())
    if lowest < 0 or highest >= logits.shape[-1]:
        raise UserError(
            f"labels are from {lowest} to {highest}; for {logits.shape[-1]} logits they must be "
            f"in 0..{logits.shape[-1] - 1}"
        )


def _check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    if value not in choices:
        raise UserError(f"{name} is {value!r}; it must be one of {', '.join(map(str, choices))}")
