"""Descent along slopes as a method: any optax optimiser, no derivative."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache, partial
from typing import Any, Literal, TypeVar

import jax
import optax
from jax import Array
from jax.sharding import Mesh

from rso_jax.arguments import check_callable
from rso_jax.arrays import structs_of
from rso_jax.descent import descend, descend_in_turn
from rso_jax.descent.epochs import Cost
from rso_jax.descent.method import Estimate
from rso_jax.descent.turns import LeafEstimate
from rso_jax.descent.weights import weights_of
from rso_jax.errors import check_name
from rso_jax.leaves import (
    LookAhead,
    Outputs,
    check_look_ahead,
    mark_searched,
    searched_leaves,
    sort_last_to_first,
)
from rso_jax.method import Method
from rso_jax.slopes.cost import LeafCost, count_planned
from rso_jax.slopes.estimate import Value, estimate
from rso_jax.slopes.examples import LossesFn
from rso_jax.slopes.planning import (
    MakePlan,
    ProbesOfLeaves,
    Settings,
    check_probes,
    plan_leaves,
    planner,
)
from rso_jax.stacks import count_examples, one_of_stack

PyTree = Any

Leaves = Literal["together", "in_turn"]
"""Whether a visit steps all leaves on its mini-batch, or one of them, which take turns."""

MakePlanAlone = Callable[[int, Any], MakePlan]
"""``(place, structure of params)``: the same where one leaf is all that is searched."""

Counted = TypeVar("Counted")


@dataclass(frozen=True, kw_only=True)
class Slopes(Method):
    """Descent along slopes as a method: one stage, a visit for each mini-batch."""

    cost: Callable[[PyTree, PyTree], list[LeafCost]]
    """``(params, batches)``: what the slopes of every leaf will take on one mini-batch, in the
    parameters' order, but biases that follow from the probes of another leaf after that one. Arrays
    or ``jax.ShapeDtypeStruct``: nothing is computed."""


def slopes_method(
    losses_fn: LossesFn,
    optimizer: optax.GradientTransformation,
    probes: ProbesOfLeaves | None = None,
    *,
    leaves: Leaves = "together",
    average: float | None = None,
    searched: Callable[[str], bool] | PyTree | None = None,
    outputs: Outputs | None = None,
    memory_budget: int = 2**30,
    look_ahead: LookAhead = 0,
    mesh: Mesh | None = None,
    donate: bool = False,
) -> Slopes:
    """Any optax optimiser along slopes from evaluations: a visit for each mini-batch.

    Args:
        losses_fn: as of ``value_and_slopes``.
        optimizer: an optax gradient transformation, whose schedules count steps; of leaves that are
            not searched it knows nothing.
        probes: as of ``value_and_slopes``.
        leaves: ``"together"`` steps all leaves at every visit, on one mini-batch. ``"in_turn"``
            steps one leaf at a visit, the last layer's first, each on a mini-batch of its own and
            with an optimiser state of its own, which counts the steps of that leaf.
        average: decay of an exponential mean of the weights over steps, which is then what is
            scored and stored, while steps go on from the weights themselves; in (0, 1).
        searched: as of ``value_and_slopes``.
        outputs: likewise.
        memory_budget: likewise.
        look_ahead: likewise. The loss of a step, as ``Info`` has it, is the last of several.
        mesh: devices that share the examples of a mini-batch; one if not given.
        donate: let a step reuse the memory of the state it is given, which is then gone.

    Raises:
        UserError: a loss that is no function, an optimizer that is none of optax, or a setting that
            is wrong by itself.
    """
    check_callable("losses_fn", losses_fn)
    check_name("leaves", leaves, ("together", "in_turn"))
    check_probes(probes)
    check_look_ahead(look_ahead)
    settings = Settings(losses_fn, probes, searched, outputs, memory_budget, look_ahead)
    trained = partial(mark_searched, searched=searched)
    if leaves == "together":
        plan = planner(settings)
        way = partial(descend, _estimate_all(settings, plan), partial(_cost_together, plan))
        cost = partial(count_planned, losses_fn, plan)
    else:
        alone = cache(partial(_plan_alone, settings))
        costs = _once(partial(_costs_in_turn, settings, alone))
        way = partial(descend_in_turn, _estimate_leaf(alone), costs)
        cost = partial(_count_in_turn, settings, alone)
    method = way(optimizer, average=average, trained=trained, mesh=mesh, donate=donate)
    return Slopes(
        **{field.name: getattr(method, field.name) for field in fields(method)},
        cost=lambda params, batches: cost(params, one_of_stack(batches)),
    )


def _estimate_all(settings: Settings, plan: MakePlan) -> Estimate:
    """The slopes of all searched leaves on one mini-batch."""

    def slopes(key: Array, params: PyTree, batch: PyTree) -> tuple[Array, PyTree]:
        value, found, _ = estimate(plan, key, params, batch)
        return _last_of(value), weights_of(found, mark_searched(params, settings.searched))

    return slopes


def _estimate_leaf(alone: MakePlanAlone) -> LeafEstimate:
    """The slopes of one leaf, which is then all that is searched."""

    def slopes(key: Array, params: PyTree, batch: PyTree, at: int) -> tuple[Array, Array]:
        plan = alone(at, jax.tree.structure(params))
        value, found, _ = estimate(plan, key, params, batch)
        return _last_of(value), jax.tree.leaves(found)[at]

    return slopes


def _last_of(value: Value) -> Array:
    """The mean of the last loss."""
    return list(value.values())[-1] if isinstance(value, dict) else value


def _plan_alone(settings: Settings, at: int, treedef: Any) -> MakePlan:
    """Plans by which one leaf is all that is searched."""
    only = jax.tree.unflatten(treedef, [i == at for i in range(treedef.num_leaves)])
    return planner(settings._replace(searched=only))


def _cost_together(plan: MakePlan, params: PyTree, batch: PyTree) -> Cost:
    """Of a visit that steps all leaves."""
    evaluations = plan(params, batch).evaluations
    return Cost(evaluations, evaluations * count_examples(batch))


def _costs_in_turn(
    settings: Settings, alone: MakePlanAlone, params: PyTree, batch: PyTree
) -> dict[int, Cost]:
    """Of a visit that steps one leaf, by its place, the last layer's first.

    A bias that follows from the probes of its kernel where both are stepped is probed itself.
    """
    plans = plan_leaves(settings, params, batch).leaves
    every = [leaf for plan in plans for leaf in (plan.leaf, *plan.biases)]
    costs = {}
    for leaf in sort_last_to_first(every):
        plan = alone(leaf.position, jax.tree.structure(params))
        one = _cost_together(plan, params, batch)
        costs[leaf.position] = one._replace(weight_updates=leaf.visits)
    return costs


def _count_in_turn(
    settings: Settings, alone: MakePlanAlone, params: PyTree, batch: PyTree
) -> list[LeafCost]:
    """As ``count_cost``, of each leaf stepped alone."""
    treedef = jax.tree.structure(params)
    searched = enumerate(searched_leaves(params, settings.searched))
    plans = [alone(at, treedef) for at, is_one in searched if is_one]
    losses_fn = settings.losses_fn
    return [cost for plan in plans for cost in count_planned(losses_fn, plan, params, batch)]


def _once(count: Callable[[PyTree, PyTree], Counted]) -> Callable[[PyTree, PyTree], Counted]:
    """What counts for parameters and mini-batches of the same shapes and types only once."""

    @cache
    def count_structs(treedef: Any, structs: tuple[jax.ShapeDtypeStruct, ...]) -> Counted:
        return count(*jax.tree.unflatten(treedef, structs))

    def count_known(params: PyTree, batch: PyTree) -> Counted:
        structs, treedef = jax.tree.flatten(structs_of((params, batch)))
        return count_structs(treedef, tuple(structs))

    return count_known
