"""Cost: what the slopes of every leaf will take, counted before anything runs."""

from typing import Any, NamedTuple

import jax

from rso_jax.arrays import structs_of
from rso_jax.incremental import Work, count_work, move
from rso_jax.slopes.examples import LossesFn
from rso_jax.slopes.planning import LeafPlan, MakePlan, Settings, planner
from rso_jax.slopes.positions import Traced
from rso_jax.slopes.probes import Moves

PyTree = Any


class LeafCost(NamedTuple):
    """What the slopes of a leaf cost: evaluations, and the work of one as by ``count_work``."""

    path: str
    columns: int
    height: int
    """Weights of a column."""
    positions: int
    """Values of its pre-activation for every example; 0 where it has none that examples own."""
    moves: Moves
    """What an evaluation moves."""
    evaluations: int
    """For all of its columns; 0 of a bias that follows from those of its layer. That of the value,
    once an estimate, is not among them."""
    candidate_flops: float
    """Of one evaluation."""
    candidate_bytes: float
    """Likewise."""
    forward_flops: float
    """Of all losses on one mini-batch."""
    forward_bytes: float
    """Likewise."""
    loss: str
    """Name of the loss that the slopes are of; empty where there is only one."""


def count_cost(settings: Settings, params: PyTree, batch: PyTree) -> list[LeafCost]:
    """Count what an estimate takes, leaf by leaf. Nothing is computed.

    Args:
        settings: of the estimate.
        params: arrays or ``jax.ShapeDtypeStruct``.
        batch: one mini-batch, likewise.

    Raises:
        UserError: as ``plan_leaves``.
    """
    return count_planned(settings.losses_fn, planner(settings), params, batch)


def count_planned(
    losses_fn: LossesFn, make_plan: MakePlan, params: PyTree, batch: PyTree
) -> list[LeafCost]:
    """As ``count_cost``, by plans that are made already.

    Args:
        losses_fn: of the estimate.
        make_plan: as of ``planner``.
        params: arrays or ``jax.ShapeDtypeStruct``.
        batch: one mini-batch, likewise.
    """
    params, batch = structs_of((params, batch))
    forward = count_work(losses_fn, params, batch)
    costs: list[LeafCost] = []
    for plan in make_plan(params, batch).leaves:
        cost = _cost_of_leaf(plan, forward)
        costs.append(cost)
        for bias in plan.biases:
            costs.append(cost._replace(path=bias.path, height=bias.height, evaluations=0))
    return costs


def _cost_of_leaf(plan: LeafPlan, forward: Work) -> LeafCost:
    one = _work_of_evaluation(plan)
    return LeafCost(
        path=plan.leaf.path,
        columns=plan.leaf.columns,
        height=plan.leaf.height,
        positions=plan.size.positions,
        moves=plan.moves,
        evaluations=plan.evaluations * plan.leaf.columns,
        candidate_flops=one.flops,
        candidate_bytes=one.bytes,
        forward_flops=forward.flops,
        forward_bytes=forward.bytes,
        loss=plan.loss,
    )


def _work_of_evaluation(plan: LeafPlan) -> Work:
    """The work of one probe of a leaf: a pre-activation is moved, and all that follows from it."""
    program, shapes = plan.program, plan.shapes
    if plan.positions is not None:
        return plan.positions.count_work(Traced(program, shapes, plan.axes))
    if plan.moves == "nodes":

        def move_node(view: Any, weights: Any, z: PyTree, step: PyTree) -> Any:
            return program.loss(view, weights, jax.tree.map(jax.lax.add, z, step))

        return count_work(move_node, shapes.view, shapes.weights, shapes.z, shapes.z)

    def move_weight(view: Any, weights: Any, z: PyTree, along: PyTree, new: Any, old: Any) -> Any:
        return program.loss(view, weights, move(z, along, new, old))

    direction = jax.eval_shape(program.direction, shapes.view, shapes.view.index)
    weight = jax.ShapeDtypeStruct((), plan.leaf.dtype)
    return count_work(move_weight, shapes.view, shapes.weights, shapes.z, direction, weight, weight)
