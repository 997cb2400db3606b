"""Cost: what a sweep will compute and hold, counted before anything runs."""

from typing import Any, NamedTuple

import jax

from rso_jax.incremental import ColumnProgram, count_flops
from rso_jax.search.evaluation import Plan
from rso_jax.search.leaves import Leaf, LossFn
from rso_jax.search.minibatches import stack_shape

PyTree = Any


class SweepCost(NamedTuple):
    """What the sweep of a leaf costs. FLOPs as by ``count_flops``."""

    path: str
    columns: int
    weights: int
    candidates: int
    """Scored at every visit, the incumbent included."""
    candidate_flops: int
    """Of scoring one candidate."""
    forward_flops: int
    """Of the whole loss on one mini-batch."""
    sweep_flops: int
    """In all: the candidates of every visit, and what is computed ahead of them."""
    bytes_kept: int
    """Intermediate results held during the sweep."""


def cost_of_sweep(
    loss_fn: LossFn,
    program: ColumnProgram,
    plan: Plan,
    params: PyTree,
    batches: PyTree,
    leaf: Leaf,
    candidates: int,
) -> SweepCost:
    """Count a sweep.

    Args:
        loss_fn: ``loss_fn(params, batch)``, a scalar.
        program: that evaluates its candidates.
        plan: for the leaf, by ``plan_sweep``.
        params: pytree of ``jax.ShapeDtypeStruct``.
        batches: stack of mini-batches [M, n, ...], likewise.
        leaf: to sweep.
        candidates: scored at every visit, the incumbent included.
    """
    minibatches, _ = stack_shape(batches)
    batch = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), batches)
    index = jax.ShapeDtypeStruct((), "int32")
    weights = jax.ShapeDtypeStruct(leaf.shape[:-1], leaf.dtype)
    prefix = jax.eval_shape(program.prefix, params, batch)
    column = jax.eval_shape(program.column, params, batch, prefix, index)
    inside = (params, batch, prefix, column, index, weights)
    z = jax.eval_shape(program.preactivation, *inside)

    columns = leaf.shape[-1] if leaf.shape else 1
    stretches = len(leaf.cuts) - 1
    # Once for every mini-batch of the stack where it is kept, else at every visit.
    prefixes = minibatches if plan.keep_prefixes else leaf.visits
    residuals = columns * minibatches if plan.keep_columns else leaf.visits
    made = stretches * minibatches if plan.carry_preactivations else leaf.visits
    ahead = (
        prefixes * count_flops(program.prefix, params, batch)
        + residuals * count_flops(program.column, params, batch, prefix, index)
        + made * count_flops(program.preactivation, *inside)
    )
    of_candidate = count_flops(program.loss, *inside, z)
    return SweepCost(
        path=leaf.path,
        columns=columns,
        weights=leaf.visits,
        candidates=candidates,
        candidate_flops=of_candidate,
        forward_flops=count_flops(loss_fn, params, batch),
        sweep_flops=leaf.visits * candidates * of_candidate + ahead,
        bytes_kept=plan.bytes_kept,
    )
