"""A part of the parameters that an optimiser steps, with what it remembers of it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rso_jax.arrays import kind_of
from rso_jax.descent.leniency import leniency
from rso_jax.errors import UserError

PyTree = Any


class Part(NamedTuple):
    """Some weights, and what is remembered of them from step to step."""

    weights: PyTree
    optimizer: PyTree
    """The optimiser's state."""
    average: PyTree
    """An exponential mean of the weights, of 32 bits at least; None where none is kept."""


class Stepper(NamedTuple):
    """How weights are stepped."""

    optimizer: optax.GradientTransformation
    average: float | None
    """Decay of the exponential mean of the weights; None for no mean."""


def make_stepper(optimizer: Any, average: Any) -> Stepper:
    """Both, checked.

    Raises:
        UserError: an optimizer that is none of optax, or a decay outside (0, 1).
    """
    # Some of optax's own are no GradientTransformation, but have its two functions.
    if not all(callable(getattr(optimizer, name, None)) for name in ("init", "update")):
        raise UserError(
            f"optimizer is {kind_of(optimizer)}; pass an optax gradient transformation, as "
            "optax.sgd(0.1) makes"
        )
    if average is None:
        return Stepper(optimizer, None)
    if not isinstance(average, int | float) or not 0 < average < 1:
        raise UserError(f"average is {average!r}; it must be above 0 and below 1, or None")
    return Stepper(optimizer, float(average))


def begin_part(stepper: Stepper, weights: PyTree) -> Part:
    """Weights before their first step."""
    with leniency():
        average = None if stepper.average is None else _mean(stepper.average).init(_wide(weights))
        return Part(weights, stepper.optimizer.init(weights), average)


def step_part(stepper: Stepper, part: Part, slopes: PyTree) -> Part:
    """Weights after a step along slopes, which hold None where the weights do."""
    weights = part.weights
    with leniency():
        updates, optimizer = stepper.optimizer.update(slopes, part.optimizer, weights)
    # A float64 schedule (64-bit mode) must not promote float32 weights.
    updates = jax.tree.map(lambda u, p: u.astype(p.dtype), updates, weights)
    weights, average = optax.apply_updates(weights, updates), part.average
    if stepper.average is not None:
        with leniency():
            _, average = _mean(stepper.average).update(_wide(weights), average)
    return Part(weights, optimizer, average)


def averaged(stepper: Stepper, part: Part) -> PyTree:
    """The mean of the weights after each step; before the first, and if none is kept, themselves.

    In their own types.
    """
    if stepper.average is None:
        return part.weights
    steps = part.average.count
    with leniency():
        mean = optax.tree.bias_correction(part.average.ema, stepper.average, jnp.maximum(steps, 1))
        return jax.tree.map(
            lambda m, w: jnp.where(steps > 0, m.astype(w.dtype), w), mean, part.weights
        )


def _mean(decay: float) -> optax.GradientTransformation:
    return optax.ema(decay)


def _wide(weights: PyTree) -> PyTree:
    """In bfloat16 small steps of a mean would be lost."""
    return jax.tree.map(lambda a: a.astype(jnp.promote_types(a.dtype, jnp.float32)), weights)
