"""What a search is made of, by the names of the command line."""

from functools import partial
from typing import Literal

from jax import Array

from rso_jax.networks import cross_entropy, lexicographic, zero_one
from rso_jax.networks.losses import Precision
from rso_jax.search import acceptance, joint, minibatches, order, proposals

ORDERS = {
    "last-to-first": order.last_to_first,
    "first-to-last": order.first_to_last,
    "random": order.random_order,
}
DISTANCES = {
    "normal": proposals.normal_distance,
    "uniform": proposals.uniform_distance,
    "fixed": proposals.fixed_distance,
}
"""Proposals that try a distance both ways."""
OTHER_PROPOSALS = {"sign-flip": proposals.sign_flip, "ternary": proposals.ternary_step}
PROPOSALS = (*DISTANCES, *OTHER_PROPOSALS)
JOINT_STEPS = {
    "accepted": joint.accepted(),
    "parabola": joint.parabola(),
    "together": joint.together,
}
MINIBATCHES = {
    "cycled": minibatches.cycled,
    "fresh": minibatches.fresh,
    "per-column": minibatches.per_column,
    "per-leaf": minibatches.per_leaf,
    "per-cycle": minibatches.per_cycle,
}
TIES = {
    "keep": acceptance.greedy,
    "draw": acceptance.sideways,
    "move": partial(acceptance.sideways, move=True),
}


def _zero_one(
    logits: Array, labels: Array, *, reduction: Literal["mean", "sum"], precision: Precision
) -> Array:
    del precision  # counts need none
    return zero_one(logits, labels, reduction=reduction)


def _errors_first(
    logits: Array, labels: Array, *, reduction: Literal["mean", "sum"], precision: Precision
) -> Array:
    """Fewer errors first, and of as many the smaller mean cross-entropy."""
    errors = zero_one(logits, labels, reduction="sum")
    total = lexicographic(errors, cross_entropy(logits, labels, precision=precision), step=1)
    return total if reduction == "sum" else total / labels.size


LOSSES = {"cross-entropy": cross_entropy, "zero-one": _zero_one, "errors-first": _errors_first}
"""``(logits, labels, reduction, precision)``."""
