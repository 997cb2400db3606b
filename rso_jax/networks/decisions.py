"""Losses of what a network decides: none of them has a derivative, and a search needs none.

Some take logits and class labels, and are a mean over examples. Others take one score for each
example and labels 0 and 1, decide 1 where the score is above 0, and belong to the mini-batch as a
whole: its mini-batches should be large.
"""

from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rso_jax.errors import UserError, whole_number
from rso_jax.networks.losses import (
    Reduction,
    check_logits,
    check_reduction,
    count_from_the_first,
    reduce_losses,
)


def top_k(logits: Array, labels: Array, k: int, *, reduction: Reduction = "mean") -> Array:
    """Share of labels that are not among the k largest logits.

    Of equal logits the first class counts as the larger one, so that k = 1 is ``zero_one``.

    Args:
        logits: [examples, classes] or, with a label for each token, [examples, tokens, classes].
        labels: integers in [0, classes) of the shape of the logits without the last axis. Where
            they are outside, which only their values tell, a compiled loss is NaN.
        k: from 1 up to the number of classes less one.
        reduction: mean or sum over all labels; or none, 0 or 1 for each label.

    Returns:
        Scalar, or of the shape of the labels without a reduction; float32.

    Raises:
        UserError: logits or labels of another shape or kind, labels that are no class, or a
            setting that is none of those.
    """
    check_logits(logits, labels)
    check_reduction(reduction)
    classes = logits.shape[-1]
    if whole_number("k", k, 1) >= classes:
        raise UserError(f"k is {k} of {classes} classes, which no network misses; use fewer")
    places = count_from_the_first(labels, classes)[..., None]
    own = jnp.take_along_axis(logits, places, axis=-1, mode="fill", fill_value=jnp.nan)
    ahead = (logits > own) | ((logits == own) & (jnp.arange(classes) < places))
    missed = (jnp.sum(ahead, axis=-1) >= k).astype(jnp.float32)
    return reduce_losses(jnp.where(jnp.isnan(own[..., 0]), jnp.nan, missed), reduction)


def cost_matrix(
    logits: Array, labels: Array, costs: Any, *, reduction: Reduction = "mean"
) -> Array:
    """What it costs to decide for the largest logit where the label is the truth.

    Args:
        logits: [examples, classes] or, with a label for each token, [examples, tokens, classes].
        labels: integers in [0, classes) of the shape of the logits without the last axis. Where
            they are outside, which only their values tell, a compiled loss is NaN.
        costs: [classes, classes], the truth first: ``costs[i][j]`` of deciding j where i is true.
        reduction: mean or sum over all labels; or none, a cost for each label.

    Returns:
        Scalar, or of the shape of the labels without a reduction; in units of the costs.

    Raises:
        UserError: logits or labels of another shape or kind, labels that are no class, costs of
            another shape or not finite, or another reduction.
    """
    check_logits(logits, labels)
    check_reduction(reduction)
    classes = logits.shape[-1]
    shape = np.shape(costs)
    if shape != (classes, classes):
        raise UserError(f"costs have shape {shape}; for these logits it must be {(classes,) * 2}")
    if not isinstance(costs, jax.core.Tracer) and not np.all(np.isfinite(costs)):
        raise UserError("costs hold a number that is not finite; use a large one")
    table = jnp.asarray(costs, jnp.promote_types(logits.dtype, jnp.float32))
    places = count_from_the_first(labels, classes)
    decided = jnp.argmax(logits, axis=-1)
    return reduce_losses(table.at[places, decided].get(mode="fill", fill_value=jnp.nan), reduction)


