"""What a search is made of, by the names of the command line."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import jax.numpy as jnp
from jax import Array

from rso_jax.networks import cross_entropy, grids, int8, lexicographic, zero_one
from rso_jax.networks.losses import Precision
from rso_jax.search import acceptance, joint, minibatches, order, proposals
from rso_jax.search.proposals import ByLeaf, Proposal

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


def _flip(kernel: Any) -> Proposal:
    del kernel
    return proposals.sign_flip


def _other_two(kernel: Any) -> Proposal:
    scale = grids.scale_of(kernel)

    def propose(key: Array, weight: Array, sigma: Array) -> Array:
        return proposals.ternary_step(key, weight, jnp.asarray(scale, sigma.dtype))

    return propose


def _whole_units(kernel: Any) -> Proposal:
    unit = int8.unit_of(kernel)

    def propose(key: Array, weight: Array, sigma: Array) -> Array:
        drawn = proposals.normal(key, weight, sigma)
        units = jnp.sign(drawn) * jnp.maximum(jnp.round(jnp.abs(drawn) / unit), 1)
        most = int8.MOST * jnp.asarray(unit, weight.dtype)
        return jnp.clip(weight + units * unit, -most, most) - weight

    return propose


ON_GRIDS: dict[str, Callable[[Any], Proposal]] = {
    "binary": _flip,
    "ternary": _other_two,
    "int8": _whole_units,
}
"""Of a kernel whose weights are on a grid: perturbations that stay there."""


def propose_on_grid(grid: str, kernels: Mapping[str, Any], others: Proposal) -> ByLeaf:
    """Perturbations that leave kernels on a grid.

    Args:
        grid: its name.
        kernels: what is on the grid, arrays or ``jax.ShapeDtypeStruct`` by path.
        others: for all other leaves.
    """
    return ByLeaf(lambda path: ON_GRIDS[grid](kernels[path]) if path in kernels else others)


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
