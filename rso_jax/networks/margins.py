"""Margins, and what to ask beside a count of errors: a loss by which equal counts are told apart.

A count of errors is the same for most candidates of a weight. ``lexicographic`` puts a second loss
below it, so that fewer errors always win and among equal counts the second loss decides.
"""

from numbers import Real
from typing import Any

import jax.numpy as jnp
from jax import Array

from rso_jax.errors import UserError
from rso_jax.networks.losses import (
    Reduction,
    check_logits,
    check_reduction,
    count_from_the_first,
    reduce_losses,
)


def margin(logits: Array, labels: Array, *, reduction: Reduction = "mean") -> Array:
    """By how much the largest other logit exceeds that of the label: below 0 where it is right.

    It has no lowest value: larger weights lower it for ever. ``hinge`` has one.

    Args:
        logits: [examples, classes], of two classes or more; or [examples, tokens, classes].
        labels: integers in [0, classes) of the shape of the logits without the last axis. Where
            they are outside, which only their values tell, a compiled loss is NaN.
        reduction: mean or sum over all labels; or none, a margin for each label.

    Returns:
        Scalar, or of the shape of the labels without a reduction; in units of the logits.

    Raises:
        UserError: logits or labels of another shape or kind, labels that are no class, a single
            class, or another reduction.
    """
    check_logits(logits, labels)
    check_reduction(reduction)
    if logits.shape[-1] < 2:
        raise UserError(
            f"logits have shape {logits.shape}; a margin needs two classes or more, as of "
            "jnp.stack([-scores / 2, scores / 2], -1)"
        )
    classes = logits.shape[-1]
    places = count_from_the_first(labels, classes)[..., None]
    own = jnp.take_along_axis(logits, places, axis=-1, mode="fill", fill_value=jnp.nan)
    others = jnp.where(jnp.arange(classes) == places, -jnp.inf, logits)
    return reduce_losses(jnp.max(others, axis=-1) - own[..., 0], reduction)


def hinge(
    logits: Array, labels: Array, *, width: float = 1.0, reduction: Reduction = "mean"
) -> Array:
    """What the logit of the label lacks of being the largest by ``width``; 0 where it lacks none.

    Crammer & Singer, "On the Algorithmic Implementation of Multiclass Kernel-based Vector
    Machines", 2001.

    Args:
        logits: [examples, classes], of two classes or more; or [examples, tokens, classes].
        labels: integers in [0, classes) of the shape of the logits without the last axis.
        width: from 0 on, in units of the logits; with 0 it is the perceptron's loss.
        reduction: mean or sum over all labels; or none, a loss for each label.

    Returns:
        Scalar, or of the shape of the labels without a reduction; in units of the logits.

    Raises:
        UserError: as of ``margin``, or a width below 0.
    """
    if isinstance(width, Real) and not 0 <= width < float("inf"):
        raise UserError(f"width is {width!r}; it must be a number from 0 on")
    lacking = jnp.maximum(margin(logits, labels, reduction="none") + width, 0)
    return reduce_losses(lacking, reduction)


def lexicographic(first: Any, second: Any, *, step: float) -> Array:
    """The first loss, and below its steps the second: a smaller first one always wins.

    It is ``first + step * s``, where s rises with the second loss: 1/4 + 1 / (4 (1 - second)) below
    0, and 3/4 - 1 / (4 (1 + second)) above. It stays between 1/4 and 3/4; the rest of the step is
    room for rounding, so that in float32 the order of the first loss holds for up to a million
    steps from 0. Of the second loss float32 then resolves about ``5e-7 * first / step`` near 0,
    where s is steepest: 5e-4 beside 1,000 errors. Scale it so that differences of about 1 matter.

    Losses of a mini-batch and of single examples are taken alike; but the mean of what is
    lexicographic for each example is not lexicographic itself.

    Args:
        first: made of steps, such as a number of errors; any shape.
        second: real numbers that broadcast with it. Infinities are its ends, NaN stays NaN.
        step: smallest difference of two values of the first loss: 1 for numbers of errors, 1 / n
            for means over n examples.

    Returns:
        The two in one; floating-point, of the shape that both broadcast to.

    Raises:
        UserError: a step that is not above 0.
    """
    if isinstance(step, Real) and not 0 < step < float("inf"):
        raise UserError(f"step is {step!r}; it must be above 0: 1 for counts, 1 / n for means of n")
    second = jnp.asarray(second)
    dtype = jnp.result_type(first, second, jnp.float32)
    second = second.astype(dtype)
    # Each operation is monotone also as it is rounded, which x / (1 + |x|) is not.
    above, below = (0.25 / (1 + jnp.maximum(x, 0)) for x in (second, -second))
    within = jnp.where(second > 0, 0.75 - above, 0.25 + below)
    within = jnp.where(jnp.isnan(second), second, within)
    return jnp.asarray(first).astype(dtype) + jnp.asarray(step, dtype) * within