def f1(scores: Array, labels: Array) -> Array:
    """1 - F1, of scores of two classes or, as the mean over classes (macro), of logits.

    F1 is the harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN).

    Args:
        scores: [examples], above 0 for a decision of 1; or logits [examples, classes].
        labels: [examples] integers: 0 or 1, or classes.

    Returns:
        Scalar in [0, 1]; float32. Classes that are neither there nor decided are not in the mean;
        if label 1 is neither, of two classes, the loss is 1.

    Raises:
        UserError: scores or labels of another shape or kind, or labels that are no class.
    """
    if jnp.ndim(scores) == 1:
        true, decided = _check_binary(scores, labels)[:, None], (scores > 0)[:, None]
    else:
        check_logits(scores, labels)
        if scores.ndim != 2:
            raise UserError(f"logits have shape {scores.shape}; F1 takes [examples, classes]")
        classes = jnp.arange(scores.shape[-1])
        true = labels[:, None] == classes
        decided = jnp.argmax(scores, axis=-1)[:, None] == classes
    hits = jnp.sum(true & decided, axis=0)
    both = jnp.sum(true, axis=0) + jnp.sum(decided, axis=0)
    missing = 1 - 2 * hits / jnp.maximum(both, 1)
    there = jnp.maximum(jnp.sum(both > 0), 1)
    return jnp.sum(jnp.where((both > 0) | (both.size == 1), missing, 0)) / there


def auc(scores: Array, labels: Array) -> Array:
    """1 - the area under the ROC curve: how often a 0 has a larger score than a 1.

    Over all pairs of an example labelled 1 and one labelled 0; equal scores count half. By ranks
    (Mann & Whitney, "On a Test of Whether one of Two Random Variables is Stochastically Larger
    than the Other", 1947), exact for up to 8,192 examples, to float32's rounding beyond.

    Args:
        scores: [examples], larger for 1; monotone changes of them do not matter.
        labels: [examples] integers, 0 or 1.

    Returns:
        Scalar in [0, 1]; float32. NaN, which no search accepts, where a score is NaN or all labels
        are the same.

    Raises:
        UserError: scores or labels of another shape or kind, or other labels.
    """
    true = _check_binary(scores, labels)
    ordered = jnp.sort(scores)
    below, upto = (jnp.searchsorted(ordered, scores, side=side) for side in ("left", "right"))
    # Twice a rank, counted from the middle of all.
    ranks = (below + upto - len(scores)).astype(jnp.float32)
    positives = jnp.sum(true).astype(jnp.float32)
    pairs = positives * (len(scores) - positives)
    lost = 0.5 - 0.5 * jnp.sum(jnp.where(true, ranks, 0)) / pairs
    return jnp.where(jnp.any(jnp.isnan(scores)), jnp.nan, lost)


def false_alarms(scores: Array, labels: Array, *, at_most: float = 0.01) -> Array:
    """Share of the 1s that are missed, if at most so many of the 0s raise a false alarm.

    With more false alarms the loss is above 1, and grows with their number: a search first comes
    back to what is allowed, and then misses as few as it can.

    Args:
        scores: [examples]; above 0 is an alarm.
        labels: [examples] integers: 1 where there should be one, 0 where not.
        at_most: share of the 0s, in [0, 1).

    Returns:
        Scalar in [0, 2]; float32.

    Raises:
        UserError: scores or labels of another shape or kind, other labels, or no such share.
    """
    true = _check_binary(scores, labels)
    if not isinstance(at_most, Real) or not 0 <= at_most < 1:
        raise UserError(f"at_most is {at_most!r}; it must be a share of the 0s, in [0, 1)")
    alarms = scores > 0
    negatives = jnp.maximum(jnp.sum(~true), 1)
    # A little more, so that 0.01 of 100 is 1 however it is rounded.
    allowed = jnp.floor(at_most * (1 + 1e-6) * negatives)
    excess = jnp.sum(alarms & ~true) - allowed
    missed = jnp.sum(true & ~alarms) / jnp.maximum(jnp.sum(true), 1)
    return jnp.where(excess > 0, 1 + excess / negatives, missed)


def _check_binary(scores: Any, labels: Any) -> Array:
    """Which examples are labelled 1.

    Raises:
        UserError: scores that are no real numbers [examples], or labels other than 0 and 1.
    """
    shape = getattr(scores, "shape", None)
    if shape is None or len(shape) != 1:
        remedy = "for logits of two classes logits[:, 1] - logits[:, 0]"
        raise UserError(f"scores have shape {shape}; pass one for each example, {remedy}")
    check_logits(jnp.stack([-scores, scores], axis=-1), labels)
    return jnp.asarray(labels) == 1
