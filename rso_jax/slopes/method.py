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
from rso_jax.slopes.cost import LeafCost, count_cost
from rso_jax.slopes.estimate import Value, estimate
from rso_jax.slopes.examples import LossesFn
from rso_jax.slopes.planning import (
    ProbesOfLeaves,
    Settings,
    check_probes,
    plan_leaves,
)
from rso_jax.stacks import count_examples, one_of_stack

PyTree = Any

Leaves = Literal["together", "in_turn"]
"""Whether a visit steps all leaves on its mini-batch, or one of them, which take turns."""

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
        way = partial(descend, _estimate_all(settings), _once(partial(_cost_together, settings)))
        cost = partial(count_cost, settings)
    else:
        costs = _once(partial(_costs_in_turn, settings))
        way = partial(descend_in_turn, _estimate_leaf(settings), costs)
        cost = partial(_count_in_turn, settings)
    method = way(optimizer, average=average, trained=trained, mesh=mesh, donate=donate)
    return Slopes(
        **{field.name: getattr(method, field.name) for field in fields(method)},
        cost=lambda params, batches: cost(params, one_of_stack(batches)),
    )


def _estimate_all(settings: Settings) -> Estimate:
    """The slopes of all searched leaves on one mini-batch."""

    def slopes(key: Array, params: PyTree, batch: PyTree) -> tuple[Array, PyTree]:
        value, found, _ = estimate(settings, key, params, batch)
        return _last_of(value), weights_of(found, mark_searched(params, settings.searched))

    return slopes


def _estimate_leaf(settings: Settings) -> LeafEstimate:
    """The slopes of one leaf, which is then all that is searched."""

    def slopes(key: Array, params: PyTree, batch: PyTree, at: int) -> tuple[Array, Array]:
        value, found, _ = estimate(_alone(settings, params, at), key, params, batch)
        return _last_of(value), jax.tree.leaves(found)[at]

    return slopes


def _last_of(value: Value) -> Array:
    """The mean of the last loss."""
    return list(value.values())[-1] if isinstance(value, dict) else value


def _alone(settings: Settings, params: PyTree, at: int) -> Settings:
    """Settings by which one leaf is all that is searched."""
    arrays, treedef = jax.tree.flatten(params)
    only = jax.tree.unflatten(treedef, [i == at for i in range(len(arrays))])
    return settings._replace(searched=only)


def _cost_together(settings: Settings, params: PyTree, batch: PyTree) -> Cost:
    """Of a visit that steps all leaves."""
    evaluations = plan_leaves(settings, params, batch).evaluations
    return Cost(evaluations, evaluations * count_examples(batch))


def _costs_in_turn(settings: Settings, params: PyTree, batch: PyTree) -> dict[int, Cost]:
    """Of a visit that steps one leaf, by its place, the last layer's first.

    A bias that follows from the probes of its kernel where both are stepped is probed itself.
    """
    plans = plan_leaves(settings, params, batch).leaves
    every = [leaf for plan in plans for leaf in (plan.leaf, *plan.biases)]
    costs = {}
    for leaf in sort_last_to_first(every):
        one = _cost_together(_alone(settings, params, leaf.position), params, batch)
        costs[leaf.position] = one._replace(weight_updates=leaf.visits)
    return costs


def _count_in_turn(settings: Settings, params: PyTree, batch: PyTree) -> list[LeafCost]:
    """As ``count_cost``, of each leaf stepped alone."""
    searched = enumerate(searched_leaves(params, settings.searched))
    alone = [_alone(settings, params, at) for at, is_one in searched if is_one]
    return [cost for one in alone for cost in count_cost(one, params, batch)]


def _once(count: Callable[[PyTree, PyTree], Counted]) -> Callable[[PyTree, PyTree], Counted]:
    """What counts for parameters and mini-batches of the same shapes and types only once."""

    @cache
    def count_structs(treedef: Any, structs: tuple[jax.ShapeDtypeStruct, ...]) -> Counted:
        return count(*jax.tree.unflatten(treedef, structs))

    def count_known(params: PyTree, batch: PyTree) -> Counted:
        structs, treedef = jax.tree.flatten(structs_of((params, batch)))
        return count_structs(treedef, tuple(structs))

    return count_known
