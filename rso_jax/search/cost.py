"""Cost: what a sweep will compute and hold, counted before anything runs."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax import Array

from rso_jax.incremental import ColumnProgram, ColumnView, count_work, move, total_work
from rso_jax.leaves import Leaf, shapes_of
from rso_jax.search.minibatches import MiniBatches
from rso_jax.search.plan import Plan
from rso_jax.stacks import stack_shape

PyTree = Any


class SweepCost(NamedTuple):
    """What the sweep of a leaf costs: operations and bytes moved, as by ``count_work``."""

    path: str
    columns: int
    fan_in: int | None
    """Weights that feed one output; None for a scale or a shift."""
    weights: int
    candidates: int
    """Scored at every visit, the incumbent included."""
    candidate_flops: int
    """Of scoring one candidate."""
    candidate_bytes: int
    """Likewise."""
    forward_flops: int
    """Of the whole loss, or of all losses, on one mini-batch."""
    forward_bytes: int
    """Likewise."""
    image_evaluations: int
    """Candidates scored in a sweep times examples in their mini-batch."""
    sweep_flops: int
    """In all: the candidates of every visit, and what is computed ahead of them."""
    sweep_bytes: int
    """Likewise."""
    bytes_kept: int
    """Intermediate results held during the sweep."""
    loss: str = ""
    """Name of the loss that the leaf is searched on; empty where there is only one."""


def scoring(
    program: ColumnProgram, params: PyTree, batch: PyTree, leaf: Leaf
) -> tuple[Callable[..., Array], tuple[PyTree, ...]]:
    """What is computed for each candidate of a weight.

    Args:
        program: that evaluates it.
        params: pytree of arrays or ``jax.ShapeDtypeStruct``.
        batch: one mini-batch, likewise.
        leaf: that the weight is of.

    Returns:
        A function ``(view, weights, pre-activation, direction, value, value before) -> loss`` and
        the shapes of its arguments.
    """
    shapes = shapes_of(program, params, batch, leaf)
    direction = jax.eval_shape(program.direction, shapes.view, shapes.view.index)
    weight = jax.ShapeDtypeStruct((), leaf.dtype)

    def score_one(
        view: ColumnView, weights: Array, z: PyTree, direction: PyTree, new: Array, old: Array
    ) -> Array:
        return program.loss(view, weights, move(z, direction, new, old))

    return score_one, (shapes.view, shapes.weights, shapes.z, direction, weight, weight)


def cost_of_sweep(
    program: ColumnProgram,
    plan: Plan,
    params: PyTree,
    batches: PyTree,
    leaf: Leaf,
    minibatches: MiniBatches,
    losses: Callable[..., Any],
) -> SweepCost:
    """Count a sweep.

    Args:
        program: that evaluates its candidates.
        plan: for the leaf, by ``plan_sweep``.
        params: pytree of ``jax.ShapeDtypeStruct``.
        batches: stack of mini-batches [M, n, ...] as arranged, likewise.
        leaf: to sweep.
        minibatches: how the sweep draws its mini-batches.
        losses: ``losses(params, batch)``: all losses, where the leaf is searched on one of several.
    """
    stacked, batch_size = stack_shape(batches)
    in_a_column = minibatches.in_a_column(stacked)
    batch = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), batches)
    score, given = scoring(program, params, batch, leaf)
    view, weights = given[:2]

    decisions = plan.decisions(leaf, 0, leaf.visits)
    at_a_time = plan.segment.columns
    # Once for every mini-batch of the stack where it is kept, else at every decision.
    prefixes = stacked if plan.kept.prefixes else decisions
    residuals = leaf.columns * in_a_column if plan.kept.columns else decisions * at_a_time
    made = decisions * at_a_time
    if plan.kept.preactivations:
        made = (len(plan.segment.boundaries(leaf)) - 1) * in_a_column
    scored = plan.evaluations(leaf, 0, leaf.visits)
    joint_steps = plan.counts.joint_steps
    # Candidates of whole blocks: by whole forward passes where a block has several columns.
    together = decisions * (1 + joint_steps) if joint_steps else 0
    by_forwards = together if at_a_time > 1 else 0
    made += together - by_forwards
    # What a visit changes enters the pre-activation of every mini-batch.
    carried = decisions * in_a_column * plan.kept.preactivations
    if not joint_steps and plan.sums_weights(program, leaf):
        carried += made * leaf.height
        made = 0
    # Once for the candidates of a visit, besides what is carried on; for every probe of a block.
    directions = scored - together if joint_steps else decisions + carried

    forward = count_work(losses, params, batch)
    of_candidate = count_work(score, *given)
    sweep = total_work(
        (prefixes, count_work(program.prefix, params, batch)),
        (residuals, count_work(program.column, params, batch, view.prefix, view.index)),
        (made, count_work(program.preactivation, view, weights)),
        (directions, count_work(program.direction, view, view.index)),
        (carried, count_work(move, *given[2:])),
        (scored - by_forwards, of_candidate),
        (by_forwards, count_work(program.whole, params, batch)),
    )
    return SweepCost(
        path=leaf.path,
        columns=leaf.columns,
        fan_in=leaf.axes.fan_in,
        weights=leaf.visits,
        candidates=plan.counts.candidates,
        candidate_flops=int(of_candidate.flops),
        candidate_bytes=int(of_candidate.bytes),
        forward_flops=int(forward.flops),
        forward_bytes=int(forward.bytes),
        image_evaluations=scored * batch_size,
        sweep_flops=int(sweep.flops),
        sweep_bytes=int(sweep.bytes),
        bytes_kept=plan.kept.size,
    )
