"""Evaluation: the losses of the candidates of one weight, by running the whole loss for each.

The reference for every faster way: nothing is assumed of the loss.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
from jax import Array, lax

from rso_jax.search.leaves import LossFn

PyTree = Any
CandidateAxis = Literal["vmap", "map"]

# On a CPU a forward pass above this already fills every core, and a vmapped convolution whose
# kernel differs by candidate becomes a grouped one, which XLA's CPU backend runs several times
# slower. experiments/benchmarks/candidate_axis.py measures both sides.
MAP_ABOVE_FLOPS = 200e6


def choose_candidate_axis(loss_fn: LossFn, params: PyTree, batch: PyTree) -> CandidateAxis:
    """Whether to score candidates in one ``vmap`` or one after the other by ``lax.map``.

    Args:
        loss_fn: ``loss_fn(params, batch)``, a scalar.
        params: pytree of arrays or ``jax.ShapeDtypeStruct``.
        batch: one mini-batch, likewise.

    Returns:
        ``"map"`` for large work on a CPU, ``"vmap"`` otherwise.
    """
    if jax.default_backend() != "cpu":
        return "vmap"
    cost = jax.jit(loss_fn).lower(params, batch).cost_analysis() or {}
    return "map" if cost.get("flops", 0.0) > MAP_ABOVE_FLOPS else "vmap"


def full_forward(
    loss_fn: LossFn,
    with_weight: Callable[[Array], PyTree],
    batch: PyTree,
    weights: Array,
    axis: CandidateAxis,
) -> Array:
    """Losses of several values of one weight on one mini-batch.

    Args:
        loss_fn: ``loss_fn(params, batch)``, a scalar.
        with_weight: the parameters with that weight replaced.
        batch: one mini-batch.
        weights: values to try [candidates].
        axis: ``"vmap"`` or ``"map"``.

    Returns:
        Losses [candidates].
    """

    def loss(weight: Array) -> Array:
        return loss_fn(with_weight(weight), batch)

    return jax.vmap(loss)(weights) if axis == "vmap" else lax.map(loss, weights)
